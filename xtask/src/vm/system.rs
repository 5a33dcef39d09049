//! Makes the kernel of a machine, the modules for access to its disk, and that disk, with Debian's tools.
//!
//! Owns the list of packages, which are unpacked and not configured. The machine mounts the disk read-only; everything
//! else is in its initramfs, which the tests write.

use super::{kernel, modules};
use crate::fixture::{self, Mirror};
use crate::process;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Must change when [`make`] produces another result from the same lists.
const VERSION: u32 = 2;

/// Its kernel is 6.1, the version of phones of 2023.
const SUITE: &str = "bookworm";

const PACKAGES: &[&str] = &[
    "linux-image-amd64",
    "kmod",
    "busybox-static",
    "dash",
    "coreutils",
    "util-linux",
    "mount",
    "e2fsprogs",
    "f2fs-tools",
    "attr",
    "procps",
    "grep",
    "sed",
    "findutils",
    "tar",
    "zstd",
];

/// Mount points of the initramfs and of the tests.
const MOUNT_POINTS: &[&str] =
    &["data", "dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp", "var/lib/droidspaces"];

/// Not needed in a machine, and most of the size.
const LEFT_OUT: &[&str] =
    &["boot", "lib/udev", "usr/share", "usr/lib/firmware", "lib/firmware", "var/cache", "var/lib"];

/// Everything that the result depends on.
pub fn stamp() -> String {
    format!(
        "system {VERSION}\n{SUITE} {PACKAGES:?}\n{:?} {:?}\n{MOUNT_POINTS:?} {LEFT_OUT:?}\n",
        modules::EARLY,
        modules::LATER
    )
}

/// Makes `kernel`, `early/`, `busybox` and `system` in `folder`, which does not exist yet.
///
/// # Errors
/// If the packages cannot be downloaded, or lack an expected file.
pub fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let tree = folder.join("tree");
    let mirror = Mirror::of_this_machine();
    let mut command = fixture::mmdebstrap(&mirror);
    command.arg("--variant=extract").arg(format!("--include={}", PACKAGES.join(",")));
    process::run_quietly(command.arg(SUITE).arg(&tree).args(&mirror.uri))?;
    let image = only(&tree.join("boot"), "vmlinuz-")?;
    let release = image.file_name().unwrap_or_default().to_string_lossy().replacen("vmlinuz-", "", 1);
    kernel::unpack(&image, &folder.join("kernel"))?;
    modules::choose(&tree, &release, &folder.join("early"), modules::EARLY, modules::LATER)?;
    let busybox = ["bin/busybox", "usr/bin/busybox"].map(|path| tree.join(path));
    let busybox = busybox.iter().find(|path| path.is_file()).context("busybox-static contains no busybox")?;
    fs::copy(busybox, folder.join("busybox"))?;
    for path in LEFT_OUT.iter().map(|path| tree.join(path)).filter(|path| path.exists()) {
        fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    for path in MOUNT_POINTS {
        fs::create_dir_all(tree.join(path))?;
    }
    let mut command = process::nice("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-O", "^has_journal", "-d"]);
    process::run_quietly(command.arg(&tree).arg(folder.join("system")).arg("256M"))?;
    fixture::remove(&tree)
}

/// The file of a folder whose name begins with `start`.
pub fn only(folder: &Path, start: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_wanted =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start));
    paths.find(is_wanted).with_context(|| format!("no {start} in {}", folder.display()))
}
