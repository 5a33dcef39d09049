//! Decides which processes are the container's: those in its control groups, according to the host's /proc.
//!
//! Root of the container can move its processes only among the control groups that it sees, which are all below the
//! container's own group. With cgroup v1, or if cgroup v2 is mounted without `nsdelegate`, it can also move processes of
//! the machine into them. Those are excluded by their UTS namespace. cgroups(7), proc_pid_cgroup(5).

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{Mode, fstatat, stat};
use nix::unistd::Pid;

use super::caller;
use crate::call;

/// Identifies the container's processes, and the one that is its PID 1.
#[derive(Debug)]
pub(super) struct Place {
    /// PID 1.
    pub(super) manager: Pid,
    /// Its parent.
    pub(super) creator: Pid,
    /// Its threads: /proc/PID/task, opened, so that it never refers to a later process with the same number.
    threads: OwnedFd,
    /// A line in /proc/PID/cgroup of each process of the container begins with this.
    group: String,
    /// The UTS namespace of the machine, if the container has its own.
    outside: Option<u64>,
}

/// The UTS namespace of a process, uts_namespaces(7).
fn host_name(process: &str) -> Option<u64> {
    stat(format!("/proc/{process}/ns/uts").as_str()).ok().map(|status| status.st_ino)
}

impl Place {
    /// Finds the container's control group, whose path contains `names`, in the groups of PID 1.
    pub(super) fn of(manager: Pid, names: [&str; 2]) -> Result<Self> {
        let path = format!("/proc/{manager}/cgroup");
        let text = caller::read(&path).with_context(|| format!("read {path}"))?;
        let group = own_group(&text, names).context(
            "no control group identifies its processes, which is required without PID namespaces; see 'ds check'",
        )?;
        let creator = caller::parent(manager).context("PID 1 has ended")?;
        let path = format!("/proc/{manager}/task");
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let threads = call!(open(path.as_str(), flags, Mode::empty()), "open({path})")?;
        let outside = host_name("self").filter(|own| host_name(&manager.to_string()) != Some(*own));
        Ok(Self { manager, creator, threads, group, outside })
    }

    /// Whether a process or thread is the container's.
    pub(super) fn holds(&self, process: Pid) -> bool {
        process.as_raw() > 0
            && caller::read(&format!("/proc/{process}/cgroup"))
                .is_some_and(|text| text.lines().any(|line| is_below(line, &self.group)))
            && self.outside.is_none_or(|outside| host_name(&process.to_string()) != Some(outside))
    }

    /// Whether a thread belongs to PID 1.
    pub(super) fn is_managers(&self, thread: Pid) -> bool {
        thread == self.manager
            || fstatat(&self.threads, thread.to_string().as_str(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }
}

/// The beginning of the line for the container's group: of cgroup v2 if the group exists there, else of cgroup v1.
fn own_group(text: &str, names: [&str; 2]) -> Option<String> {
    let own = format!("/{}/{}", names[0], names[1]);
    let group = |line: &str| {
        // The name of a hierarchy may contain any character except a colon.
        let path = line.splitn(3, ':').nth(2)?;
        let ends = path.match_indices(&own).map(|(at, _)| at + own.len());
        let end = ends.into_iter().find(|end| matches!(path.as_bytes().get(*end), None | Some(b'/')))?;
        Some(line[..line.len() - path.len() + end].to_owned())
    };
    text.lines().filter(|line| line.starts_with("0::")).chain(text.lines()).find_map(group)
}

fn is_below(line: &str, group: &str) -> bool {
    line.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 2] = ["droidspaces", "web"];

    #[test]
    fn the_group_is_that_of_version_2_or_any_of_version_1() {
        for (text, expected) in [
            (
                "4:memory:/droidspaces/web\n0::/droidspaces/web/payload/init.scope\n",
                Some("0::/droidspaces/web"),
            ),
            ("4:memory:/droidspaces/web/payload\n0::/\n", Some("4:memory:/droidspaces/web")),
            ("1:name=a:/x/droidspaces/web/payload\n", Some("1:name=a:/x/droidspaces/web")),
            ("0::/droidspaces/web2/payload\n", None),
            ("0::/\n", None),
            ("", None),
        ] {
            assert_eq!(own_group(text, NAMES).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn only_what_is_below_is_inside() {
        let group = own_group("0::/droidspaces/web/payload\n", NAMES).unwrap();
        for (line, inside) in [
            ("0::/droidspaces/web/payload/system.slice/a.service", true),
            ("0::/droidspaces/web", true),
            ("0::/droidspaces/web2/payload", false),
            ("0::/droidspaces", false),
            ("0::/x/droidspaces/web/payload", false),
            ("1:memory:/droidspaces/web/payload", false),
            ("0::/", false),
        ] {
            assert_eq!(is_below(line, &group), inside, "{line}");
        }
    }
}
