//! The restrictions of a container's processes: capabilities(7) and system call filters, each with its reason.
//!
//! Owns the lists. Without a user namespace, the container's root is the host's root. These lists, the masks and the
//! namespaces limit the damage, but they are not a security boundary (SECURITY.md).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::Config;
use crate::config::value::{DeadlockShield, HardwareAccess, NetworkMode, UserNamespaces};
use crate::host::Host;
use crate::plan::devices::{Enforcement, Policy};

/// A capability by number and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// Bit in the sets, linux/capability.h.
    pub number: u32,
    /// Conventional name.
    pub name: &'static str,
}

const fn capability(number: u32, name: &'static str) -> Capability {
    Capability { number, name }
}

/// Compares the numbers; the name is for messages.
impl Serialize for Capability {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.number)
    }
}

impl<'de> Deserialize<'de> for Capability {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        let known = [SYS_MODULE, NET_ADMIN, SYS_PTRACE]
            .into_iter()
            .chain(DROPPED)
            .find(|known| known.number == number);
        Ok(known.unwrap_or(capability(number, "a capability")))
    }
}

/// Reading and clearing the kernel log.
const SYSLOG: Capability = capability(34, "CAP_SYSLOG");

/// Never kept: no container may run code in the kernel.
const SYS_MODULE: Capability = capability(16, "CAP_SYS_MODULE");

/// Dropped unless the container has exclusive access to the hardware.
const DROPPED: [Capability; 11] = [
    // Opens files by handle, bypassing mounts and directory permissions (open_by_handle_at(2)).
    capability(2, "CAP_DAC_READ_SEARCH"),
    // Raw I/O ports, /dev/mem; systemd interprets it as the sign of a physical machine.
    capability(17, "CAP_SYS_RAWIO"),
    // Process accounting uses one file for the whole machine.
    capability(20, "CAP_SYS_PACCT"),
    // The host sets the clock; without the capability, time daemons know that they must not.
    capability(25, "CAP_SYS_TIME"),
    // Policy of the host's security module.
    capability(32, "CAP_MAC_OVERRIDE"),
    capability(33, "CAP_MAC_ADMIN"),
    // The kernel log of the host.
    SYSLOG,
    // The supervisor wakes the phone and keeps it awake.
    capability(35, "CAP_WAKE_ALARM"),
    capability(36, "CAP_BLOCK_SUSPEND"),
    // The audit stream is global, and old kernels deadlock on it.
    capability(37, "CAP_AUDIT_READ"),
    capability(30, "CAP_AUDIT_CONTROL"),
];

/// Dropped on kernels without PID namespaces: with it, root of the container reads and writes the memory, and opens the
/// files, of every process of the machine by /proc. Without it, a process needs at least the capabilities of the other
/// one: ptrace(2), "Ptrace access mode checking".
const SYS_PTRACE: Capability = capability(19, "CAP_SYS_PTRACE");

/// Dropped with the host's network: `halt` of Debian's sysvinit takes every interface down, including the phone's.
const NET_ADMIN: Capability = capability(12, "CAP_NET_ADMIN");

/// Capabilities to drop from the bounding set of every process in the container.
#[must_use]
pub fn dropped(config: &Config) -> Vec<Capability> {
    if config.security.privileged.nocaps() {
        return Vec::new();
    }
    let rest = if config.hardware.access == HardwareAccess::Full { &[][..] } else { &DROPPED[..] };
    let network = (config.network.mode == NetworkMode::Host).then_some(NET_ADMIN);
    std::iter::once(SYS_MODULE).chain(network).chain(rest.iter().copied()).collect()
}

/// A line for each protection that a configuration switches off.
#[must_use]
pub fn given_up(config: &Config) -> Vec<String> {
    let privileged = config.security.privileged;
    let table = [
        (privileged.nomask(), "nomask: files in /proc and /sys that can harm the host are not masked"),
        (privileged.nocaps(), "nocaps: it keeps every capability"),
        (
            privileged.noseccomp(),
            "noseccomp: no system call is refused, not even those that load kernel modules",
        ),
        (privileged.shared(), "shared: its mounts propagate between its own namespaces"),
        (privileged.unfiltered_dev(), "unfiltered-dev: it can open every device of the host"),
    ];
    let set = table.into_iter().filter(|(is_set, _)| *is_set);
    set.map(|(_, meaning)| format!("security.privileged = {meaning}")).collect()
}

/// A system call filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filter {
    /// EPERM for: loading kernels and modules, the calls with which a root manager grants root, the kernel's socket
    /// interface to ciphers, input to a terminal, taking over the machine's console, and freezing file systems.
    Machine,
    /// EPERM for the kernel log by syslog(2). Older kernels accept CAP_SYS_ADMIN, which containers keep, instead of
    /// CAP_SYSLOG, and a message that klogd reads in the container is lost for the host.
    KernelLog,
    /// ENOSYS for session keyrings. On kernels before 5.0, a new one loses the keys of Android's encrypted files.
    Keyring,
    /// EPERM for new namespaces. On kernels before 5.0, systemd's sandboxes can deadlock the mount code.
    Namespaces,
    /// EPERM for new user namespaces.
    UserNamespaces,
    /// EPERM for device nodes by mknod(2), if the kernel cannot control which devices are opened.
    Devices,
    /// The monitor answers calls about processes, on kernels without PID namespaces.
    Processes,
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine => {
                "machine: kexec_load, kexec_file_load, init_module, finit_module, delete_module, swapon, swapoff, \
                 fanotify_mark(FAN_MARK_FILESYSTEM), reboot and prctl of KernelSU, socket(AF_ALG), ioctl(TIOCSTI, TIOCLINUX, \
                 TIOCCONS, FIFREEZE, FITHAW, EXT4_IOC_SHUTDOWN)"
            }
            Self::KernelLog => "kernel log: syslog",
            Self::Keyring => "keyring: keyctl, add_key, request_key",
            Self::Namespaces => "namespaces: unshare, clone, clone3, setns",
            Self::UserNamespaces => "user namespaces: unshare, clone, clone3",
            Self::Devices => "devices: mknod, mknodat",
            Self::Processes => {
                "processes: getpid, getppid, reboot, and calls on other processes, all answered by the monitor"
            }
        })
    }
}

/// Filters of every process in the container.
#[must_use]
pub fn filters(config: &Config, host: &Host) -> Vec<Filter> {
    let security = &config.security;
    if security.privileged.noseccomp() {
        return Vec::new();
    }
    let old = is_old(host);
    let shields = old && !security.nesting;
    let mut filters = vec![Filter::Machine];
    if dropped(config).contains(&SYSLOG) {
        filters.push(Filter::KernelLog);
    }
    if old {
        filters.push(Filter::Keyring);
    }
    match security.deadlock_shield {
        DeadlockShield::Yes => filters.push(Filter::Namespaces),
        DeadlockShield::Auto if shields => filters.push(Filter::Namespaces),
        _ => match security.user_namespaces {
            UserNamespaces::No => filters.push(Filter::UserNamespaces),
            UserNamespaces::Auto if shields => filters.push(Filter::UserNamespaces),
            _ => {}
        },
    }
    filters
}

/// Adds the replacement for a PID namespace. A configuration cannot switch this filter off, because PID 1 depends on
/// it.
pub fn answer(config: &Config, filters: &mut Vec<Filter>, dropped: &mut Vec<Capability>) {
    filters.push(Filter::Processes);
    dropped.extend((!config.security.privileged.nocaps()).then_some(SYS_PTRACE));
}

/// The measures if control groups cannot enforce a device policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WithoutDeviceControl {
    /// The filter that replaces them, unless filters are switched off.
    pub filter: Option<Filter>,
    /// The warning for the user.
    pub warning: &'static str,
}

/// The measures if control groups can only enforce a policy by `enforcement`; `None` if that is sufficient.
#[must_use]
pub fn without_device_control(
    config: &Config,
    policy: &Policy,
    enforcement: Enforcement,
) -> Option<WithoutDeviceControl> {
    if enforcement != Enforcement::Nothing || *policy == Policy::Everything {
        return None;
    }
    Some(if config.security.privileged.noseccomp() {
        WithoutDeviceControl {
            filter: None,
            warning: "kernel cannot restrict devices (CONFIG_CGROUP_BPF, CONFIG_CGROUP_DEVICE), and \
                      security.privileged = noseccomp: root inside can open every device of the host",
        }
    } else {
        WithoutDeviceControl {
            filter: Some(Filter::Devices),
            warning: "kernel cannot restrict devices (CONFIG_CGROUP_BPF, CONFIG_CGROUP_DEVICE): mknod is \
                      refused instead",
        }
    })
}

/// Before 5.0: a new session keyring loses the keys of Android's encrypted files, new mount namespaces can deadlock,
/// and every user in the container could create user namespaces.
fn is_old(host: &Host) -> bool {
    host.version() < (5, 0)
}

/// Whether processes in the container can create user namespaces: the kernel supports them, and no filter denies them.
#[must_use]
pub fn has_user_namespaces(config: &Config, host: &Host) -> bool {
    let refusals = [Filter::Namespaces, Filter::UserNamespaces];
    let refused = filters(config, host).iter().any(|filter| refusals.contains(filter));
    host.namespaces.has(libc::CLONE_NEWUSER) && !refused
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::Name;
    use crate::host::{Hierarchies, Namespaces};

    fn host(release: &str, namespaces: libc::c_int) -> Host {
        Host {
            android: true,
            release: release.into(),
            machine: "aarch64".into(),
            namespaces: Namespaces(namespaces),
            answers: false,
            ipc: true,
            cgroups: Hierarchies::default(),
        }
    }

    fn config(set: &[(&str, &str)]) -> Config {
        let name: Name = "web".parse().unwrap();
        Config::transient(&name, &[&[("rootfs", "/srv/web")], set].concat()).unwrap()
    }

    #[test]
    fn user_namespaces_are_there_where_the_kernel_is_new_enough_or_the_user_says_so() {
        const KEY: &str = "security.user-namespaces";
        let (all, no_users) = (!0, !libc::CLONE_NEWUSER);
        for (release, namespaces, set, expected) in [
            ("5.0.0", all, vec![], true),
            ("6.1.57-android14", all, vec![(KEY, "auto")], true),
            ("6.1.57-android14", no_users, vec![], false),
            ("4.19.110", all, vec![], false),
            ("6.1.57", all, vec![(KEY, "no")], false),
            ("6.1.57", all, vec![("security.deadlock-shield", "yes")], false),
            ("6.1.57", all, vec![(KEY, "yes"), ("security.deadlock-shield", "yes")], false),
            ("4.19.110", all, vec![(KEY, "yes")], false),
            ("4.19.110", all, vec![(KEY, "yes"), ("security.deadlock-shield", "no")], true),
            ("4.19.110", all, vec![("security.deadlock-shield", "no")], false),
            ("4.19.110", all, vec![("security.privileged", "noseccomp")], true),
            ("4.19.110", all, vec![("security.nesting", "yes")], true),
            ("4.19.110", all, vec![("security.nesting", "yes"), (KEY, "no")], false),
            ("4.19.110", all, vec![("security.nesting", "yes"), ("security.deadlock-shield", "yes")], false),
        ] {
            let has = has_user_namespaces(&config(&set), &host(release, namespaces));
            assert_eq!(has, expected, "{release} {namespaces:#x} {set:?}");
        }
    }
}
