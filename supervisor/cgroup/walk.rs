//! A walk over a group and everything below it, however deep that is.
//!
//! Root of a container makes groups as it likes, so the walk holds two descriptors and no path, goes back up by `..`,
//! keeps what it has yet to see in memory of its own instead of on the stack, and goes on after a failure.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::openat;
use nix::sys::stat::{Mode, fstat};

use super::group::{children, directory_flags};

/// What is done at each group.
pub(super) trait Visitor {
    /// On the way down, the first group included.
    fn enter(&mut self, _group: BorrowedFd<'_>) {}

    /// On the way up, when everything below was left; without the first group. `name` is in the directory `above`.
    fn leave(&mut self, _above: BorrowedFd<'_>, _name: &CStr) {}
}

/// A group on the way down to where the walk is.
struct Level {
    /// Its name in the group above.
    name: CString,
    inode: libc::ino_t,
    /// Children that have yet to be seen.
    left: Vec<CString>,
}

impl Level {
    fn of(name: CString, group: &OwnedFd) -> Result<Self, Errno> {
        Ok(Self { name, inode: fstat(group)?.st_ino, left: children(group)? })
    }
}

/// Walks over `top` and everything below it, until `deadline` at most.
///
/// # Errors
/// The first group that could not be looked into; the others were seen all the same. ETIME after the deadline.
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
                Ok((below, level)) => {
                    here = below;
                    levels.push(level);
                }
                // It was removed meanwhile.
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
            // No group ever gets another parent; better no walk than one somewhere else.
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

    /// Removes what it leaves, and counts.
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
