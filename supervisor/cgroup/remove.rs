//! Removes groups with everything below them, once their processes have ended. Owns the retries.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::PollFlags;
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::group::Group;
use super::walk::{Visitor, walk};
use crate::poll::{PollSet, timeout};

/// The first and the longest delay while processes are ending.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// Removes groups. If that fails, calls `clear` to kill the processes in them, and retries until `deadline`.
///
/// # Errors
/// The first group that cannot be removed; the others are removed anyway.
pub(super) fn remove(groups: &[&Group], deadline: Instant, mut clear: impl FnMut()) -> Result<()> {
    let mut left = groups.to_vec();
    let mut wait = SHORTEST_WAIT;
    loop {
        let mut failure = None;
        left.retain(|group| match remove_tree(group, deadline) {
            Ok(()) => false,
            Err(errno) => {
                failure.get_or_insert_with(|| (group.path.clone(), errno));
                true
            }
        });
        let Some((path, errno)) = failure else { return Ok(()) };
        let Some(time) = deadline.checked_duration_since(Instant::now()) else {
            return Err(errno).with_context(|| format!("remove cgroup {}", path.display()));
        };
        clear();
        for group in left.iter().take(1) {
            wait_for_change(group, wait.min(time));
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

fn remove_tree(group: &Group, deadline: Instant) -> Result<(), Errno> {
    let mut remover = Remover(Ok(()));
    let walked = match walk(group, deadline, &mut remover) {
        // It was removed in the meantime.
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
        other => other,
    };
    match group.remove() {
        // The error of a group below is more specific.
        Err(Errno::EBUSY | Errno::ENOTEMPTY) => remover.0.and(walked).and(Err(Errno::EBUSY)),
        other => other,
    }
}

struct Remover(Result<(), Errno>);

impl Visitor for Remover {
    fn leave(&mut self, above: BorrowedFd<'_>, name: &CStr) {
        match unlinkat(above, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => self.0 = self.0.and(Err(errno)),
        }
    }
}

/// Waits until the number of processes changes, or for this duration. Version 2 provides a poll event; version 1 does
/// not.
fn wait_for_change(group: &Group, time: Duration) {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let Ok(events) = openat(group, "cgroup.events", flags, Mode::empty()).map(File::from) else {
        sleep(time);
        return;
    };
    let populated =
        std::io::read_to_string(&events).is_ok_and(|text| text.lines().any(|line| line == "populated 1"));
    if populated {
        let mut set = PollSet::default();
        set.add((), events.as_fd(), PollFlags::POLLPRI);
        let _ = set.wait(timeout(Some(time)));
    } else {
        sleep(time);
    }
}
