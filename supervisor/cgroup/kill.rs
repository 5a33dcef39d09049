//! Sends SIGKILL to every process of a group and of the groups below it, in any namespace.
//!
//! Uses `cgroup.kill` of version 2 (5.14), otherwise kills one process after the other. Removes nothing.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use nix::unistd::Pid;

use super::group::{self, Group};
use super::walk::{Visitor, walk};
use crate::sys::process;

/// Kills all processes in a group and below it; continues after failures.
pub(super) fn kill(group: &Group, deadline: Instant) {
    if group.write("cgroup.kill", "1").is_err() {
        let _ = walk(group, deadline, &mut Killer);
    }
}

struct Killer;

impl Visitor for Killer {
    fn enter(&mut self, group: BorrowedFd<'_>) {
        let text = group::read(group, "cgroup.procs").unwrap_or_default();
        // 0 represents a process outside this PID namespace.
        for pid in text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0) {
            let _ = process::kill(Pid::from_raw(pid), libc::SIGKILL);
        }
    }
}
