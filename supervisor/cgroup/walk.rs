//! A traversal of a group and all groups below it, at any depth.
//!
//! Owns the traversal. Root of a container may create any number of groups, so it holds two descriptors and no path,
//! returns to a parent through `..`, stores pending groups on the heap instead of the stack, and continues after a
//! failure.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::openat;
use nix::sys::stat::{Mode, fstat};

use super::group::{children, directory_flags};

/// The operation for each group.
pub(super) trait Visitor {
    /// In pre-order, including the first group.
    fn enter(&mut self, _group: BorrowedFd<'_>) {}

    /// In post-order, without the first group. `name` is in the directory `above`.
    fn leave(&mut self, _above: BorrowedFd<'_>, _name: &CStr) {}
}

/// A group between the first and the current one.
struct Level {
    /// Its name in its parent.
    name: CString,
    inode: libc::ino_t,
    /// Children that have not been visited.
    left: Vec<CString>,
}

impl Level {
    fn of(name: CString, group: &OwnedFd) -> Result<Self, Errno> {
        let status = fstat(group)?;
        // A directory is linked from its parent, from itself and from each child.
        let left = if status.st_nlink == 2 { Vec::new() } else { children(group)? };
        Ok(Self { name, inode: status.st_ino, left })
    }
}

/// Traverses `top` and everything below it, until `deadline`.
///
/// # Errors
/// The first group that could not be read; the others were visited anyway. ETIME after the deadline.
pub(super) fn walk(top: impl AsFd, deadline: Instant, visitor: &mut impl Visitor) -> Result<(), Errno> {
    let mut here = openat(top, ".", directory_flags(), Mode::empty())?;
    visitor.enter(here.as_fd());
    let mut levels = vec![Level::of(CString::default(), &here)?];
    let mut result = Ok(());
    while let Some(level) = levels.last_mut() {
        if Instant::now() > deadline {
            return Err(Errno::ETIME);
        }
        if let Some(name) = level.left.pop() {
            match descend(&here, name, visitor) {
                Ok((_, leaf)) if leaf.left.is_empty() => visitor.leave(here.as_fd(), &leaf.name),
                Ok((below, level)) => {
                    here = below;
                    levels.push(level);
                }
                // It was removed in the meantime.
                Err(Errno::ENOENT | Errno::ENODEV) => {}
                Err(errno) => result = result.and(Err(errno)),
            }
            continue;
        }
        let name = std::mem::take(&mut level.name);
        levels.pop();
        let Some(above) = levels.last() else { break };
        here = openat(&here, "..", directory_flags(), Mode::empty())?;
        if fstat(&here)?.st_ino != above.inode {
            // A group never changes its parent; stop rather than continue in a wrong place.
            return Err(Errno::ESTALE);
        }
        visitor.leave(here.as_fd(), &name);
    }
    result
}

fn descend(here: &OwnedFd, name: CString, visitor: &mut impl Visitor) -> Result<(OwnedFd, Level), Errno> {
    let below = openat(here, name.as_c_str(), directory_flags(), Mode::empty())?;
    visitor.enter(below.as_fd());
    let level = Level::of(name, &below)?;
    Ok((below, level))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::mkdirat;
    use nix::unistd::{UnlinkatFlags, unlinkat};
    use std::time::Duration;

    /// Removes the groups it leaves, and counts them.
    #[derive(Default)]
    struct Remover {
        entered: usize,
        removed: usize,
    }

    impl Visitor for Remover {
        fn enter(&mut self, _group: BorrowedFd<'_>) {
            self.entered += 1;
        }

        fn leave(&mut self, above: BorrowedFd<'_>, name: &CStr) {
            unlinkat(above, name, UnlinkatFlags::RemoveDir).unwrap();
            self.removed += 1;
        }
    }

    fn open(path: &std::path::Path) -> OwnedFd {
        nix::fcntl::open(path, directory_flags(), Mode::empty()).unwrap()
    }

    #[test]
    fn a_tree_deeper_than_paths_and_descriptors_reach_is_seen_and_left() {
        const DEPTH: usize = 3000;
        let place = tempfile::tempdir().unwrap();
        let mut here = open(place.path());
        for depth in 0..DEPTH {
            for name in [format!("{depth:060}"), "beside".to_owned()] {
                mkdirat(&here, name.as_str(), Mode::from_bits_truncate(0o755)).unwrap();
            }
            here = openat(&here, format!("{depth:060}").as_str(), directory_flags(), Mode::empty()).unwrap();
        }
        let mut remover = Remover::default();
        walk(open(place.path()), Instant::now() + Duration::from_secs(60), &mut remover).unwrap();
        assert_eq!((remover.entered, remover.removed), (2 * DEPTH + 1, 2 * DEPTH));
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_walk_ends_at_its_deadline() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("a/b")).unwrap();
        let mut remover = Remover::default();
        let past = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        assert_eq!(walk(open(place.path()), past, &mut remover), Err(Errno::ETIME));
        assert!(place.path().join("a/b").exists());
    }
}
