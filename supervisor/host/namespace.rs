//! The kinds of namespaces that this kernel supports: namespaces(7), unshare(2). Owns their table and the probe, which
//! changes nothing.

use std::path::Path;

use anyhow::Result;
use nix::sched::{CloneFlags, unshare};

use crate::subprocess::succeeds;

/// `CLONE_NEWTIME` of linux/sched.h (5.6), time_namespaces(7). clone(2) takes the bit for one of a signal number.
pub const NEW_TIME: libc::c_int = 0x80;

/// One kind of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its file in /proc/PID/ns.
    pub file: &'static str,
    /// Its clone(2) flag.
    pub flag: libc::c_int,
    /// The kernel option that enables it.
    pub option: &'static str,
    /// What a container without it shares with the host.
    pub shares: &'static str,
}

/// The kinds that a container uses. User namespaces are excluded on purpose: the container's root must be able to mount
/// file systems.
pub const KINDS: [Kind; 7] = [
    Kind { file: "mnt", flag: libc::CLONE_NEWNS, option: "CONFIG_NAMESPACES", shares: "mounts" },
    Kind { file: "pid", flag: libc::CLONE_NEWPID, option: "CONFIG_PID_NS", shares: "processes" },
    Kind { file: "uts", flag: libc::CLONE_NEWUTS, option: "CONFIG_UTS_NS", shares: "the host name" },
    Kind {
        file: "ipc",
        flag: libc::CLONE_NEWIPC,
        option: "CONFIG_IPC_NS",
        shares: "System V IPC and message queues",
    },
    Kind {
        file: "cgroup",
        flag: libc::CLONE_NEWCGROUP,
        option: "CONFIG_CGROUPS",
        shares: "the view of control groups",
    },
    Kind { file: "time", flag: NEW_TIME, option: "CONFIG_TIME_NS", shares: "the clocks since boot" },
    Kind { file: "net", flag: libc::CLONE_NEWNET, option: "CONFIG_NET_NS", shares: "the network" },
];

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespaces(pub libc::c_int);

impl Namespaces {
    /// Probes each kind, and user namespaces, in a separate child, so that a filter that kills the process only means
    /// "unsupported".
    ///
    /// # Errors
    /// If fork(2) fails.
    pub fn probe() -> Result<Self> {
        let mut found = 0;
        // For processes in containers.
        for flag in KINDS.iter().map(|kind| kind.flag).chain([libc::CLONE_NEWUSER]) {
            if succeeds(|| unshare(CloneFlags::from_bits_retain(flag)).is_ok())? {
                found |= flag;
            }
        }
        Ok(Self(found))
    }

    /// Whether all of these kinds are in the set.
    #[must_use]
    pub fn has(self, flags: libc::c_int) -> bool {
        self.0 & flags == flags
    }

    /// The kinds of `wanted` that are not in the set.
    pub fn lacking(self, wanted: libc::c_int) -> impl Iterator<Item = Kind> {
        KINDS.into_iter().filter(move |kind| wanted & kind.flag != 0 && !self.has(kind.flag))
    }
}

/// Whether this kernel has System V IPC or POSIX message queues: without both, there is nothing that a container without
/// an IPC namespace shares with the host. proc(5), mq_overview(7).
#[must_use]
pub fn has_ipc() -> bool {
    let file_systems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    Path::new("/proc/sysvipc").exists() || has_queues(&file_systems)
}

fn has_queues(file_systems: &str) -> bool {
    file_systems.lines().any(|line| line.split_whitespace().last() == Some("mqueue"))
}

#[cfg(test)]
mod tests {
    use super::has_queues;

    #[test]
    fn message_queues_are_a_file_system() {
        assert!(has_queues("nodev\tsysfs\nnodev\tmqueue\n\text4\n"));
        assert!(!has_queues("nodev\tsysfs\n\text4\n"));
    }
}
