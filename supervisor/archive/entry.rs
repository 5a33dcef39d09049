//! The entries of a directory in a tree that is packed or compared, each accessed through one descriptor.
//!
//! Follows no link, opens no device or FIFO, and enters no submount. Preserves access times if the kernel permits it.
//! getdents(2), openat2(2), fstat(2), lseek(2).

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use anyhow::{Result, ensure};
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, major, minor};
use nix::unistd::{Whence, lseek};

use super::acl::Texts;
use super::carries;
use super::name::shown;
use super::reader::{Kind, Status};
use super::sparse::{Segment, push};
use super::time::Time;
use crate::call;
use crate::rootfs::root::{Root, file_type};
use crate::sys::{unsupported, xattr};

/// An entry in a directory listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: CString,
    /// Its type, if the file system reports it.
    kind: Option<Type>,
}

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A kind that an archive can hold; never [`Kind::HardLink`].
    Kind(Kind),
    /// A socket, which is useless without its process.
    Socket,
    /// A mount point.
    Mounted,
}

/// One entry.
#[derive(Debug)]
pub struct Entry {
    /// Open for reading if it is a file or a directory, otherwise O_PATH.
    pub file: File,
    /// Its kind.
    pub what: What,
    /// Its stat(2).
    pub stat: FileStat,
    /// Owner, permissions, time and attributes.
    pub status: Status,
}

/// Entries of one mount.
#[derive(Debug)]
pub struct Opener {
    device: libc::dev_t,
    /// Whether openat2(2) can refuse mount points (5.6); otherwise device numbers are compared.
    stays: bool,
}

impl Opener {
    /// For the tree below `root`; also returns its top.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn new(root: &Root) -> Result<(Self, Entry)> {
        let mut opener = Self { device: call!(fstat(root.directory()), "fstat(.)")?.st_dev, stays: true };
        let top = Listed { name: c".".to_owned(), kind: Some(Type::Directory) };
        let entry = opener.open(root.directory(), &top)?;
        Ok((opener, entry))
    }

    /// Opens an entry of a directory.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn open(&mut self, directory: BorrowedFd<'_>, listed: &Listed) -> Result<Entry> {
        let name = shown(listed.name.to_bytes());
        let wanted = match listed.kind {
            Some(Type::File) => OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY,
            Some(Type::Directory) => OFlag::O_RDONLY | OFlag::O_DIRECTORY,
            _ => OFlag::O_PATH,
        };
        let (descriptor, mounted) = call!(self.open_here(directory, &listed.name, wanted), "open({name})")?;
        let stat = call!(fstat(&descriptor), "fstat({name})")?;
        let kind = file_type(&stat);
        let unknown = match kind {
            SFlag::S_IFREG => Type::File,
            SFlag::S_IFDIR => Type::Directory,
            _ => Type::Fifo,
        };
        if wanted == OFlag::O_PATH && unknown != Type::Fifo {
            // The file system did not report the type.
            ensure!(listed.kind != Some(unknown), "{name} changed while it was read");
            return self.open(directory, &Listed { name: listed.name.clone(), kind: Some(unknown) });
        }
        let (major, minor) = (u32::try_from(major(stat.st_rdev))?, u32::try_from(minor(stat.st_rdev))?);
        let what = match kind {
            _ if mounted || stat.st_dev != self.device => What::Mounted,
            SFlag::S_IFREG => What::Kind(Kind::File),
            SFlag::S_IFDIR => What::Kind(Kind::Directory),
            SFlag::S_IFLNK => What::Kind(Kind::SymbolicLink),
            SFlag::S_IFCHR => What::Kind(Kind::CharacterDevice(major, minor)),
            SFlag::S_IFBLK => What::Kind(Kind::BlockDevice(major, minor)),
            SFlag::S_IFIFO => What::Kind(Kind::Fifo),
            _ => What::Socket,
        };
        #[allow(clippy::useless_conversion, reason = "the C library's types differ between processors")]
        let status = Status {
            mode: stat.st_mode & 0o7777,
            user: stat.st_uid,
            group: stat.st_gid,
            modified: Time {
                seconds: i64::try_from(stat.st_mtime)?,
                nanoseconds: u32::try_from(stat.st_mtime_nsec)?,
            },
            attributes: attributes(descriptor.as_fd(), &name)?,
            lists: Texts::default(),
        };
        Ok(Entry { file: File::from(descriptor), what, stat, status })
    }

    /// Opens without following links; returns whether it is on another mount.
    fn open_here(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        wanted: OFlag,
    ) -> Result<(OwnedFd, bool), Errno> {
        let flags = wanted | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // O_PATH allows no other flag.
        let quiet = if wanted == OFlag::O_PATH { flags } else { flags | OFlag::O_NOATIME };
        if self.stays {
            let resolve = ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_MAGICLINKS;
            match openat2(directory, name, OpenHow::new().flags(quiet).resolve(resolve)) {
                Ok(found) => return Ok((found, false)),
                Err(Errno::EXDEV) => return Ok((openat(directory, name, flags, Mode::empty())?, true)),
                Err(errno) if unsupported(errno) => self.stays = false,
                // A filter denies the call, or O_NOATIME is denied for a file of another owner; try the next way.
                Err(Errno::EPERM | Errno::EAGAIN) => {}
                Err(errno) => return Err(errno),
            }
        }
        match openat(directory, name, quiet, Mode::empty()) {
            Err(Errno::EPERM) => Ok((openat(directory, name, flags, Mode::empty())?, false)),
            other => Ok((other?, false)),
        }
    }
}

impl Entry {
    /// The entries of a directory, sorted by name; equal trees have equal lists.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>> {
        // A duplicated descriptor would share the position in the listing.
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut directory = call!(Dir::openat(&self.file, ".", flags, Mode::empty()), "open(.)")?;
        let mut list = Vec::new();
        for entry in directory.iter() {
            let entry = call!(entry, "getdents")?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                list.push(Listed { name: name.to_owned(), kind: entry.file_type() });
            }
        }
        list.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        Ok(list)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// If it is not a link.
    pub fn target(&self) -> Result<Vec<u8>> {
        Ok(call!(readlinkat(&self.file, ""), "readlink")?.into_vec())
    }

    /// Size of a file.
    #[must_use]
    pub fn size(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or(0)
    }

    /// The segments of a file with data; `None` if it has no holes, or too many.
    ///
    /// # Errors
    /// If lseek(2) fails.
    pub fn map(&self) -> Result<Option<Vec<Segment>>> {
        let size = self.stat.st_size;
        if self.stat.st_blocks.saturating_mul(512) >= size {
            return Ok(None);
        }
        let (mut map, mut end, mut data) = (Vec::new(), 0, 0);
        while end < size {
            let start = match lseek(&self.file, end, Whence::SeekData) {
                Ok(start) if start < size => start,
                Ok(_) | Err(Errno::ENXIO) => break,
                Err(Errno::EINVAL) => return Ok(None),
                Err(errno) => call!(Err(errno), "lseek(SEEK_DATA)")?,
            };
            end = call!(lseek(&self.file, start, Whence::SeekHole), "lseek(SEEK_HOLE)")?.min(size);
            if push(&mut map, u64::try_from(start)?, u64::try_from(end - start)?).is_err() {
                return Ok(None);
            }
            data += end - start;
        }
        Ok((data < size).then_some(map))
    }
}

/// The attributes that belong to the file, sorted by name.
fn attributes(file: BorrowedFd<'_>, name: &str) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let names = match xattr::list(file) {
        Err(errno) if unsupported(errno) => return Ok(Vec::new()),
        other => call!(other, "flistxattr({name})")?,
    };
    let mut attributes = Vec::new();
    for attribute in names.into_iter().filter(|attribute| carries(attribute.to_bytes())) {
        match xattr::get(file, &attribute) {
            Ok(value) => attributes.push((attribute.into_bytes(), value)),
            // Removed in the meantime, or readable only by its owner.
            Err(Errno::ENODATA) => {}
            Err(errno) => call!(Err(errno), "fgetxattr({name}, {})", attribute.to_string_lossy())?,
        }
    }
    attributes.sort();
    Ok(attributes)
}
