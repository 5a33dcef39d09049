//! What is to be done with an image, and what is told meanwhile.

use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::sys::loop_device::Part;

/// What is done with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// One user, who changes it.
    ReadWrite,
    /// Any number of users, and nothing is changed.
    ReadOnly,
}

/// When the file system is checked before it is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsck {
    /// Before every mount.
    Always,
    /// When its super block calls it unclean or overdue.
    Auto,
    /// Not at all.
    Never,
}

/// What is to be mounted, and how.
#[derive(Debug, Clone, Copy)]
pub struct ImageRequest<'a> {
    /// The image or block device.
    pub image: &'a Path,
    /// The partition that is meant, where the image is that of a disk.
    pub partition: Option<u32>,
    /// Where it is mounted. Its parent is covered by a small tmpfs of the caller's namespace, so that the host gets no
    /// directories and removes none under us.
    pub mount_point: &'a Path,
    /// What is done with it.
    pub access: Access,
    /// Whether it is checked.
    pub fsck: Fsck,
    /// The SELinux label to give a file; none to leave it alone.
    pub label: Option<&'a str>,
    /// A socket whose other end going away ends a check that is under way.
    pub interrupt: Option<BorrowedFd<'a>>,
}

/// What happens meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageEvent {
    /// The file system is being checked, so far done. Told again now and then while there is nothing new.
    Checking {
        /// Of all work, if that is known.
        percent: Option<u8>,
    },
    /// Something that is not as it should be, one line for people.
    Warning(String),
}

/// A part of an image, or all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Where it begins, bytes.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// The partition that it is.
    pub partition: Option<u32>,
}

impl Place {
    /// What of the image a loop device is to show; all of it grows with the file.
    pub(super) fn of_loop_device(self) -> Part {
        match self.partition {
            Some(_) => Part { offset: self.offset, length: self.length },
            None => Part::default(),
        }
    }
}
