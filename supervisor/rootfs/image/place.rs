//! The position of the file system in an image: the whole image, or one partition of a disk.
//!
//! Selects the given partition, or the only one with a Linux file system; it never guesses between two.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail, ensure};

use super::content::detect;
use super::request::Place;
use crate::rootfs::partition::{self, Partition, SECTORS};
use crate::rootfs::superblock::FileSystem;
use crate::units::size_rounded_up;

/// Maximum number of partitions in a message.
const MAX_NAMED: usize = 16;

/// A partition and its content.
type Held = (Partition, FileSystem);

/// Finds the file system in an image of `size` bytes, or in its partition `wanted`.
///
/// # Errors
/// The available partitions, if the selection is ambiguous.
pub(super) fn find(
    image: BorrowedFd<'_>,
    size: u64,
    wanted: Option<u32>,
    is_device: bool,
) -> Result<(Place, FileSystem)> {
    let whole = Place { offset: 0, length: size, partition: None };
    let system = detect(image, whole)?;
    if wanted.is_none() && system != FileSystem::Partitioned {
        return Ok((whole, system));
    }
    let held = partitions(image, size)?;
    if is_device && !held.is_empty() {
        bail!("it is a disk with partitions; name the device of one of them, see 'lsblk'");
    }
    let (chosen, system) = choose(held, wanted)?;
    ensure!(
        chosen.start.checked_add(chosen.length).is_some_and(|end| end <= size),
        "it is truncated: its partition {} ends beyond the end of the image; restore it from a copy",
        chosen.number
    );
    ensure!(
        chosen.start > 0 && chosen.length > 0,
        "its partition {} has no start or no length; see 'sfdisk -l'",
        chosen.number
    );
    Ok((Place { offset: chosen.start, length: chosen.length, partition: Some(chosen.number) }, system))
}

/// The partitions of an image. An MBR does not contain its sector size: the size with which file systems are found is
/// used.
fn partitions(image: BorrowedFd<'_>, size: u64) -> Result<Vec<Held>> {
    let file = File::from(image.try_clone_to_owned().context("dup")?);
    let mut first = Vec::new();
    for sector in SECTORS {
        let found = partition::read(size, sector, &mut |at, buffer| file.read_exact_at(buffer, at))?;
        let held: Vec<Held> = found.into_iter().map(|found| (found, content(image, size, found))).collect();
        if held.iter().any(|(_, system)| *system != FileSystem::Unknown) {
            return Ok(held);
        }
        if first.is_empty() {
            first = held;
        }
    }
    Ok(first)
}

fn content(image: BorrowedFd<'_>, size: u64, partition: Partition) -> FileSystem {
    let length = size.saturating_sub(partition.start).min(partition.length);
    let place = Place { offset: partition.start, length, partition: Some(partition.number) };
    detect(image, place).unwrap_or(FileSystem::Unknown)
}

fn choose(held: Vec<Held>, wanted: Option<u32>) -> Result<Held> {
    ensure!(
        !held.is_empty(),
        "it has no partitions; remove 'image-partition' with 'ds set NAME image-partition='"
    );
    let list = list(&held);
    if let Some(wanted) = wanted {
        let found = held.into_iter().find(|(partition, _)| partition.number == wanted);
        return found.with_context(|| {
            format!("it has no partition {wanted}; set 'image-partition' to one of {list}")
        });
    }
    let mut linux = held.into_iter().filter(|(_, system)| is_of_linux(system));
    match (linux.next(), linux.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => bail!("none of its partitions has a Linux file system; it has {list}"),
        (Some(_), Some(_)) => {
            bail!(
                "several of its partitions have a Linux file system; set 'image-partition' to one of {list}"
            )
        }
    }
}

/// Whether it may contain a root file system, including unsupported ones.
fn is_of_linux(system: &FileSystem) -> bool {
    match system {
        FileSystem::Ext(_) | FileSystem::Btrfs | FileSystem::Erofs | FileSystem::Squashfs => true,
        FileSystem::Other(name) => ["f2fs", "xfs"].contains(name) || name.contains("LUKS"),
        FileSystem::Partitioned | FileSystem::Foreign(_) | FileSystem::Unknown => false,
    }
}

fn list(held: &[Held]) -> String {
    let named = held.iter().take(MAX_NAMED).map(|(partition, system)| {
        let label = match system {
            FileSystem::Ext(ext) if !ext.label.is_empty() => format!(" {:?}", ext.label),
            _ => String::new(),
        };
        let size = size_rounded_up(partition.length);
        format!("{} ({}{label}, {size})", partition.number, system.name())
    });
    named.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(systems: &[(u32, FileSystem)]) -> Vec<Held> {
        let place = |number| Partition { number, start: 1 << 20, length: 3 << 20 };
        systems.iter().map(|(number, system)| (place(*number), system.clone())).collect()
    }

    #[test]
    fn the_only_file_system_of_linux_is_taken_and_no_other_is_guessed() {
        let boot = (1, FileSystem::Other("vfat"));
        let swap = (5, FileSystem::Other("swap"));
        let one = held(&[boot.clone(), (2, FileSystem::Erofs), swap.clone()]);
        assert_eq!(choose(one.clone(), None).unwrap().0.number, 2);
        assert_eq!(choose(one.clone(), Some(5)).unwrap().0.number, 5);
        let told = choose(one, Some(3)).unwrap_err().to_string();
        assert!(told.ends_with("one of 1 (vfat, 3 MiB), 2 (erofs, 3 MiB), 5 (swap, 3 MiB)"), "{told}");
        let two = held(&[(1, FileSystem::Squashfs), (2, FileSystem::Other("xfs"))]);
        assert!(choose(two, None).unwrap_err().to_string().starts_with("several of its partitions"));
        assert!(
            choose(held(&[boot, swap]), None).unwrap_err().to_string().starts_with("none of its partitions")
        );
        assert!(choose(Vec::new(), Some(1)).unwrap_err().to_string().starts_with("it has no partitions"));
    }
}
