//! `ds convert`: converts a root file system between a directory and an image.
//!
//! Owns the order of the steps. The new root file system is compared with the old one first. Then it is renamed into
//! place, the configuration is switched, and the old one is deleted. Each step is durable, and the next ones are
//! recorded before the first ([`Intent`]). A root file system that is used in place is never deleted.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::delete::refuse_mounts;
use super::fill::{Form, Vessel, explain};
use super::job::{self, Reporter, Watcher};
use super::mounted::{Mounting, label, mount};
use super::reservation::Reservation;
use super::seed::seed_held;
use super::staging::{Staging, rename_to_free, sync_directory};
use super::sweep::Intent;
use super::transfer::{transfer, verify};
use super::{ext4, space};
use crate::cli;
use crate::config::value::Name;
use crate::config::{Config, RootSource};
use crate::fault;
use crate::paths::Paths;
use crate::rootfs::image::{Access, Fsck};
use crate::rootfs::root::Root;
use crate::rootfs::size::{TreeUsage, measure};
use crate::units::size_rounded_up;
use crate::worker::Env;

/// Automatic sizes of images are multiples of this.
const ROUND: u64 = 64 << 20;
/// The minimum automatic size.
const MIN: u64 = 1 << 30;
/// Free space in an image of automatic size, in addition to a third of the used space.
const SPARE: u64 = 512 << 20;
/// Overhead of an image in addition to its content.
const OVERHEAD: u64 = 32 << 20;
/// mke2fs creates one inode for this number of bytes by default.
const BYTES_FOR_AN_INODE: u64 = 16 << 10;

/// The result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Converted {
    /// It already had that form.
    Already,
    /// It was converted.
    Done {
        /// The path of the root file system.
        path: PathBuf,
        /// Size of an image.
        size: Option<u64>,
        /// The old one, if it was used in place and is kept.
        left: Option<PathBuf>,
    },
}

/// Converts the root file system of a stopped container.
///
/// # Errors
/// If the conversion fails: nothing has then changed.
pub fn convert(
    env: &Env,
    name: &Name,
    form: cli::Form,
    size: Option<u64>,
    watcher: Watcher<'_>,
) -> Result<Converted> {
    let mut held = Reservation::take(env, name, "converted")?;
    match (&held.config.container.root, form) {
        (RootSource::Directory(_), cli::Form::Directory) | (RootSource::Image(_), cli::Form::Image) => {
            return Ok(Converted::Already);
        }
        _ => {}
    }
    let container = env.paths.container(name);
    if held.owns_root(&env.paths) {
        refuse_mounts(held.config.container.root.path().as_path())?;
    }
    let tree = held.tree()?;
    let form = match &tree {
        Some(tree) => image_for(measure(tree.root.directory()).context("measure the tree")?, size)?,
        None => Form::Directory,
    };
    let place = container.join(form.file_name());
    ensure!(place.symlink_metadata().is_err(), "{} already exists; move it away", place.display());
    let staging = Staging::beside(&container)?;
    let vessel = Vessel { form, staging: staging.path(), name, label: label(&held.config) };
    job::run(env, watcher, &mut |reporter| {
        match &tree {
            Some(tree) => from_tree(&tree.root, &vessel, &container, reporter)?,
            None => from_image(&held, &vessel, &container, reporter)?,
        }
        Ok(Value::Null)
    })?;
    // The job had exclusive access while it was mounted; from here on, no other process may begin.
    let path = held.config.container.root.path().as_path().to_owned();
    let image = tree.is_none().then(|| held.claim_image(&path)).transpose()?;
    let owned = held.owns_root(&env.paths);
    held.config = commit(env, &held, form, &staging, owned)?;
    drop((image, tree));
    seed_held(env, &held, watcher);
    let size = match form {
        Form::Directory => None,
        Form::Image { size, .. } => Some(size),
    };
    Ok(Converted::Done { path: place, size, left: (!owned).then_some(path) })
}

/// The form of an image for a tree: of the given size, or of an automatic one.
fn image_for(usage: TreeUsage, asked: Option<u64>) -> Result<Form> {
    let least = usage.bytes + usage.bytes / 32 + OVERHEAD;
    let chosen = (usage.bytes + usage.bytes / 10 * 3 + SPARE).div_ceil(ROUND) * ROUND;
    let size = asked.unwrap_or_else(|| chosen.max(MIN)) / ext4::BLOCK * ext4::BLOCK;
    ensure!(
        size >= least,
        "an image of {} is too small: it needs at least {}",
        size_rounded_up(size),
        size_rounded_up(least)
    );
    let files = usage.files + usage.files / 4 + 1000;
    Ok(Form::Image { size, files: Some(files).filter(|files| *files > size / BYTES_FOR_AN_INODE) })
}

fn from_tree(source: &Root, vessel: &Vessel<'_>, container: &Path, reporter: &mut Reporter) -> Result<()> {
    let usage = measure(source.directory()).context("measure the tree")?;
    space::require(container, usage.bytes + OVERHEAD)?;
    vessel.fill(reporter, &mut |target, reporter| copy(source, target, usage, vessel.form, reporter))
}

fn from_image(
    held: &Reservation,
    vessel: &Vessel<'_>,
    container: &Path,
    reporter: &mut Reporter,
) -> Result<()> {
    let mounting = Mounting {
        image: held.config.container.root.path().as_path(),
        partition: held.config.container.image_partition,
        staging: vessel.staging,
        access: Access::ReadOnly,
        fsck: Fsck::Auto,
        label: label(&held.config),
    };
    let attached = mount(&mounting, reporter)?;
    let source = attached.root();
    let usage = measure(source.directory()).context("measure the image")?;
    space::require(container, usage.bytes)?;
    vessel.fill(reporter, &mut |target, reporter| copy(source, target, usage, vessel.form, reporter))?;
    attached.detach()
}

fn copy(source: &Root, target: &Root, usage: TreeUsage, form: Form, reporter: &mut Reporter) -> Result<()> {
    reporter.step("copy", Some(usage.bytes))?;
    if let Err(error) = transfer(source, target, reporter) {
        return explain(error, form, target, &mut || None);
    }
    fault::point("job-copied")?;
    reporter.step("compare", Some(usage.bytes))?;
    verify(source, target, reporter)
}

/// Switches to the new root file system.
fn commit(env: &Env, held: &Reservation, form: Form, staging: &Staging, owned: bool) -> Result<Config> {
    let container = env.paths.container(&held.name);
    let _lock = held.lock_unchanged(env)?;
    fault::point("job-done")?;
    let old = held.config.container.root.path().as_path();
    let old = old.file_name().and_then(|name| name.to_str()).filter(|_| owned);
    let intent = Intent { new: form.file_name().to_owned(), old: old.map(str::to_owned) };
    intent.record(staging.path())?;
    sync_directory(&container)?;
    fault::point("job-decided")?;
    let done = switch(&env.paths, held, form, staging);
    // After any failure, the configuration determines which one is in use.
    let now = Config::load(&env.paths.container_ini(&held.name), &held.name)?;
    let recovered = intent.recover(&container, now.container.root.path().as_path(), staging.path());
    done?;
    recovered?;
    fault::point("job-let-go")?;
    Ok(now)
}

fn switch(paths: &Paths, held: &Reservation, form: Form, staging: &Staging) -> Result<()> {
    let container = paths.container(&held.name);
    let place = container.join(form.file_name());
    rename_to_free(&staging.join(form.file_name()), &place)?;
    sync_directory(&container)?;
    fault::point("job-placed")?;
    let (key, other) = form.keys();
    let value = form.own_path();
    Config::edit(
        &paths.container_ini(&held.name),
        &held.name,
        &[(other, ""), ("image-partition", ""), (key, &value)],
    )?;
    fault::point("job-switched")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(bytes: u64, files: u64, asked: Option<u64>) -> Result<(u64, Option<u64>)> {
        match image_for(TreeUsage { bytes, files }, asked)? {
            Form::Image { size, files } => Ok((size, files)),
            Form::Directory => panic!("an image was asked for"),
        }
    }

    #[test]
    fn an_image_has_room_to_spare_unless_a_size_is_given() {
        assert_eq!(chosen(0, 1, None).unwrap(), (1 << 30, None));
        assert_eq!(chosen(10 << 30, 100_000, None).unwrap().0, (13 << 30) + (512 << 20));
        assert_eq!(chosen(1 << 20, 1, Some(64 << 20)).unwrap().0, 64 << 20);
        let error = chosen(1 << 30, 1, Some(1 << 30)).unwrap_err().to_string();
        assert_eq!(error, "an image of 1 GiB is too small: it needs at least 1.1 GiB");
    }

    #[test]
    fn many_small_files_get_inodes() {
        let (size, files) = chosen(1 << 30, 1 << 20, None).unwrap();
        assert!(files.unwrap() > 1 << 20 && size < 2 << 30);
    }
}
