//! Access control lists with names of users and groups: the names are defined in the unpacked tree, whose passwd may
//! come last in the archive.
//!
//! Owns the deferred lists. Until they are set, the mode of such a file gives its group no more than the group's own
//! entry. A file is found again by its path in the tree, and is skipped if it has been replaced. passwd(5), group(5).

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::Result;
use nix::sys::stat::{FileStat, fstat};

use super::acl;
use super::reader::Status;
use super::status::Settings;
use crate::call;
use crate::rootfs::files;
use crate::rootfs::root::Root;

/// Maximum memory for paths and lists, in bytes; lists beyond it are resolved immediately, as far as possible.
const MAX: usize = 32 << 20;
/// Maximum size of passwd or group, in bytes.
const LARGEST_TABLE: u64 = 4 << 20;

/// A file with deferred lists.
#[derive(Debug)]
struct Waiting {
    file: (libc::dev_t, libc::ino_t),
    status: Status,
}

/// All deferred lists.
#[derive(Debug)]
pub struct Deferred {
    top: Root,
    /// By path in the tree.
    waiting: BTreeMap<Vec<u8>, Waiting>,
    weight: usize,
}

/// The users and groups of a tree.
#[derive(Debug, Default)]
struct Names {
    users: HashMap<Vec<u8>, u32>,
    groups: HashMap<Vec<u8>, u32>,
}

impl Deferred {
    /// Empty, for the tree below `top`.
    #[must_use]
    pub fn new(top: OwnedFd) -> Self {
        Self { top: Root::new(top), waiting: BTreeMap::new(), weight: 0 }
    }

    /// Adds a new file: its path in the tree, and its identity.
    ///
    /// # Errors
    /// If a list cannot be set immediately.
    pub fn add(
        &mut self,
        path: Vec<u8>,
        about: &FileStat,
        status: &Status,
        settings: &mut Settings,
    ) -> Result<()> {
        self.weight += path.len() + status.lists.weight();
        let status = Status { attributes: Vec::new(), ..status.clone() };
        self.waiting.insert(path, Waiting { file: (about.st_dev, about.st_ino), status });
        if self.weight > MAX { self.apply(settings) } else { Ok(()) }
    }

    /// A file was replaced; its inode number may be reused.
    pub fn forget(&mut self, path: &[u8]) {
        self.waiting.remove(path);
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Sets all deferred lists.
    ///
    /// # Errors
    /// If there is no space for one.
    pub fn apply(&mut self, settings: &mut Settings) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.weight = 0;
        if waiting.is_empty() {
            return Ok(());
        }
        let names = Names::of(&self.top);
        for (path, Waiting { file, status }) in waiting {
            let Ok(found) = self.top.resolve_no_follow(Path::new(OsStr::from_bytes(&path))) else { continue };
            let about = call!(fstat(&found), "fstat")?;
            if (about.st_dev, about.st_ino) == file {
                give(found.as_fd(), &path, &status, &names, settings)?;
            }
        }
        Ok(())
    }
}

fn give(
    file: BorrowedFd<'_>,
    path: &[u8],
    status: &Status,
    names: &Names,
    settings: &mut Settings,
) -> Result<()> {
    let mut look_up = |user: bool, name: &[u8]| {
        let table = if user { &names.users } else { &names.groups };
        table.get(name).copied()
    };
    let Some((access, default)) = settings.resolve(status, &mut look_up) else { return Ok(()) };
    for (attribute, list) in [(acl::ACCESS, access), (acl::DEFAULT, default)] {
        if let Some(list) = list {
            settings.set(file, attribute, &list.to_bytes(), path)?;
        }
    }
    Ok(())
}

impl Names {
    fn of(top: &Root) -> Self {
        let table = |file| top.read(file, LARGEST_TABLE).unwrap_or_default();
        Self { users: numbers(&table(files::PASSWD)), groups: numbers(&table(files::GROUP)) }
    }
}

/// Both tables have the name in the first field and the number in the third; the first line of a name is used.
fn numbers(table: &[u8]) -> HashMap<Vec<u8>, u32> {
    let mut numbers = HashMap::new();
    for line in table.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, number) = (fields.next().unwrap_or_default(), fields.nth(1).unwrap_or_default());
        let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
        if let Some(number) = number.filter(|number| *number != u32::MAX && !name.is_empty()) {
            numbers.entry(name.to_vec()).or_insert(number);
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_users_are_read_as_the_c_library_does() {
        let numbers =
            numbers(b"root:x:0:0::/:/bin/sh\nbroken\nlisa:x:1000:100\nlisa:x:7\n:x:3\n+nis\nx:y:-1:\n");
        let mut known: Vec<_> = numbers.into_iter().collect();
        known.sort();
        assert_eq!(known, [(b"lisa".to_vec(), 1000), (b"root".to_vec(), 0)]);
    }
}
