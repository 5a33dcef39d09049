//! Creates files, directories, links and devices from members, only inside the target tree.
//!
//! A member is created relative to the descriptor of its verified directory ([`super::tree`]), and is always new: an
//! existing entry is removed and never opened, so that no data, owner or mode is written through a link. [`Rules`]
//! limit size and number. Flushes nothing to disk. openat(2), mknodat(2), symlinkat(2), linkat(2).

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat, makedev, mknodat};
use nix::unistd::{ftruncate, linkat, symlinkat};

use super::deferred::Deferred;
use super::name::{LONGEST, parts, shown};
use super::reader::{Kind, Member, Reader};
use super::status::{Made, Settings};
use super::tree::{Tree, clear};
use crate::call;
use crate::rootfs::root::Root;

/// The default limit for the number of members.
pub const MAX_ENTRIES: u64 = 10_000_000;
/// The size that links and devices count for the size limit.
const SMALL: u64 = 256;

/// The limits.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Maximum number of bytes of file data; also the maximum size of a file, including holes. `None`: only the free
    /// space limits them.
    pub most_bytes: Option<u64>,
    /// Maximum number of members.
    pub most_entries: u64,
    /// The directory in the archive that becomes the top of the tree; members outside it are refused.
    pub strip_prefix: Option<&'a str>,
}

impl Default for Rules<'_> {
    fn default() -> Self {
        Self { most_bytes: None, most_entries: MAX_ENTRIES, strip_prefix: None }
    }
}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unpacked {
    /// Number of created members.
    pub entries: u64,
    /// Number of written bytes of file data.
    pub bytes: u64,
    /// Information that was lost, one line each: attributes that the file system refused.
    pub warnings: Vec<String>,
}

/// Unpacks a whole archive; `progress` receives the number of written bytes.
///
/// # Errors
/// One line with the name of the member. Members before it are kept.
pub fn unpack(
    stream: &mut dyn Read,
    target: &Root,
    rules: &Rules<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Unpacked> {
    let mut reader = Reader::new(stream);
    let mut unpacker = Unpacker::new(target, *rules)?;
    while let Some(member) = reader.next()? {
        unpacker.add(&member, &mut reader, progress)?;
    }
    let mut unpacked = unpacker.finish()?;
    unpacked.warnings.extend(reader.warnings());
    Ok(unpacked)
}

/// Unpacks one member after another, for callers that inspect them first.
#[derive(Debug)]
pub struct Unpacker<'a> {
    rules: Rules<'a>,
    tree: Tree,
    settings: Settings,
    deferred: Deferred,
    /// File data, plus [`SMALL`] for all other entries.
    bytes: u64,
    counted: u64,
    entries: u64,
}

impl<'a> Unpacker<'a> {
    /// An unpacker into `target`.
    ///
    /// # Errors
    /// If the directory cannot be opened.
    pub fn new(target: &Root, rules: Rules<'a>) -> Result<Self> {
        let tree = Tree::new(target)?;
        let settings = Settings::of_this_process();
        let top = target.directory().try_clone_to_owned().context("dup(the top of the tree)")?;
        Ok(Self { rules, tree, settings, deferred: Deferred::new(top), bytes: 0, counted: 0, entries: 0 })
    }

    /// Creates one member, with the next data of `reader`.
    ///
    /// # Errors
    /// One line with the name of the member.
    pub fn add(
        &mut self,
        member: &Member,
        reader: &mut Reader<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        self.entries += 1;
        let most = self.rules.most_entries;
        ensure!(self.entries <= most, "the archive has more than {most} members");
        let inside = self.inside(&member.name)?;
        let made = self.make(member, &inside, reader, progress);
        let name = if member.name.is_empty() { b"." } else { member.name.as_slice() };
        made.and_then(|()| self.defer(member, &inside)).with_context(|| shown(name))
    }

    /// Defers access control lists with names, which may be defined in a later member.
    fn defer(&mut self, member: &Member, inside: &[&[u8]]) -> Result<()> {
        let (lists, kind) = (&member.status.lists, member.kind);
        let listed = lists.has_names() && kind != Kind::SymbolicLink;
        if kind == Kind::HardLink || (!listed && self.deferred.is_empty()) {
            return Ok(());
        }
        let last = inside.last().copied().filter(|_| kind != Kind::Directory);
        if !listed {
            self.deferred.forget(&self.tree.path_of(last));
            return Ok(());
        }
        let (here, _) = self.tree.here()?;
        let about = match last {
            Some(last) => call!(fstatat(here, last, AtFlags::AT_SYMLINK_NOFOLLOW), "stat")?,
            None => call!(fstat(here), "stat")?,
        };
        self.deferred.add(self.tree.path_of(last), &about, &member.status, &mut self.settings)
    }

    /// Sets the status of the directories.
    ///
    /// # Errors
    /// If a call fails.
    pub fn finish(mut self) -> Result<Unpacked> {
        self.tree.finish(&mut self.settings)?;
        self.deferred.apply(&mut self.settings)?;
        Ok(Unpacked { entries: self.entries, bytes: self.bytes, warnings: self.settings.into_warnings() })
    }

    /// The components of a name below the prefix.
    fn inside<'b>(&self, name: &'b [u8]) -> Result<Vec<&'b [u8]>> {
        let mut parts = parts(name)?;
        for part in self.rules.strip_prefix.unwrap_or_default().split('/').filter(|part| !part.is_empty()) {
            let below = !parts.is_empty() && parts.remove(0) == part.as_bytes();
            ensure!(below, "{}: it is not in {part}", shown(name));
        }
        Ok(parts)
    }

    fn make(
        &mut self,
        member: &Member,
        inside: &[&[u8]],
        reader: &mut Reader<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        if member.kind == Kind::Directory {
            self.count(SMALL)?;
            return self.tree.directory(inside, &member.status, &mut self.settings);
        }
        let (last, above) = inside.split_last().context("the top of the tree must be a directory")?;
        self.tree.go(above, &mut self.settings)?;
        match member.kind {
            Kind::File => return self.file(member, last, reader, progress),
            Kind::HardLink => return self.hard_link(member, inside),
            _ => {}
        }
        self.count(SMALL + u64::try_from(member.link.len())?)?;
        let (directory, inherits) = self.tree.here()?;
        let mode = member.status.mode;
        let node = |kind, device| mknodat(directory, *last, kind, Mode::from_bits_truncate(mode), device);
        let device = |major: u32, minor: u32| makedev(major.into(), minor.into());
        let mut make = || match member.kind {
            Kind::CharacterDevice(major, minor) => node(SFlag::S_IFCHR, device(major, minor)),
            Kind::BlockDevice(major, minor) => node(SFlag::S_IFBLK, device(major, minor)),
            Kind::Fifo => node(SFlag::S_IFIFO, 0),
            _ => symlinkat(member.link.as_slice(), directory, *last),
        };
        if member.kind == Kind::SymbolicLink {
            let target = &member.link;
            ensure!(!target.is_empty(), "the link has no target");
            ensure!(target.len() <= LONGEST, "the target of the link is longer than {LONGEST} bytes");
            ensure!(!target.contains(&0), "the target of the link contains a NUL byte");
        }
        replace(directory, last, &mut make)?;
        let made = (member.kind != Kind::SymbolicLink).then_some(Made { mode, inherits });
        self.settings.apply_at((directory, last), &member.status, made, &member.name)
    }

    fn file(
        &mut self,
        member: &Member,
        last: &[u8],
        reader: &mut Reader<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        self.count(member.data)?;
        if let Some(most) = self.rules.most_bytes {
            ensure!(member.size <= most, "it is larger than {most} bytes");
        }
        ensure!(i64::try_from(member.size).is_ok(), "its size is too large");
        let (directory, inherits) = self.tree.here()?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        // No set-user-ID bits until the file is complete.
        let mode = member.status.mode & 0o777;
        let mut made = None;
        replace(directory, last, &mut || {
            made = Some(openat(directory, last, flags, Mode::from_bits_truncate(mode))?);
            Ok(())
        })?;
        let file = File::from(made.context("it was not created")?);
        write(&file, member, reader, &mut |length| {
            self.bytes += length;
            progress(self.bytes);
        })?;
        self.settings.apply(file.as_fd(), &member.status, Made { mode, inherits }, &member.name)
    }

    fn hard_link(&mut self, member: &Member, inside: &[&[u8]]) -> Result<()> {
        self.count(SMALL)?;
        let target = self.inside(&member.link).context("the target of the link")?;
        let (last, above) = target.split_last().context("the target of the link is the top of the tree")?;
        let new = *inside.last().context("a link without a name")?;
        let (found, is_here) = self.tree.look_up(above).context("the target of the link")?;
        let (directory, _) = self.tree.here()?;
        let mut make = || linkat(&found, *last, directory, new, AtFlags::empty());
        match make() {
            Ok(()) => return Ok(()),
            // A link to itself changes nothing, if there is one.
            Err(Errno::EEXIST) if is_here && new == *last => return Ok(()),
            Err(Errno::EEXIST) => {}
            Err(Errno::ENOENT) => {
                bail!("the target of the link, {}, is not in the archive", shown(&member.link))
            }
            Err(Errno::EPERM) => bail!("the target of the link, {}, is a directory", shown(&member.link)),
            Err(errno) => call!(Err(errno), "link({})", shown(&member.link))?,
        }
        replace(directory, new, &mut make)
    }

    /// Counts an entry before it is created.
    fn count(&mut self, bytes: u64) -> Result<()> {
        self.counted = self.counted.saturating_add(bytes);
        match self.rules.most_bytes {
            Some(most) if self.counted > most => bail!("the archive has more than {most} bytes"),
            _ => Ok(()),
        }
    }
}

/// Creates an entry; if one exists, removes that and tries again.
fn replace(
    directory: BorrowedFd<'_>,
    last: &[u8],
    make: &mut dyn FnMut() -> Result<(), Errno>,
) -> Result<()> {
    let made = match make() {
        Err(Errno::EEXIST) => {
            clear(directory, last)?;
            make()
        }
        other => other,
    };
    Ok(call!(made, "create({})", shown(last))?)
}

/// Writes a file's data, without holes.
fn write(file: &File, member: &Member, reader: &mut Reader<'_>, written: &mut dyn FnMut(u64)) -> Result<()> {
    let whole = [super::sparse::Segment { offset: 0, length: member.data }];
    let map = member.map.as_deref().unwrap_or(&whole);
    for segment in map {
        let mut done = 0;
        while done < segment.length {
            let data = reader.data(segment.length - done)?;
            call!(file.write_all_at(data, segment.offset + done), "write")?;
            let length = u64::try_from(data.len())?;
            done += length;
            written(length);
        }
    }
    // A hole at the end.
    let filled = map.iter().rfind(|segment| segment.length > 0);
    let end = filled.map_or(0, |segment| segment.offset + segment.length);
    if end < member.size {
        call!(ftruncate(file, i64::try_from(member.size)?), "ftruncate")?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
