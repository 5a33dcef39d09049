//! The properties of an image, in use or not. Changes nothing and takes no lock.

use std::io::{Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::Result;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat};

use super::content::{is_image, suits};
use super::place::find;
use super::request::Access;
use crate::call;
use crate::rootfs::root::{file_type, reopen};
use crate::rootfs::superblock::FileSystem;

/// The properties of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its content.
    pub system: FileSystem,
    /// Size in the file or device, in bytes.
    pub size: u64,
    /// The partition, if the image is that of a disk.
    pub partition: Option<u32>,
    /// Allocated size of the file, in bytes; `None` for a device.
    pub allocated: Option<u64>,
}

/// Inspects an image, or a partition of it.
///
/// # Errors
/// If it is neither a file nor a block device, is empty, or cannot be read; if it does not have the partition, or has
/// several.
pub fn inspect(image: &Path, partition: Option<u32>) -> Result<Facts> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let found = call!(nix::fcntl::open(image, flags, Mode::empty()), "open({})", image.display())?;
    let status = call!(fstat(&found), "fstat({})", image.display())?;
    let is_file = is_image(file_type(&status))?;
    let mut file = reopen(found.as_fd(), OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
    let size = call!(file.seek(SeekFrom::End(0)), "lseek({})", image.display())?;
    let allocated = u64::try_from(status.st_blocks).unwrap_or(0) * 512;
    let (place, system) = find(file.as_fd(), size, partition, !is_file)?;
    let allocated = is_file.then_some(allocated);
    Ok(Facts { system, size: place.length, partition: place.partition, allocated })
}

impl Facts {
    /// Refuses an image that no container can use.
    ///
    /// # Errors
    /// The reason.
    pub fn usable(&self) -> Result<()> {
        suits(&self.system, self.size, Access::ReadOnly)
    }
}
