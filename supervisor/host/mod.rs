//! What this machine is: facts, probed once by the supervisor and inherited by the processes it forks.
//!
//! Owns the probes. Makes no decisions, and changes nothing but mounts in its own namespace. A namespace counts as there
//! when the kernel really makes one; the answer does not depend on version numbers or on a readable kernel
//! configuration.

pub mod cgroup;
pub mod kernel;
pub mod namespace;
pub mod resolv_conf;
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
    /// This is Android.
    pub android: bool,
    /// Kernel release, such as `5.10.198-android13`.
    pub release: String,
    /// Machine, such as `aarch64`.
    pub machine: String,
    /// Namespaces that the kernel makes.
    pub namespaces: Namespaces,
    /// Control group hierarchies.
    pub cgroups: Hierarchies,
}

impl Host {
    /// Finds out. Forks one short-lived child for each kind of namespace.
    ///
    /// # Errors
    /// When /proc is not there.
    pub fn probe() -> Result<Self> {
        let name = uname()?;
        Ok(Self {
            android: platform::is_android(),
            release: name.release().to_string_lossy().into_owned(),
            machine: name.machine().to_string_lossy().into_owned(),
            namespaces: Namespaces::probe()?,
            cgroups: Hierarchies::probe()?,
        })
    }

    /// Major and minor kernel version, for the few rules that are about a kernel's known faults.
    #[must_use]
    pub fn version(&self) -> (u32, u32) {
        let mut numbers =
            self.release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }
}
