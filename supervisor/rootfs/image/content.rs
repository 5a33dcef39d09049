//! The content of an image, and whether it is usable. Changes nothing.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail};
use nix::sys::stat::SFlag;

use super::request::{Access, Place};
use crate::rootfs::superblock::{Ext, FileSystem, PROBED, probe};

/// Refuses files that cannot be an image; `true` for a file, `false` for a block device.
pub(super) fn is_image(kind: SFlag) -> Result<bool> {
    match kind {
        SFlag::S_IFREG => Ok(true),
        SFlag::S_IFBLK => Ok(false),
        SFlag::S_IFDIR => {
            bail!("it is a directory; use it with --rootfs, or set 'rootfs' instead of 'image'")
        }
        _ => bail!("it is neither a file nor a block device"),
    }
}

/// Reads the beginning of a partition or image.
pub(super) fn detect(image: BorrowedFd<'_>, place: Place) -> Result<FileSystem> {
    if place.length == 0 {
        bail!("it is empty; 'ds create NAME --from ARCHIVE --size SIZE' fills a new one");
    }
    let file = File::from(image.try_clone_to_owned().context("dup")?);
    let mut front = vec![0; PROBED.min(usize::try_from(place.length).unwrap_or(PROBED))];
    let mut length = 0;
    while length < front.len() {
        match file.read_at(&mut front[length..], place.offset + length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("read it"),
        }
    }
    Ok(probe(&front[..length]))
}

/// Refuses a file system that cannot be mounted, before anything is changed.
pub(super) fn suits(system: &FileSystem, size: u64, access: Access) -> Result<()> {
    match system {
        FileSystem::Ext(ext) => ext_suits(ext, size),
        FileSystem::Btrfs | FileSystem::Erofs | FileSystem::Squashfs if access == Access::ReadWrite => {
            bail!("{} is used read-only; set volatile=yes to keep all changes in memory", system.name())
        }
        FileSystem::Btrfs | FileSystem::Erofs | FileSystem::Squashfs => Ok(()),
        FileSystem::Other(name) => {
            bail!(
                "it holds {name}, which is unsupported; use ext4, or btrfs, erofs or squashfs with volatile=yes"
            )
        }
        FileSystem::Foreign(foreign) => {
            bail!("it is {}, not an image of a file system; {}", foreign.kind, foreign.remedy)
        }
        FileSystem::Partitioned => {
            bail!("it is a disk with partitions inside a partition, which is unsupported")
        }
        FileSystem::Unknown => {
            bail!("ds supports no file system in it; use an ext4 image, or a directory with --rootfs")
        }
    }
}

fn ext_suits(ext: &Ext, size: u64) -> Result<()> {
    if ext.bytes() > size {
        bail!(
            "it is truncated: its file system has {} bytes and the file {size}; restore it from a copy",
            ext.bytes()
        );
    }
    if ext.external_journal {
        bail!("its journal is on another device, which is unsupported; create an internal one with tune2fs");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rootfs::image::inspect::inspect;
    use std::fs;

    fn looked_at(content: &[u8], access: Access) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        fs::write(&path, content).unwrap();
        let answer = inspect(&path, None).and_then(|facts| suits(&facts.system, facts.size, access));
        assert_eq!(fs::read(&path).unwrap(), content);
        answer.map_or_else(|error| format!("{error:#}"), |()| "suits".into())
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_a_reason() {
        assert!(looked_at(b"", Access::ReadWrite).contains("is empty"));
        assert!(looked_at(b"garbage", Access::ReadWrite).contains("no file system in it"));
        assert!(looked_at(b"XFSB", Access::ReadWrite).contains("holds xfs"));
        assert!(looked_at(b"hsqs", Access::ReadWrite).contains("volatile=yes"));
        assert_eq!(looked_at(b"hsqs", Access::ReadOnly), "suits");
        let mut cut_off = vec![0; 4096];
        cut_off[1024 + 4..1024 + 8].copy_from_slice(&1000_u32.to_le_bytes());
        cut_off[1024 + 0x38..1024 + 0x3A].copy_from_slice(&[0x53, 0xEF]);
        let told = looked_at(&cut_off, Access::ReadOnly);
        assert!(told.contains("truncated") && told.contains("1024000") && told.contains("4096"), "{told}");
    }
}
