//! `ds seed`: seeds the root file system of a stopped container, or undoes it.
//!
//! A directory is changed in place, an image while it is mounted for the job. `seed` makes the changes.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::inside::inside;
use super::job::{JobEvent, Reporter, Watcher};
use super::reservation::Reservation;
use super::staging::Staging;
use crate::config::Seeding;
use crate::config::value::Name;
use crate::rootfs::image::Access;
use crate::rootfs::root::Root;
use crate::seed::apply::{SeedMode, apply, undo};
use crate::seed::{Facts, unknown_layout};
use crate::worker::Env;

/// The operation.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Restore the original files.
    pub undo: bool,
    /// Change nothing.
    pub dry_run: bool,
}

/// The result.
#[derive(Debug, Default)]
pub struct Seeded {
    /// Files that were changed, or would be.
    pub changed: Vec<String>,
    /// Why the tree was not seeded.
    pub unknown: Option<String>,
}

/// Seeds the root file system of a stopped container.
///
/// # Errors
/// If it is running, or its root file system cannot be used.
pub fn seed(env: &Env, name: &Name, wanted: Wanted, watcher: Watcher<'_>) -> Result<Seeded> {
    let held = Reservation::take(env, name, "seeded")?;
    let seeding = Seeding::load_or_default(&env.paths.supervisor_ini());
    let facts = Facts::new(&held.config, env.host.android, &seeding);
    let ledger = env.paths.seed_ledger(name);
    let staging = Staging::beside(&env.paths.container(name))?;
    let access = if wanted.dry_run { Access::ReadOnly } else { Access::ReadWrite };
    let done = inside(env, &held, staging.path(), access, watcher, &mut |root, reporter| {
        work(root, &ledger, &facts, wanted, reporter)
    })?;
    let changed = serde_json::from_value(done["changed"].clone()).context("read the result of the job")?;
    Ok(Seeded { changed, unknown: done["unknown"].as_str().map(str::to_owned) })
}

/// Seeds the new root file system of a container, unless the container is volatile. A failure is a
/// warning; the next start tries again.
pub(super) fn seed_held(env: &Env, held: &Reservation, watcher: Watcher<'_>) {
    if held.config.container.volatile {
        return;
    }
    let seeding = Seeding::load_or_default(&env.paths.supervisor_ini());
    let facts = Facts::new(&held.config, env.host.android, &seeding);
    let ledger = env.paths.seed_ledger(&held.name);
    let wanted = Wanted { undo: false, dry_run: false };
    let seeded = Staging::beside(&env.paths.container(&held.name)).and_then(|staging| {
        inside(env, held, staging.path(), Access::ReadWrite, watcher, &mut |root, reporter| {
            work(root, &ledger, &facts, wanted, reporter)
        })
    });
    if let Err(error) = seeded {
        watcher(&JobEvent::Warning(format!("its root file system is not seeded: {error:#}")));
    }
}

fn work(root: &Root, ledger: &Path, facts: &Facts, wanted: Wanted, reporter: &mut Reporter) -> Result<Value> {
    let mode = if wanted.dry_run { SeedMode::DryRun } else { SeedMode::Persistent };
    let unknown = unknown_layout(root).filter(|_| !wanted.undo);
    let report = if wanted.undo { undo(root, ledger, mode)? } else { apply(root, ledger, facts, mode)? };
    for warning in report.warnings {
        reporter.warn(warning)?;
    }
    Ok(json!({ "changed": report.changed, "unknown": unknown }))
}
