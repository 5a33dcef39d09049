//! Compares two trees, as far as an archive or another file system can preserve them.
//!
//! Compared are names, types, contents, owners, permission bits, modification times, devices, link targets, hard links,
//! and the extended attributes that [`super::carries`] lists. Not compared are SELinux labels and signatures (they
//! belong to the target system), sizes and link counts of directories, access times, positions of holes, sockets (no
//! archive can hold them), and an empty `lost+found` at the top, which belongs to ext4. Changes nothing.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};

use super::entry::{Entry, Listed, Opener, What};
use super::name::shown;
use super::reader::Kind;
use super::sparse::Segment;
use crate::call;
use crate::rootfs::root::Root;

/// Maximum number of reported differences.
pub const MAX: usize = 100;
/// Size of the buffer, in bytes.
const AT_ONCE: usize = 256 << 10;

/// A difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path, for a message.
    pub name: String,
    /// The kind: the rest of a sentence.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.what)
    }
}

/// Compares two trees that do not change; `progress` receives the number of compared bytes. Stops after [`MAX`]
/// differences.
///
/// # Errors
/// If either cannot be read.
pub fn compare(left: &Root, right: &Root, progress: &mut dyn FnMut(u64)) -> Result<Vec<Difference>> {
    let (left, left_top) = Opener::new(left)?;
    let (right, right_top) = Opener::new(right)?;
    let mut comparison = Comparison {
        left,
        right,
        progress,
        bytes: 0,
        buffers: [vec![0; AT_ONCE], vec![0; AT_ONCE]],
        names: [HashMap::new(), HashMap::new()],
        found: Vec::new(),
    };
    comparison.entries(&left_top, &right_top, &mut b".".to_vec())?;
    Ok(comparison.found)
}

struct Comparison<'a> {
    left: Opener,
    right: Opener,
    progress: &'a mut dyn FnMut(u64),
    bytes: u64,
    buffers: [Vec<u8>; 2],
    /// Hard links: the file of the other tree for each file of the first one.
    names: [HashMap<libc::ino_t, libc::ino_t>; 2],
    found: Vec<Difference>,
}

impl Comparison<'_> {
    fn entries(&mut self, left: &Entry, right: &Entry, name: &mut Vec<u8>) -> Result<()> {
        if left.what != right.what || left.what == What::Mounted {
            self.tell(name, format!("{} and {}", what(left.what), what(right.what)));
            return Ok(());
        }
        self.statuses(left, right, name);
        match left.what {
            What::Kind(Kind::Directory) => return self.directories(left, right, name),
            What::Kind(Kind::SymbolicLink) => {
                let targets = [left.target()?, right.target()?];
                if targets[0] != targets[1] {
                    let [left, right] = targets.map(|target| shown(&target));
                    self.tell(name, format!("the link targets are {left} and {right}"));
                }
            }
            What::Kind(Kind::File) => self.contents(left, right, name).with_context(|| shown(name))?,
            _ => {}
        }
        if left.stat.st_nlink > 1 || right.stat.st_nlink > 1 {
            let (one, other) = (left.stat.st_ino, right.stat.st_ino);
            let [to_right, to_left] = &mut self.names;
            if *to_right.entry(one).or_insert(other) != other || *to_left.entry(other).or_insert(one) != one {
                self.tell(name, "its hard links are different files".into());
            }
        }
        Ok(())
    }

    fn directories(&mut self, left: &Entry, right: &Entry, name: &mut Vec<u8>) -> Result<()> {
        let (left_list, right_list) =
            (left.list().with_context(|| shown(name))?, right.list().with_context(|| shown(name))?);
        let (mut lefts, mut rights) = (left_list.iter().peekable(), right_list.iter().peekable());
        let length = name.len();
        while self.found.len() < MAX {
            let order = match (lefts.peek(), rights.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(other)) => one.name.cmp(&other.name),
            };
            let one = if order == Ordering::Greater { None } else { lefts.next() };
            let other = if order == Ordering::Less { None } else { rights.next() };
            let Some(listed) = one.or(other) else { break };
            name.push(b'/');
            name.extend_from_slice(listed.name.to_bytes());
            self.pair(left, right, one, other, name).with_context(|| shown(name))?;
            name.truncate(length);
        }
        Ok(())
    }

    /// An entry in one or both trees.
    fn pair(
        &mut self,
        left: &Entry,
        right: &Entry,
        one: Option<&Listed>,
        other: Option<&Listed>,
        name: &mut Vec<u8>,
    ) -> Result<()> {
        let left = one.map(|listed| self.left.open(left.file.as_fd(), listed)).transpose()?;
        let right = other.map(|listed| self.right.open(right.file.as_fd(), listed)).transpose()?;
        let side = if left.is_some() { "first" } else { "second" };
        match (left, right) {
            (Some(left), Some(right)) => self.entries(&left, &right, name),
            (Some(only), None) | (None, Some(only)) => {
                if !is_expected(&only, name)? {
                    self.tell(name, format!("it is only in the {side} tree"));
                }
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    fn statuses(&mut self, left: &Entry, right: &Entry, name: &[u8]) {
        let (one, other) = (&left.status, &right.status);
        // Linux has no permission bits for links.
        if one.mode != other.mode && left.what != What::Kind(Kind::SymbolicLink) {
            self.tell(name, format!("the mode is {:o} and {:o}", one.mode, other.mode));
        }
        if (one.user, one.group) != (other.user, other.group) {
            let text = format!("the owner is {}:{} and {}:{}", one.user, one.group, other.user, other.group);
            self.tell(name, text);
        }
        if one.modified != other.modified {
            let [left, right] = [one, other].map(|status| super::pax::time_text(status.modified));
            self.tell(name, format!("the time is {left} and {right}"));
        }
        let missing = |from: &[(Vec<u8>, Vec<u8>)], of: &[(Vec<u8>, Vec<u8>)]| {
            from.iter().find(|attribute| !of.contains(attribute)).map(|(name, _)| shown(name))
        };
        let (one, other) = (&one.attributes, &other.attributes);
        if let Some(attribute) = missing(one, other).or_else(|| missing(other, one)) {
            self.tell(name, format!("the attribute {attribute} is different"));
        }
    }

    fn contents(&mut self, left: &Entry, right: &Entry, name: &[u8]) -> Result<()> {
        if left.size() != right.size() {
            self.tell(name, format!("the size is {} and {}", left.size(), right.size()));
            return Ok(());
        }
        let whole = || vec![Segment { offset: 0, length: left.size() }];
        let pieces = match (left.map()?, right.map()?) {
            (Some(mut one), Some(other)) => {
                one.extend(other);
                one
            }
            _ => whole(),
        };
        for piece in pieces {
            let (mut at, end) = (piece.offset, piece.offset + piece.length);
            while at < end {
                let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(AT_ONCE);
                let [one, other] = &mut self.buffers;
                read(&left.file, &mut one[..length], at)?;
                read(&right.file, &mut other[..length], at)?;
                if one[..length] != other[..length] {
                    let first = one.iter().zip(other.iter()).position(|(one, other)| one != other);
                    let place = at + u64::try_from(first.unwrap_or(0))?;
                    self.tell(name, format!("the contents differ at byte {place}"));
                    return Ok(());
                }
                at += u64::try_from(length)?;
                self.bytes += u64::try_from(length)?;
                (self.progress)(self.bytes);
            }
        }
        Ok(())
    }

    fn tell(&mut self, name: &[u8], what: String) {
        self.found.push(Difference { name: shown(name), what });
    }
}

fn read(file: &File, buffer: &mut [u8], at: u64) -> Result<()> {
    Ok(call!(file.read_exact_at(buffer, at), "pread")?)
}

/// Whether an entry may exist in only one of the trees.
fn is_expected(entry: &Entry, name: &[u8]) -> Result<bool> {
    let directory = entry.what == What::Kind(Kind::Directory);
    let recovery = directory && name == b"./lost+found" && entry.list()?.is_empty();
    Ok(entry.what == What::Socket || recovery)
}

fn what(what: What) -> String {
    match what {
        What::Kind(Kind::CharacterDevice(major, minor)) => format!("a character device {major}:{minor}"),
        What::Kind(Kind::BlockDevice(major, minor)) => format!("a block device {major}:{minor}"),
        What::Kind(Kind::Directory) => "a directory".into(),
        What::Kind(Kind::SymbolicLink) => "a link".into(),
        What::Kind(Kind::Fifo) => "a named pipe".into(),
        What::Kind(Kind::File | Kind::HardLink) => "a file".into(),
        What::Socket => "a socket".into(),
        What::Mounted => "a mount point".into(),
    }
}
