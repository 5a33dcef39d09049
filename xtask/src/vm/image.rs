//! Makes ext4 images of the fixtures, as root file systems of containers.
//!
//! Owns the call of mke2fs(8) with `-d`. Does not change the content of the fixtures.

use crate::process;
use anyhow::Result;
use std::path::Path;

/// The fixtures of which images are made.
pub const NAMES: &[&str] = &["bookworm", "bookworm-arm64", "busybox", "forky", "openrc", "runit", "sysvinit"];

/// Must change when [`make`] produces another result from the same fixture.
const VERSION: u32 = 1;

/// Everything that an image depends on.
pub fn stamp(fixture: &str) -> String {
    format!("image {VERSION}\n{fixture}")
}

/// Makes the image `file` of `tree`: sparse and completely initialised.
///
/// # Errors
/// If mke2fs fails.
pub fn make(tree: &Path, file: &Path) -> Result<()> {
    let mut command = process::nice("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0"]);
    command.args(["-E", "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0", "-J", "size=8"]);
    command.arg("-d").arg(tree).arg(file).arg(size(tree));
    process::run_quietly(&mut command).map(|_| ())
}

/// Space for the tree and for the writes of a first boot.
fn size(tree: &Path) -> &'static str {
    if tree.ends_with("busybox") { "64M" } else { "512M" }
}
