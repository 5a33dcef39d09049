//! SIGKILL for every process of a group and of those below it, whatever namespace it is in.
//!
//! `cgroup.kill` of version 2 (5.14), else one process after the other.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use nix::unistd::Pid;

use super::group::{self, Group};
use super::walk::{Visitor, walk};
use crate::sys::process;

/// Kills what is in a group and below it; goes on after failures.
pub(super) fn kill(group: &Group, deadline: Instant) {
    if group.write("cgroup.kill", "1").is_err() {
        let _ = walk(group, deadline, &mut Killer);
    }
}

struct Killer;

impl Visitor for Killer {
    fn enter(&mut self, group: BorrowedFd<'_>) {
        let text = group::read(group, "cgroup.procs").unwrap_or_default();
        // 0 stands for a process that this PID namespace does not have.
        for pid in text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0) {
            let _ = process::kill(Pid::from_raw(pid), libc::SIGKILL);
        }
    }
}
