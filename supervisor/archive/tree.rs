//! The directories of the tree being filled: the path from its top to the current member's directory.
//!
//! Owns their descriptors. Each one was opened relative to its parent and without following a link, so that an archive
//! cannot redirect it later. A name that goes through a link of the tree is first resolved as if the tree were the root
//! directory (chroot(2)), and then used like any other. When the archive continues elsewhere, directories get their
//! status, the deepest first. openat(2), mkdirat(2), readlinkat(2).

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, futimens, mkdirat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::name::{DEEPEST, shown};
use super::reader::Status;
use super::status::{Made, Settings};
use crate::call;
use crate::rootfs::root::Root;
use crate::sys::xattr;

/// Mode of a directory while it is being filled; new entries inherit nothing from it.
const PRIVATE: u32 = 0o700;
/// Mode of a directory that is not in the archive.
const USUAL: u32 = 0o755;
/// Maximum number of links in one name, as in the kernel (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// One directory of the path.
#[derive(Debug)]
struct Level {
    name: Vec<u8>,
    directory: OwnedFd,
    /// Its final status.
    status: Option<Status>,
    /// Its original status, if it existed before: its times are restored.
    before: Option<FileStat>,
    /// Whether new entries inherit its group or an access control list.
    gives: bool,
}

/// The path.
#[derive(Debug)]
pub struct Tree {
    levels: Vec<Level>,
    /// Device number of the file system: no entry is created on another one.
    device: libc::dev_t,
}

impl Tree {
    /// The tree below `top`.
    ///
    /// # Errors
    /// If the directory cannot be opened.
    pub fn new(top: &Root) -> Result<Self> {
        let directory = call!(openat(top.directory(), ".", directory_flags(), Mode::empty()), "open(.)")?;
        let level = Level::existing(Vec::new(), directory)?;
        let device = level.before.map_or(0, |status| status.st_dev);
        Ok(Self { levels: vec![level], device })
    }

    /// Resolves all links in `parts` in the tree; returns the names of directories and of missing components.
    ///
    /// # Errors
    /// If there are too many links, or a component is not a directory.
    fn real(&self, parts: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
        let same = self.known(parts);
        // These levels are directories and not links.
        let mut way: Vec<(Vec<u8>, Option<OwnedFd>)> = Vec::new();
        for level in &self.levels[1..=same] {
            way.push((
                level.name.clone(),
                Some(call!(level.directory.try_clone(), "dup({})", shown(&level.name))?),
            ));
        }
        let mut pending: VecDeque<Vec<u8>> = parts[same..].iter().map(|part| part.to_vec()).collect();
        let mut links = 0;
        while let Some(part) = pending.pop_front() {
            match part.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    way.pop();
                    continue;
                }
                _ => {}
            }
            // Everything below a missing component is missing too.
            let above = way
                .last()
                .map_or(Some(self.levels[0].directory.as_fd()), |(_, found)| found.as_ref().map(AsFd::as_fd));
            let Some(above) = above else {
                way.push((part, None));
                continue;
            };
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let found = match openat(above, part.as_slice(), flags, Mode::empty()) {
                Err(Errno::ENOENT) => None,
                other => Some(call!(other, "open({})", shown(&part))?),
            };
            match found.as_ref().map(|found| readlinkat(found, "")) {
                Some(Ok(target)) => {
                    links += 1;
                    ensure!(links <= MAX_LINKS, "{}: too many symbolic links in the path", shown(&part));
                    let target = target.into_vec();
                    if target.starts_with(b"/") {
                        way.clear();
                    }
                    for part in target.split(|byte| *byte == b'/').rev() {
                        pending.push_front(part.to_vec());
                    }
                }
                _ => way.push((part, found)),
            }
            ensure!(
                way.len() <= DEEPEST,
                "{}: more than {DEEPEST} directories deep",
                shown(&parts.join(&b'/'))
            );
        }
        Ok(way.into_iter().map(|(name, _)| name).collect())
    }

    /// The number of leading `parts` that match the current path.
    fn known(&self, parts: &[&[u8]]) -> usize {
        self.levels[1..].iter().zip(parts).take_while(|(level, part)| level.name == **part).count()
    }

    /// Changes to the directory `parts`, and creates missing components. Links are resolved in the tree.
    ///
    /// # Errors
    /// If a component is not a directory.
    pub fn go(&mut self, parts: &[&[u8]], settings: &mut Settings) -> Result<()> {
        // Most names contain no link; then this is sufficient.
        let Err(error) = self.walk(parts, settings) else { return Ok(()) };
        let real = self.real(parts)?;
        let real: Vec<&[u8]> = real.iter().map(Vec::as_slice).collect();
        if real == parts { Err(error) } else { self.walk(&real, settings) }
    }

    /// Changes to a directory, without resolving links.
    fn walk(&mut self, parts: &[&[u8]], settings: &mut Settings) -> Result<()> {
        let same = self.known(parts);
        while self.levels.len() > same + 1 {
            self.leave(settings)?;
        }
        for (index, part) in parts.iter().enumerate().skip(same) {
            self.enter(part, USUAL, false).with_context(|| shown(&parts[..=index].join(&b'/')))?;
        }
        Ok(())
    }

    /// Creates or reuses the directory `parts`, and sets its status once it is complete.
    ///
    /// # Errors
    /// If an existing entry cannot be removed; as for [`Tree::go`].
    pub fn directory(&mut self, parts: &[&[u8]], status: &Status, settings: &mut Settings) -> Result<()> {
        match parts.split_last() {
            None => self.go(parts, settings)?,
            Some((last, above)) => {
                if self.known(parts) == parts.len() {
                    self.walk(parts, settings)?;
                } else {
                    self.go(above, settings)?;
                    self.enter(last, PRIVATE, true)?;
                }
            }
        }
        if let Some(level) = self.levels.last_mut() {
            level.status = Some(status.clone());
        }
        Ok(())
    }

    /// The directory for the current member, and whether the member inherits anything.
    ///
    /// # Errors
    /// Never, since the top always exists.
    pub fn here(&self) -> Result<(BorrowedFd<'_>, bool)> {
        let level = self.levels.last().context("the tree has no top")?;
        Ok((level.directory.as_fd(), level.gives))
    }

    /// The path in the tree of `last` in the current directory, or of the directory itself for `None`.
    #[must_use]
    pub fn path_of(&self, last: Option<&[u8]>) -> Vec<u8> {
        let names = self.levels[1..].iter().map(|level| level.name.as_slice()).chain(last);
        names.flat_map(|name| [b"/", name]).flatten().copied().collect()
    }

    /// Opens the directory of an existing file without a change; returns whether it is the current directory. Links are
    /// resolved in the tree.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn look_up(&self, parts: &[&[u8]]) -> Result<(OwnedFd, bool)> {
        let is_here =
            |parts: &[&[u8]]| self.levels.len() == parts.len() + 1 && self.known(parts) == parts.len();
        let error = match self.open(parts) {
            Ok(found) => return Ok((found, is_here(parts))),
            Err(error) => error,
        };
        let real = self.real(parts)?;
        let real: Vec<&[u8]> = real.iter().map(Vec::as_slice).collect();
        if real == parts { Err(error) } else { Ok((self.open(&real)?, is_here(&real))) }
    }

    /// Opens a directory below the top, without following links.
    fn open(&self, parts: &[&[u8]]) -> Result<OwnedFd> {
        let same = self.known(parts);
        let mut directory = call!(self.levels[same].directory.try_clone(), "dup(directory)")?;
        for (index, part) in parts.iter().enumerate().skip(same) {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            directory = match openat(&directory, *part, flags, Mode::empty()) {
                Err(Errno::ENOTDIR | Errno::ELOOP) => {
                    bail!("{} is not a directory", shown(&parts[..=index].join(&b'/')))
                }
                other => call!(other, "open({})", shown(&parts[..=index].join(&b'/')))?,
            };
        }
        Ok(directory)
    }

    /// Leaves all directories and sets their status.
    ///
    /// # Errors
    /// If a status cannot be set.
    pub fn finish(mut self, settings: &mut Settings) -> Result<()> {
        while !self.levels.is_empty() {
            self.leave(settings)?;
        }
        Ok(())
    }

    fn enter(&mut self, part: &[u8], mode: u32, replace: bool) -> Result<()> {
        let (above, gives) = self.here()?;
        let made = mkdirat(above, part, Mode::from_bits_truncate(mode));
        let opened = openat(above, part, directory_flags(), Mode::empty());
        let level = match (made, opened) {
            (Ok(()), opened) => {
                let directory = call!(opened, "open({})", shown(part))?;
                Level { name: part.to_vec(), directory, status: None, before: None, gives }
            }
            (Err(Errno::EEXIST), Ok(directory)) => Level::existing(part.to_vec(), directory)?,
            (Err(Errno::EEXIST), Err(Errno::ENOTDIR | Errno::ELOOP)) if replace => {
                call!(unlinkat(above, part, UnlinkatFlags::NoRemoveDir), "unlink({})", shown(part))?;
                return self.enter(part, mode, false);
            }
            (Err(Errno::EEXIST), Err(Errno::ENOTDIR | Errno::ELOOP)) => bail!("is not a directory"),
            (Err(Errno::EEXIST), Err(errno)) => call!(Err(errno), "open({})", shown(part))?,
            (Err(errno), _) => call!(Err(errno), "mkdir({})", shown(part))?,
        };
        if level.before.is_some_and(|status| status.st_dev != self.device) {
            bail!("is another file system; unmount it first");
        }
        self.levels.push(level);
        Ok(())
    }

    fn leave(&mut self, settings: &mut Settings) -> Result<()> {
        let Some(level) = self.levels.pop() else { return Ok(()) };
        let directory = level.directory.as_fd();
        match (&level.status, &level.before) {
            (Some(status), before) => {
                let mode = before.map_or(PRIVATE, |_| u32::MAX);
                let made = Made { mode, inherits: level.gives || before.is_some() };
                settings.apply(directory, status, made, &level.name)
            }
            (None, Some(before)) => {
                let modified = TimeSpec::new(before.st_mtime, before.st_mtime_nsec);
                call!(
                    futimens(directory, &TimeSpec::UTIME_OMIT, &modified),
                    "futimens({})",
                    shown(&level.name)
                )?;
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }
}

impl Level {
    /// A directory that existed before, or that occurs again in the archive.
    fn existing(name: Vec<u8>, directory: OwnedFd) -> Result<Self> {
        let before = call!(fstat(&directory), "fstat({})", shown(&name))?;
        let set_group = before.st_mode & libc::S_ISGID != 0;
        let gives = set_group || xattr::get(directory.as_fd(), c"system.posix_acl_default").is_ok();
        Ok(Self { name, directory, status: None, before: Some(before), gives })
    }
}

fn directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

/// Removes an existing entry in a member's place; a directory only if it is empty.
///
/// # Errors
/// A directory that is not empty, or if a system call fails.
pub fn clear(directory: BorrowedFd<'_>, last: &[u8]) -> Result<()> {
    match unlinkat(directory, last, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(errno) => call!(Err(errno), "unlink({})", shown(last))?,
    }
    match unlinkat(directory, last, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(Errno::ENOTEMPTY | Errno::EEXIST) => bail!("a non-empty directory exists at this path"),
        Err(errno) => Ok(call!(Err(errno), "rmdir({})", shown(last))?),
    }
}
