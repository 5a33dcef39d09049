//! Seeding: what is changed inside a root file system so that a distribution is at home in a container.
//!
//! Owns the table of changes ([`items`]), the record of what was there before ([`ledger`]) and the way both are carried
//! out ([`apply`]), in a tree that its owner may have built to mislead us: by descriptor, and only regular files. What
//! can be in /run is there instead and needs no undoing (`plan`). Runs no program of the distribution.

pub mod accounts;
pub mod apply;
mod console;
mod hosts;
mod items;
pub mod ledger;

use crate::config::value::{Seed, Subsystems};
use crate::config::{Config, Seeding};
use crate::rootfs::files;
use crate::rootfs::root::Root;

/// What the changes depend on.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The container's host name.
    pub hostname: String,
    /// The machine is an Android one, whose kernel asks for its groups.
    pub android: bool,
    /// What udev may replay.
    pub subsystems: Subsystems,
    /// What is asked for.
    pub seed: Seed,
}

impl Facts {
    /// The facts of one container.
    #[must_use]
    pub fn new(config: &Config, android: bool, seeding: &Seeding) -> Self {
        Self {
            hostname: config.hostname().to_string(),
            android,
            subsystems: seeding.subsystems.clone(),
            seed: config.container.seed,
        }
    }
}

/// Why a tree is left alone; `None` for one that is laid out as distributions usually are.
#[must_use]
pub fn unknown_layout(root: &Root) -> Option<&'static str> {
    let has = |file: files::GuestFile| root.resolve(file.path()).is_ok();
    if has(files::NIX_STORE) {
        return Some("NixOS makes its files itself; its root file system is left alone");
    }
    if has(files::GUIX_STORE) {
        return Some("Guix makes its files itself; its root file system is left alone");
    }
    let known = [files::OS_RELEASE, files::OS_RELEASE_SHIPPED, files::PASSWD].into_iter().any(has);
    (!known).then_some("it is not laid out as a distribution; its root file system is left alone")
}
