//! Root file systems of containers as ext4 images, made of the fixtures.
//!
//! Owns how such an image is made; what is in it is the fixtures' business. See mke2fs(8), `-d`.

use crate::process;
use anyhow::Result;
use std::path::Path;

/// The fixtures that there is an image of.
pub const NAMES: &[&str] = &["bookworm", "bookworm-arm64", "busybox"];

/// Change this when [`make`] makes something else of the same fixture.
const VERSION: u32 = 1;

/// What an image depends on.
pub fn stamp(fixture: &str) -> String {
    format!("image {VERSION}\n{fixture}")
}

/// Makes the image `file` of `tree`: sparse, with nothing left for the first mount to do.
///
/// # Errors
/// What mke2fs says.
pub fn make(tree: &Path, file: &Path) -> Result<()> {
    let mut command = process::nice("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0"]);
    command.args(["-E", "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0", "-J", "size=8"]);
    command.arg("-d").arg(tree).arg(file).arg(size(tree));
    process::run_quietly(&mut command).map(|_| ())
}

/// Room for the tree and as much again as a first boot writes.
fn size(tree: &Path) -> &'static str {
    if tree.ends_with("busybox") { "64M" } else { "512M" }
}
