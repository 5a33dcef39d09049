//! Sends signals on behalf of callers, and checks whether a caller may send them. kill(2), credentials(7).
//!
//! PID 1 receives only signals that it handles, blocks or waits for, as in a PID namespace: pid_namespaces(7).
//!
//! Sends a signal through a descriptor of a process that it has identified as the container's. Therefore, the signal
//! never reaches a later process with the same number.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::{Pid, getpgid, getsid};

use super::caller::{Facts, KILL, hears};
use super::context::Pending;
use super::place::Place;
use crate::cgroup::Cgroup;
use crate::sys::process::{self, SignalInfo};

/// The maximum number of scans for processes that were created while others received their signal.
const ROUNDS: usize = 8;

/// A signal with its sender.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signal<'a> {
    pub(super) place: &'a Place,
    /// The call that sends it.
    pub(super) pending: Pending<'a>,
    /// The sending thread.
    pub(super) thread: Pid,
    pub(super) sender: Facts,
    pub(super) number: libc::c_int,
    /// The information that the receiver gets.
    pub(super) info: SignalInfo,
}

impl Signal<'_> {
    /// Sends to one process.
    pub(super) fn send_to(&self, target: Pid) -> Result<(), Errno> {
        let (pidfd, facts) = self.find(target)?;
        self.send(&pidfd, &facts, 0)
    }

    /// The process of a process or thread id.
    pub(super) fn find(&self, target: Pid) -> Result<(OwnedFd, Facts), Errno> {
        let open = |target: Pid| {
            let pidfd = process::pidfd_open(target)?;
            // Checked after it was opened: if another process now has the number, the signal goes to the old one, which
            // has ended.
            let facts = if self.place.holds(target) { Facts::of(target) } else { None };
            Ok((pidfd, facts.ok_or(Errno::ESRCH)?))
        };
        match open(target) {
            // The number of a thread: kill(2) signals its process.
            Err(Errno::EINVAL | Errno::ENOENT) => open(Facts::of(target).ok_or(Errno::ESRCH)?.process),
            other => other,
        }
    }

    /// Sends to a process that has been identified as the container's.
    pub(super) fn send(&self, pidfd: &OwnedFd, target: &Facts, flags: u32) -> Result<(), Errno> {
        if !(0..=64).contains(&self.number) {
            return Err(Errno::EINVAL);
        }
        if !self.is_permitted(target) {
            return Err(Errno::EPERM);
        }
        // The permission may be that of a later process with the caller's number.
        if !self.pending.is_waiting() {
            return Err(Errno::ESRCH);
        }
        if self.is_dropped_by(target.process) {
            return Ok(());
        }
        process::pidfd_send_signal(pidfd.as_fd(), &self.info, flags)
    }

    /// Sends to a process group. Returns the caller's own process if it is in the group, because it must be signalled last.
    pub(super) fn send_to_group(&self, group: Pid, cgroup: &Cgroup) -> Result<Option<OwnedFd>, Errno> {
        let is_member = |process: Pid| getpgid(Some(process)) == Ok(group);
        let (mut results, mut own) = (Vec::new(), None);
        for process in cgroup.members().into_iter().filter(|process| is_member(*process)) {
            match self.find(process) {
                // Its group was read before it was opened.
                Ok((pidfd, facts)) if is_member(facts.process) => {
                    if facts.process == self.sender.process {
                        own = Some(pidfd);
                    } else {
                        results.push(self.send(&pidfd, &facts, 0));
                    }
                }
                _ => {}
            }
        }
        match results.last() {
            None if own.is_none() => Err(Errno::ESRCH),
            None => Ok(own),
            Some(last) => results.iter().find(|sent| sent.is_ok()).unwrap_or(last).map(|()| own),
        }
    }

    /// Sends to every process of the container except the caller's and PID 1.
    pub(super) fn send_to_all(&self, cgroup: &Cgroup) -> Result<(), Errno> {
        let mut reached = vec![self.place.manager, self.sender.process];
        let mut result = Err(Errno::ESRCH);
        for _ in 0..ROUNDS {
            let new: Vec<Pid> = cgroup.members().into_iter().filter(|pid| !reached.contains(pid)).collect();
            if new.is_empty() {
                break;
            }
            for target in &new {
                match self.send_to(*target) {
                    Err(Errno::ESRCH) => {}
                    // kill(2): EPERM only if no process could be signalled.
                    sent => result = if result.is_ok() { result } else { sent },
                }
            }
            reached.extend(new);
            reached.sort_unstable();
        }
        result
    }

    /// Whether the signal has no effect on a process because that is PID 1.
    pub(super) fn is_dropped_by(&self, target: Pid) -> bool {
        target == self.place.manager && !hears(target, self.number)
    }

    /// The kernel's rule, kill(2): the same user, CAP_KILL, or SIGCONT in the same session.
    fn is_permitted(&self, target: &Facts) -> bool {
        let ([real, effective, _], [owner, _, saved]) = (self.sender.users, target.users);
        self.sender.process == target.process
            || [real, effective].iter().any(|user| *user == owner || *user == saved)
            || self.sender.is_capable(self.thread, KILL)
            || (self.number == libc::SIGCONT
                && getsid(Some(self.sender.process)) == getsid(Some(target.process)))
    }
}
