//! The devices of a container: the nodes of its /dev and, from the same table, the devices that its processes may open.
//!
//! Owns that table; creates nothing. A node is only a name: root in the container can create one for any device of the
//! machine. The policy decides what can be opened, and `cgroup` enforces it on the control group of the container.
//! Numbers are those of Documentation/admin-guide/devices.txt in the kernel sources.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::config::value::HardwareAccess;
use crate::host::devices::Node;
pub use crate::mount::op::DeviceKind as Kind;
use crate::mount::op::Operation;

/// Name below /dev, major, minor, permission bits.
const NODES: [(&str, u32, u32, u32); 8] = [
    ("null", 1, 3, 0o666),
    ("zero", 1, 5, 0o666),
    ("full", 1, 7, 0o666),
    ("random", 1, 8, 0o666),
    ("urandom", 1, 9, 0o666),
    ("tty", 5, 0, 0o666),
    ("fuse", 10, 229, 0o666),
    ("net/tun", 10, 200, 0o666),
];

/// Links that every Linux /dev has (Linux Standard Base, FHS 6.1.2).
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Pseudoterminals of devpts(5): /dev/ptmx, and the other side of each.
const TERMINALS: [(u32, Option<u32>); 2] = [(5, Some(2)), (136, None)];

/// Steps that fill a new /dev.
pub fn operations() -> impl Iterator<Item = Operation> {
    let directory = Operation::Directory { target: "/dev/net".into(), mode: 0o755 };
    let nodes = NODES.into_iter().map(|(name, major, minor, mode)| Operation::Device {
        target: format!("/dev/{name}"),
        kind: Kind::Character,
        major,
        minor,
        mode,
        group: 0,
    });
    let links = LINKS
        .into_iter()
        .map(|(name, to)| Operation::Symlink { target: format!("/dev/{name}"), to: to.into() });
    std::iter::once(directory).chain(nodes).chain(links)
}

/// Names below /dev that every container has, in addition to [`NODES`] and [`LINKS`].
const OTHERS: [&str; 6] = ["console", "pts", "shm", "mqueue", "log", "initctl"];

/// Whether every container has this name below /dev; no device of the host replaces it.
#[must_use]
pub fn is_own(name: &str) -> bool {
    let first = name.split('/').next().unwrap_or(name);
    NODES.iter().any(|(own, ..)| *own == name)
        || LINKS.iter().any(|(own, _)| *own == first)
        || OTHERS.contains(&first)
}

/// Permitted operations: a set of the bits of `BPF_DEVCG_ACC_*` in linux/bpf.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access(u8);

impl Access {
    /// Creating a node, mknod(2).
    pub const MAKE: Self = Self(1);
    /// Opening for reading.
    pub const READ: Self = Self(2);
    /// Opening for writing.
    pub const WRITE: Self = Self(4);
    /// Creating a node, and opening it for reading.
    pub const READ_ONLY: Self = Self(3);
    /// All three.
    pub const ALL: Self = Self(7);

    /// The bits.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (access, letter) in [(Self::READ, "r"), (Self::WRITE, "w"), (Self::MAKE, "m")] {
            if self.0 & access.0 != 0 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// One permission. `Display` is the line for the devices controller of version 1: `c 1:3 rwm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Kind of the devices.
    pub kind: Kind,
    /// Major number; all if `None`.
    pub major: Option<u32>,
    /// Minor number; all if `None`.
    pub minor: Option<u32>,
    /// The permitted operations.
    pub access: Access,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        write!(f, "{} {}:{} {}", self.kind.letter(), number(self.major), number(self.minor), self.access)
    }
}

/// The devices that processes of a container may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// All devices of the machine.
    Everything,
    /// Only those that one of the rules permits.
    Only(Vec<Rule>),
}

impl Policy {
    /// The policy of a configuration, with the rules for the devices of the host in the container.
    #[must_use]
    pub fn new(config: &Config, given: impl IntoIterator<Item = Rule>) -> Self {
        if config.security.privileged.unfiltered_dev() || config.hardware.access == HardwareAccess::Full {
            return Self::Everything;
        }
        let mut rules = rules();
        for rule in given {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        Self::Only(rules)
    }

    /// Whether a device can be opened for reading.
    #[must_use]
    pub fn opens(&self, node: &Node) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(rules) => rules.iter().any(|rule| {
                rule.kind == node.kind
                    && rule.access.0 & Access::READ.0 != 0
                    && rule.major.is_none_or(|major| major == node.major)
                    && rule.minor.is_none_or(|minor| minor == node.minor)
            }),
        }
    }

    /// The rules as text.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Everything => vec!["a *:* rwm".to_owned()],
            Self::Only(rules) => rules.iter().map(Rule::to_string).collect(),
        }
    }
}

/// The rules of every container. A node of any device may be created, as tar, debootstrap(8) and container engines do,
/// but not opened. On version 1, an engine in the container cannot permit more than its own container is permitted.
fn rules() -> Vec<Rule> {
    let node = |kind| Rule { kind, major: None, minor: None, access: Access::MAKE };
    let character =
        |major, minor| Rule { kind: Kind::Character, major: Some(major), minor, access: Access::ALL };
    let nodes = NODES.into_iter().map(|(_, major, minor, _)| character(major, Some(minor)));
    let terminals = TERMINALS.into_iter().map(|(major, minor)| character(major, minor));
    [node(Kind::Character), node(Kind::Block)].into_iter().chain(nodes).chain(terminals).collect()
}

/// The mechanism that enforces a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcement {
    /// A program on the control group of version 2.
    Program,
    /// The devices controller of version 1.
    Controller,
    /// The system call filter, which refuses to create nodes; the kernel cannot control which devices are opened.
    Filter,
    /// Nothing: every device is permitted, or the mechanisms are switched off.
    Nothing,
}

impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Program => "cgroup v2",
            Self::Controller => "cgroup v1",
            Self::Filter => "not enforced by the kernel; mknod is refused",
            Self::Nothing => "not enforced",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(set: &[(&str, &str)]) -> Policy {
        let name = "web".parse().unwrap();
        Policy::new(&Config::transient(&name, &[&[("rootfs", "/srv/web")], set].concat()).unwrap(), [])
    }

    #[test]
    fn the_policy_follows_from_the_nodes() {
        let lines = policy(&[]).lines();
        for (_, major, minor, _) in NODES {
            assert!(lines.contains(&format!("c {major}:{minor} rwm")));
        }
        assert!(lines.contains(&"c 136:* rwm".to_owned()));
        assert!(lines.iter().all(|line| !line.starts_with('b') || line.ends_with(" m")), "{lines:?}");
        assert_eq!(policy(&[("security.privileged", "unfiltered-dev")]), Policy::Everything);
        assert_ne!(policy(&[("security.privileged", "nomask,nocaps,noseccomp,shared")]), Policy::Everything);
    }
}
