//! Selects the kernel modules that a machine needs, with their dependencies.
//!
//! Owns the lists for machines that are not phones. See depmod(8) and modules.dep(5).

use crate::process;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The modules for access to the first disk, in this order. ext4 requests the checksum by name, which fails as long as no
/// modprobe exists.
pub const EARLY: &[&str] = &["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"];

/// The modules that are used later; modprobe(8) finds them on the disk.
pub const LATER: &[&str] = &[
    "virtio_console",
    "virtio_rng",
    "virtio_net",
    "loop",
    "overlay",
    "f2fs",
    "quota_v2",
    "crc32_generic",
    "erofs",
    "squashfs",
    // Drivers of simulated hardware.
    "null_blk",
    "evdev",
    "uinput",
    "snd_dummy",
    "vgem",
    "virtio_gpu",
    // A USB host and device in one, the serial port of the device, and its driver in the host.
    "dummy_hcd",
    "g_serial",
    "usb_f_acm",
    "cdc_acm",
];

/// Deletes all modules of the tree that are in neither list. Copies those that are needed early into `folder`, numbered in
/// the order of loading.
///
/// # Errors
/// If a module of the lists does not exist.
pub fn choose(tree: &Path, release: &str, folder: &Path, early: &[&str], later: &[&str]) -> Result<()> {
    let modules = tree.join("lib/modules").join(release);
    depmod(tree, release)?;
    let text = fs::read_to_string(modules.join("modules.dep")).context("depmod wrote no modules.dep")?;
    let (paths, dependencies) = (paths(&text), dependencies(&text));
    let path = |name: &&str| {
        paths.get(*name).cloned().with_context(|| format!("the kernel {release} has no module {name}"))
    };
    let early_paths = closure(&dependencies, &early.iter().map(path).collect::<Result<Vec<_>>>()?);
    let later_paths = closure(&dependencies, &later.iter().map(path).collect::<Result<Vec<_>>>()?);
    fs::create_dir_all(folder)?;
    for (number, path) in early_paths.iter().enumerate() {
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
        fs::copy(modules.join(path), folder.join(format!("{number:02}-{name}")))
            .with_context(|| format!("cannot copy {path}"))?;
    }
    let kept: BTreeSet<_> = early_paths.iter().chain(&later_paths).collect();
    for path in dependencies.keys().filter(|path| !kept.contains(path)) {
        fs::remove_file(modules.join(path)).with_context(|| format!("cannot remove {path}"))?;
    }
    depmod(tree, release)
}

fn depmod(tree: &Path, release: &str) -> Result<()> {
    process::run_quietly(Command::new("depmod").arg("--basedir").arg(tree).arg(release)).map(|_| ())
}

/// Maps each module's path to the paths of its dependencies, the deepest last: `PATH: PATH PATH`.
fn dependencies(text: &str) -> BTreeMap<String, Vec<String>> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(path, rest)| (path.to_owned(), rest.split_whitespace().map(str::to_owned).collect()))
        .collect()
}

/// Maps each module's name to its path; names have `_` where files may have `-`.
fn paths(text: &str) -> BTreeMap<String, String> {
    let paths = text.lines().filter_map(|line| line.split_once(':')).map(|(path, _)| path);
    let name = |path: &str| path.rsplit('/').next()?.split('.').next().map(|name| name.replace('-', "_"));
    paths.filter_map(|path| Some((name(path)?, path.to_owned()))).collect()
}

/// All of `wanted` and their dependencies, in the order of loading.
fn closure(dependencies: &BTreeMap<String, Vec<String>>, wanted: &[String]) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    for path in wanted {
        let below = dependencies.get(path).into_iter().flatten().rev();
        for one in below.chain([path]) {
            if !order.contains(one) {
                order.push(one.clone());
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::{closure, dependencies, paths};

    #[test]
    fn what_is_depended_on_is_loaded_first() {
        let text = "kernel/fs/ext4.ko: kernel/fs/jbd2.ko kernel/lib/crc16.ko\nkernel/fs/jbd2.ko:\n\
                    kernel/lib/crc16.ko:\nkernel/drivers/virtio-rng.ko.xz:\n";
        let dependencies = dependencies(text);
        let wanted = ["kernel/fs/ext4.ko".to_owned(), "kernel/fs/jbd2.ko".to_owned()];
        assert_eq!(
            closure(&dependencies, &wanted),
            ["kernel/lib/crc16.ko", "kernel/fs/jbd2.ko", "kernel/fs/ext4.ko"]
        );
        assert_eq!(paths(text)["virtio_rng"], "kernel/drivers/virtio-rng.ko.xz");
    }
}
