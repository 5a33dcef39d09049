//! The properties of this machine: probed once by the supervisor and inherited by its children.
//!
//! Owns facts only and makes no decisions. A namespace counts as supported if the kernel creates one; version numbers
//! and the kernel configuration are not used. It never changes the machine.

pub mod cgroup;
pub mod devices;
pub mod file_watch;
pub mod kernel;
pub mod namespace;
pub mod notification;
pub mod security;
pub mod uplink;

use anyhow::Result;
use nix::sys::utsname::uname;

use crate::platform;

pub use cgroup::Hierarchies;
pub use namespace::Namespaces;

/// Facts about this machine.
#[derive(Debug, Clone)]
pub struct Host {
    /// Whether this is Android.
    pub android: bool,
    /// Kernel release, such as `5.10.198-android13`.
    pub release: String,
    /// Machine, such as `aarch64`.
    pub machine: String,
    /// Supported namespaces.
    pub namespaces: Namespaces,
    /// Whether another process can answer a process's calls, or let the kernel execute them (5.5). Probed only on
    /// kernels without PID namespaces, which it replaces.
    pub answers: bool,
    /// Whether the kernel has System V IPC or message queues.
    pub ipc: bool,
    /// Control group hierarchies.
    pub cgroups: Hierarchies,
}

impl Host {
    /// Probes the machine. Forks one short-lived child for each kind of namespace.
    ///
    /// # Errors
    /// If /proc is not mounted.
    pub fn probe() -> Result<Self> {
        let name = uname()?;
        let namespaces = Namespaces::probe()?;
        Ok(Self {
            android: platform::is_android(),
            release: name.release().to_string_lossy().into_owned(),
            machine: name.machine().to_string_lossy().into_owned(),
            answers: !namespaces.has(libc::CLONE_NEWPID) && notification::answers_calls(),
            ipc: namespace::has_ipc(),
            namespaces,
            cgroups: Hierarchies::probe()?,
        })
    }

    /// Major and minor kernel version, for the few rules about known bugs of a kernel.
    #[must_use]
    pub fn version(&self) -> (u32, u32) {
        let mut numbers =
            self.release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }
}
