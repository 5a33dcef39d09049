//! `ds resize`: another size for the file system in an image and for the image.
//!
//! resize2fs(8) cannot be interrupted without damage, so it works on a copy, which then takes the place of the original
//! by rename(2). Where the file system can, the copy shares the original's blocks.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::duplicate::duplicate_image;
use super::ext4::{self, BLOCK};
use super::held::Held;
use super::job::{self, Reporter, Watcher};
use super::staging::{Staging, sync_directory};
use crate::config::RootSource;
use crate::config::value::Name;
use crate::fault;
use crate::rootfs::image::inspect;
use crate::units::size_rounded_up;
use crate::worker::Env;

/// What came of it, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resized {
    /// Size before.
    pub before: u64,
    /// Size now.
    pub after: u64,
}

/// Gives the image of a stopped container another size.
///
/// # Errors
/// When it has no image, or one that cannot be resized so; the image is as it was then.
pub fn resize(env: &Env, name: &Name, size: u64, watcher: Watcher<'_>) -> Result<Resized> {
    let held = Held::take(env, name, "resized")?;
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
    // Told before anything is copied; the copy is measured again once it has been checked.
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
    // Whole mebibytes can be typed.
    let typed = least.div_ceil(1 << 20);
    ensure!(
        size >= least,
        "its content does not fit in {}; the minimum size is {typed}M",
        size_rounded_up(size)
    );
    Ok(())
}
