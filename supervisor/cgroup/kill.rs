//! Sends SIGKILL to every process of a container's groups, in any namespace.
//!
//! Owns the method: `cgroup.kill` of version 2 (5.14). Without it, the processes are frozen, which prevents forks, and
//! are killed until none is left; without a freezer, they are killed until none is left or the timeout expires. Removes
//! nothing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::errno::Errno;
use nix::unistd::{Pid, geteuid};

use super::freezer::Freezer;
use super::group::{self, Group};
use super::walk::{Visitor, walk};
use crate::fault;
use crate::sys::process::{self, SignalInfo};

/// Processes that are opened before they are killed: descriptors of this program are limited.
const BATCH: usize = 128;
/// The delay between two rounds, in which the killed processes end.
const WAIT: Duration = Duration::from_millis(1);

/// Kills all processes in these groups and below them; continues after failures. `freezers` are those that thaw the
/// groups afterwards.
pub(super) fn kill(groups: &[&Group], freezers: &[(Freezer, &Group)], deadline: Instant) {
    let by_hand: Vec<_> = groups.iter().filter(|group| kill_at_once(group).is_err()).collect();
    if by_hand.is_empty() {
        return;
    }
    loop {
        // In each round: root in the container may thaw what is below.
        for (freezer, group) in freezers {
            let _ = freezer.freeze(group);
        }
        let mut killer = Killer { found: 0 };
        for group in &by_hand {
            let _ = walk(group, deadline, &mut killer);
        }
        // Version 1 ends no frozen process.
        for (freezer, group) in freezers.iter().filter(|(freezer, _)| *freezer == Freezer::Version1) {
            freezer.thaw_all(group, deadline);
        }
        if killer.found == 0 || Instant::now() > deadline {
            return;
        }
        sleep(WAIT);
    }
}

fn kill_at_once(group: &Group) -> Result<()> {
    fault::point("cgroup.kill")?;
    group.write("cgroup.kill", "1")
}

/// `SI_QUEUE`, sigaction(2).
const SI_QUEUE: libc::c_int = -1;

struct Killer {
    /// Processes that were there.
    found: usize,
}

impl Visitor for Killer {
    fn enter(&mut self, group: BorrowedFd<'_>) {
        let pids = pids(group);
        self.found += pids.len();
        for batch in pids.chunks(BATCH) {
            kill_batch(group, batch);
        }
    }
}

/// The processes in one group.
fn pids(group: impl AsFd) -> Vec<Pid> {
    let text = group::read(group, "cgroup.procs").unwrap_or_default();
    // 0 represents a process outside this PID namespace.
    let numbers = text.lines().filter_map(|line| line.parse().ok()).filter(|number| *number > 0);
    numbers.map(Pid::from_raw).collect()
}

/// Kills processes through descriptors: one may end, and its number go to a process outside, before it is signalled. A
/// number that is listed again after its process was opened refers to that process, or to one that has ended.
fn kill_batch(group: BorrowedFd<'_>, batch: &[Pid]) {
    let opened: Vec<(Pid, Result<OwnedFd, Errno>)> =
        batch.iter().map(|pid| (*pid, process::pidfd_open(*pid))).collect();
    let listed = pids(group);
    let kill = SignalInfo::new(libc::SIGKILL, SI_QUEUE, Pid::this(), geteuid().as_raw(), 0);
    for (pid, opened) in opened.iter().filter(|(pid, _)| listed.contains(pid)) {
        let _ = match opened {
            Ok(pidfd) => process::pidfd_send_signal(pidfd.as_fd(), &kill, 0),
            Err(Errno::ESRCH) => Ok(()),
            // Before 5.3, or no descriptor is free.
            Err(_) => process::kill(*pid, libc::SIGKILL),
        };
    }
}
