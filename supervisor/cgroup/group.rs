//! One group: an open directory of a hierarchy, its files and its children.
//!
//! Owns the access to it. Everything is addressed relative to the directory's descriptor, so a path may exceed the
//! kernel's limit, and a later mount over the hierarchy has no effect. openat(2), mkdirat(2), unlinkat(2).

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::call;
use crate::host::cgroup::Root;

/// The namespace root inside a container's directory.
pub const PAYLOAD: &str = "payload";

/// A directory of a hierarchy. It stays the same one even if another one replaces it.
#[derive(Debug)]
pub(super) struct Group {
    /// Its path, for messages.
    pub(super) path: PathBuf,
    descriptor: OwnedFd,
}

impl Group {
    /// Opens the root of a hierarchy.
    ///
    /// # Errors
    /// If openat(2) fails.
    pub(super) fn top(root: &Root) -> Result<Self> {
        let descriptor = call!(root.open(Path::new(".")), "open({})", root.path.display())?;
        Ok(Self { path: root.path.clone(), descriptor })
    }

    /// Opens the group at `path` below the root of a hierarchy; `None` if it does not exist.
    ///
    /// # Errors
    /// If openat(2) fails.
    pub(super) fn below(root: &Root, path: &Path) -> Result<Option<Self>> {
        Self::found(root.open(path), root.path.join(path))
    }

    fn found(opened: Result<OwnedFd, Errno>, path: PathBuf) -> Result<Option<Self>> {
        match opened {
            Ok(descriptor) => Ok(Some(Self { path, descriptor })),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno).with_context(|| format!("open cgroup {}", path.display())),
        }
    }

    /// Opens a child; `None` if it does not exist.
    ///
    /// # Errors
    /// If openat(2) fails.
    pub(super) fn child(&self, name: &str) -> Result<Option<Self>> {
        let opened = openat(&self.descriptor, name, directory_flags(), Mode::empty());
        Self::found(opened, self.path.join(name))
    }

    /// Opens or creates a child; returns whether it was created.
    ///
    /// # Errors
    /// If mkdirat(2) or openat(2) fails.
    pub(super) fn make(&self, name: &str) -> Result<(Self, bool)> {
        let path = self.path.join(name);
        let made = match mkdirat(&self.descriptor, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => true,
            Err(Errno::EEXIST) => false,
            Err(errno) => return Err(errno).with_context(|| format!("create cgroup {}", path.display())),
        };
        let child = self.child(name)?.with_context(|| format!("cgroup {} has vanished", path.display()))?;
        Ok((child, made))
    }

    /// Writes one of its files.
    ///
    /// # Errors
    /// If openat(2) or write(2) fails.
    pub(super) fn write(&self, file: &str, value: &str) -> Result<()> {
        write(&self.descriptor, file, value)
            .with_context(|| format!("write {value} to {}", self.path.join(file).display()))
    }

    /// Reads one of its files; `None` if that fails.
    pub(super) fn read(&self, file: &str) -> Option<String> {
        read(&self.descriptor, file).ok()
    }

    /// Whether it has a file of this name.
    pub(super) fn has(&self, file: &str) -> bool {
        fstatat(&self.descriptor, file, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// Opens one of its files for writing.
    ///
    /// # Errors
    /// If openat(2) fails.
    pub(super) fn open_to_write(&self, file: &str) -> Result<File> {
        open(&self.descriptor, file, OFlag::O_WRONLY)
            .map(File::from)
            .with_context(|| format!("open {}", self.path.join(file).display()))
    }

    /// Removes the group itself. Does nothing if another group has its name.
    ///
    /// # Errors
    /// If unlinkat(2) fails: EBUSY while it has processes or children.
    pub(super) fn remove(&self) -> Result<(), Errno> {
        let Some(name) = self.path.file_name() else { return Err(Errno::EINVAL) };
        let above = match openat(&self.descriptor, "..", directory_flags(), Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(()),
            other => other?,
        };
        match fstatat(&above, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno),
            Ok(status) if status.st_ino != fstat(&self.descriptor)?.st_ino => return Ok(()),
            Ok(_) => {}
        }
        match unlinkat(&above, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// The parent group; `None` if it cannot be opened.
    pub(super) fn above(&self) -> Option<Self> {
        let descriptor = openat(&self.descriptor, "..", directory_flags(), Mode::empty()).ok()?;
        Some(Self { path: self.path.parent()?.to_owned(), descriptor })
    }

    /// The open directory.
    pub(super) fn into_descriptor(self) -> OwnedFd {
        self.descriptor
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The flags for opening a group's directory.
pub(super) fn directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

fn open(directory: impl AsFd, file: &str, access: OFlag) -> Result<OwnedFd, Errno> {
    openat(directory, file, access | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

/// Writes a file of a group.
pub(super) fn write(directory: impl AsFd, file: &str, value: &str) -> io::Result<()> {
    File::from(open(directory, file, OFlag::O_WRONLY)?).write_all(value.as_bytes())
}

/// Reads a file of a group.
pub(super) fn read(directory: impl AsFd, file: &str) -> io::Result<String> {
    // Most files fit. A plain read_to_string would first ask for the size, which these files do not have.
    let mut text = String::with_capacity(4096);
    File::from(open(directory, file, OFlag::O_RDONLY)?).take(u64::MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The names of a group's children; empty for a removed group.
pub(super) fn children(directory: impl AsFd) -> Result<Vec<CString>, Errno> {
    // A duplicated descriptor would share the position in the listing.
    let mut listing = Dir::openat(directory, ".", directory_flags(), Mode::empty())?;
    let mut names = Vec::new();
    for entry in listing.iter() {
        let entry = match entry {
            Err(Errno::ENOENT) => break,
            other => other?,
        };
        let is_directory = entry.file_type().is_none_or(|kind| kind == Type::Directory);
        if is_directory && !is_dot(entry.file_name()) {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}
