//! Seeding: the changes to a root file system that a distribution needs in a container.
//!
//! Owns the table of changes ([`items`]), the record of the original files ([`ledger`]) and the operations ([`apply`]).
//! The tree is untrusted: files are accessed by descriptor, and only regular files are changed. Settings that can be in
//! /run are placed there instead and need no undo (`plan`). It never runs a program of the distribution.

pub mod accounts;
pub mod apply;
mod console;
mod hosts;
mod items;
pub mod ledger;
mod managers;
pub mod neighbours;

use crate::config::value::{Seed, Subsystems};
use crate::config::{Config, Seeding};
use crate::rootfs::files;
use crate::rootfs::root::Root;

/// The input of the changes.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The container's host name.
    pub hostname: String,
    /// The machine runs Android, whose kernel needs the network groups.
    pub android: bool,
    /// The subsystems that udev may trigger.
    pub subsystems: Subsystems,
    /// The requested parts.
    pub seed: Seed,
}

impl Facts {
    /// The facts about one container.
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

/// Why a tree is not seeded; `None` for a tree with the usual layout of a distribution.
#[must_use]
pub fn unknown_layout(root: &Root) -> Option<&'static str> {
    let has = |file: files::GuestFile| root.resolve(file.path()).is_ok();
    if has(files::NIX_STORE) {
        return Some("NixOS generates its files itself; its root file system is not seeded");
    }
    if has(files::GUIX_STORE) {
        return Some("Guix generates its files itself; its root file system is not seeded");
    }
    let known = [files::OS_RELEASE, files::OS_RELEASE_SHIPPED, files::PASSWD].into_iter().any(has);
    (!known).then_some("its root file system does not have the layout of a distribution, so it is not seeded")
}
