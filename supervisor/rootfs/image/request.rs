//! The options of a mount of an image, and the events during it. Owns these types only.

use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::sys::loop_device::Part;

/// The access to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// One writer.
    ReadWrite,
    /// Any number of readers.
    ReadOnly,
}

/// When the file system is checked before the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsck {
    /// Before every mount.
    Always,
    /// If its super block is unclean or a check is overdue.
    Auto,
    /// Never.
    Never,
}

/// The image to mount, and the options.
#[derive(Debug, Clone, Copy)]
pub struct ImageRequest<'a> {
    /// The image or block device.
    pub image: &'a Path,
    /// The partition, if the image is that of a disk.
    pub partition: Option<u32>,
    /// The mount point. A small tmpfs in the caller's namespace covers its parent, so that no directories are created
    /// on the host and none can be removed.
    pub mount_point: &'a Path,
    /// The access.
    pub access: Access,
    /// Whether it is checked.
    pub fsck: Fsck,
    /// The SELinux label for a file; `None` to keep it.
    pub label: Option<&'a str>,
    /// A socket; when its other end is closed, a running check ends.
    pub interrupt: Option<BorrowedFd<'a>>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageEvent {
    /// The progress of the check. Repeated periodically.
    Checking {
        /// The total, if known.
        percent: Option<u8>,
    },
    /// A warning, one line.
    Warning(String),
}

/// A part of an image, or the whole image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its offset, in bytes.
    pub offset: u64,
    /// Its size, in bytes.
    pub length: u64,
    /// The number of the partition.
    pub partition: Option<u32>,
}

impl Place {
    /// The part of the image for a loop device; the whole image grows with the file.
    pub(super) fn of_loop_device(self) -> Part {
        match self.partition {
            Some(_) => Part { offset: self.offset, length: self.length },
            None => Part::default(),
        }
    }
}
