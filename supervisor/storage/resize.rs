//! `ds resize`: resizes an image and the file system in it.
//!
//! Interrupting resize2fs(8) causes damage, so it works on a copy that then replaces the original by rename(2). The
//! copy shares the original's blocks if the file system supports it.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::duplicate::duplicate_image;
use super::ext4::{self, BLOCK};
use super::job::{self, Reporter, Watcher};
use super::reservation::Reservation;
use super::staging::{Staging, sync_directory};
use crate::config::RootSource;
use crate::config::value::Name;
use crate::fault;
use crate::rootfs::image::inspect;
use crate::units::size_rounded_up;
use crate::worker::Env;

/// The result, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resized {
    /// Size before.
    pub before: u64,
    /// Size now.
    pub after: u64,
}

/// Resizes the image of a stopped container.
///
/// # Errors
/// If it has no resizable image; the image is then unchanged.
pub fn resize(env: &Env, name: &Name, size: u64, watcher: Watcher<'_>) -> Result<Resized> {
    let held = Reservation::take(env, name, "resized")?;
    if matches!(held.config.container.root, RootSource::Directory(_)) {
        bail!("its root file system is a directory, which has no size of its own; see 'ds help convert'");
    }
    let path = held.image()?;
    let claim = held.claim_image(&path)?;
    ensure!(
        !claim.is_device(),
        "{} is a block device; use the tools it was partitioned with",
        path.display()
    );
    ensure!(
        inspect(&path, held.config.container.image_partition)?.partition.is_none(),
        "it is a disk with partitions; 'ds convert {name} dir' and 'ds convert {name} image' make one that can be resized"
    );
    let original = File::from(claim.file().try_clone_to_owned().context("dup")?);
    let before = original.metadata().context("stat")?.len();
    let size = size / BLOCK * BLOCK;
    let block = ext4::block_size(&original).with_context(|| path.display().to_string())?;
    if size == before {
        return Ok(Resized { before, after: size });
    }
    // Reported before anything is copied; the copy is measured again after its check.
    refuse_too_small(&path, block, size)?;
    let place = path.parent().context("the image has no directory")?;
    let staging = Staging::beside(place)?;
    let copy = staging.join("image");
    job::run(env, watcher, &mut |reporter| {
        work(&original, &copy, place, size, reporter)?;
        Ok(Value::Null)
    })?;
    let _lock = held.lock_unchanged(env)?;
    fault::point("job-done")?;
    fs::rename(&copy, &path).with_context(|| format!("rename {} to {}", copy.display(), path.display()))?;
    fault::point("job-renamed")?;
    sync_directory(place)?;
    Ok(Resized { before, after: size })
}

fn work(original: &File, path: &Path, place: &Path, size: u64, reporter: &mut Reporter) -> Result<()> {
    let copy = duplicate_image(original, path, place, reporter)?;
    reporter.step("check", None)?;
    ext4::repair(path)?;
    refuse_too_small(path, ext4::block_size(&copy)?, size)?;
    reporter.step("resize", None)?;
    ext4::resize(path, size)?;
    fault::point("job-resized")?;
    reporter.step("check", None)?;
    ext4::verify(path)?;
    copy.sync_all().context("write the image")
}

fn refuse_too_small(path: &Path, block: u64, size: u64) -> Result<()> {
    let least = ext4::least(path, block)?;
    // Whole mebibytes can be typed easily.
    let typed = least.div_ceil(1 << 20);
    ensure!(
        size >= least,
        "its content does not fit in {}; the minimum size is {typed}M",
        size_rounded_up(size)
    );
    Ok(())
}
