//! Lists the processes of a container: `cgroup.procs` of its group and of all groups below it. Also moves the machine's
//! first process out of them.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use nix::unistd::Pid;

use super::walk::{Visitor, walk};
use super::{Cgroup, ROUND, group};

impl Cgroup {
    /// The processes in the groups, as many as can be listed in a moment; of version 2 if the container has a group there.
    #[must_use]
    pub fn members(&self) -> Vec<Pid> {
        let mut members = Members(Vec::new());
        if let Some(group) = self.groups().next() {
            let _ = walk(group, Instant::now() + ROUND, &mut members);
        }
        members.0
    }

    /// Moves the machine's first process out of the groups, to the first group of each hierarchy. Without PID namespaces
    /// and without `nsdelegate` (cgroups(7)), root in the container can move it there; nothing kills it, so the groups
    /// would never become empty.
    pub fn give_back_first_process(&self) {
        for group in self.groups() {
            let mut members = Members(Vec::new());
            let _ = walk(group, Instant::now() + ROUND, &mut members);
            let is_there = members.0.contains(&Pid::from_raw(1));
            let top = group.above().and_then(|base| base.above()).filter(|_| is_there);
            if let Some(Err(error)) = top.map(|top| top.write("cgroup.procs", "1")) {
                log::warn!("{error:#}");
            }
        }
    }
}

struct Members(Vec<Pid>);

impl Visitor for Members {
    fn enter(&mut self, group: BorrowedFd<'_>) {
        let text = group::read(group, "cgroup.procs").unwrap_or_default();
        // 0 represents a process outside this PID namespace.
        let pids = text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0);
        self.0.extend(pids.map(Pid::from_raw));
    }
}
