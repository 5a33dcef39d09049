//! The disk usage of a root file system.
//!
//! The tree belongs to the container and may change concurrently. Every directory is opened relative to its parent, and
//! links are never followed, so that nothing outside is counted. Changes nothing.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::sys::statvfs::fstatvfs;

use super::root::file_type;
use super::superblock::Ext;

/// Directories below this depth are not counted, since each level holds a descriptor.
const DEEPEST: usize = 256;
/// Unit of `st_blocks`, stat(3type).
const BLOCK: u64 = 512;

/// The disk usage of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeUsage {
    /// Bytes.
    pub bytes: u64,
    /// Number of files, directories and other entries; hard links count once.
    pub files: u64,
}

/// The usage of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Its size.
    pub size: u64,
    /// Its used space.
    pub used: u64,
}

impl Usage {
    /// The usage of the mounted file system of a directory, fstatvfs(3).
    #[must_use]
    #[allow(clippy::useless_conversion, reason = "the C library's types differ between processors")]
    pub fn of(directory: BorrowedFd<'_>) -> Option<Self> {
        let status = fstatvfs(directory).ok()?;
        let size = u64::try_from(status.fragment_size()).ok()?;
        let bytes = |blocks| Some(u64::try_from(blocks).ok()?.saturating_mul(size));
        let (all, free) = (bytes(status.blocks())?, bytes(status.blocks_free())?);
        Some(Self { size: all, used: all.saturating_sub(free) })
    }

    /// The usage of an unmounted file system, according to its super block.
    #[must_use]
    pub fn recorded(ext: &Ext) -> Self {
        let free = ext.free_blocks.saturating_mul(ext.block_size);
        Self { size: ext.bytes(), used: ext.bytes().saturating_sub(free) }
    }
}

/// The disk usage of a tree in bytes. Submounts, and entries that disappear meanwhile, are not counted.
///
/// # Errors
/// If the directory itself cannot be read.
pub fn of_tree(root: BorrowedFd<'_>) -> Result<u64, Errno> {
    measure(root).map(|usage| usage.bytes)
}

/// The same, and the number of files.
///
/// # Errors
/// As for [`of_tree`].
pub fn measure(root: BorrowedFd<'_>) -> Result<TreeUsage, Errno> {
    let top = open(root, c".")?;
    let status = fstat(&top)?;
    let mut walk = Walk { device: status.st_dev, linked: HashSet::new(), usage: TreeUsage::default() };
    walk.add(&status);
    let mut stack = vec![walk.enter(top)];
    while let Some((directory, pending)) = stack.last_mut() {
        let next = pending.pop().map(|name| open(directory.as_fd(), &name));
        match next {
            None => drop(stack.pop()),
            Some(Ok(next)) if stack.len() < DEEPEST => stack.push(walk.enter(next)),
            Some(_) => {}
        }
    }
    Ok(walk.usage)
}

fn open(parent: BorrowedFd<'_>, name: &CStr) -> Result<Dir, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Dir::openat(parent, name, flags, Mode::empty())
}

struct Walk {
    device: libc::dev_t,
    /// Counted files with several names.
    linked: HashSet<libc::ino_t>,
    usage: TreeUsage,
}

impl Walk {
    fn add(&mut self, status: &FileStat) {
        if file_type(status) == SFlag::S_IFDIR || status.st_nlink < 2 || self.linked.insert(status.st_ino) {
            self.usage.bytes += u64::try_from(status.st_blocks).unwrap_or(0) * BLOCK;
            self.usage.files += 1;
        }
    }

    /// Counts the entries of a directory; returns it with the directories to enter.
    fn enter(&mut self, mut directory: Dir) -> (Dir, Vec<CString>) {
        let entries: Vec<CString> =
            directory.iter().filter_map(Result::ok).map(|entry| entry.file_name().to_owned()).collect();
        let mut pending = Vec::new();
        for name in entries.into_iter().filter(|name| ![c".", c".."].contains(&name.as_c_str())) {
            let Ok(status) = fstatat(&directory, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else {
                continue;
            };
            if status.st_dev == self.device {
                self.add(&status);
                if file_type(&status) == SFlag::S_IFDIR {
                    pending.push(name);
                }
            }
        }
        (directory, pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn size(path: &Path) -> u64 {
        of_tree(File::open(path).unwrap().as_fd()).unwrap()
    }

    fn fill(path: &Path, length: usize) {
        File::create(path).unwrap().write_all(&vec![1; length]).unwrap();
    }

    #[test]
    fn files_count_once_and_links_not_at_all() {
        let tree = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fill(&outside.path().join("large"), 8 << 20);
        let empty = size(tree.path());
        fs::create_dir_all(tree.path().join("a/b")).unwrap();
        fill(&tree.path().join("a/b/file"), 1 << 20);
        fs::hard_link(tree.path().join("a/b/file"), tree.path().join("again")).unwrap();
        symlink(outside.path(), tree.path().join("directory")).unwrap();
        symlink(outside.path().join("large"), tree.path().join("a/file")).unwrap();
        let grown = size(tree.path()) - empty;
        assert!((1 << 20..2 << 20).contains(&grown), "{grown}");
    }

    #[test]
    fn a_bottomless_tree_ends() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join("d/".repeat(DEEPEST + 40));
        fs::create_dir_all(&path).unwrap();
        fill(&tree.path().join("file"), 1 << 20);
        assert!(size(tree.path()) >= 1 << 20);
        assert!(of_tree(File::open("/dev/null").unwrap().as_fd()).is_err());
    }
}
