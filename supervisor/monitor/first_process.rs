//! PID 1 of the container. Owns its process ID and start time, and the escalation from a shutdown request to SIGKILL.
//! Decides neither when it must end nor what follows.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::part::{Part, Ready};
use super::stopping::{Asking, hears, is_stopped, request};
use crate::clock::now;
use crate::plan::stop::StopRequest;
use crate::poll::PollSet;
use crate::proc_stat;
use crate::sys::process;

/// The delay before a killed PID 1 is thawed and killed again.
const KILLED_AGAIN: Duration = Duration::from_secs(1);
/// How long a killed PID 1 may wait for its namespace to become empty.
const EMPTYING: Duration = Duration::from_secs(3);

/// PID 1, if it runs.
#[derive(Debug, Default)]
pub(super) struct FirstProcess {
    pid: Option<Pid>,
    /// Start time in clock ticks after boot, which identifies the process together with its ID.
    ticks: Option<u64>,
    /// Start time in seconds of CLOCK_BOOTTIME.
    started_s: Option<u64>,
    /// When to send SIGKILL, also repeatedly.
    deadline: Option<Instant>,
    /// When SIGKILL was first sent.
    killed: Option<Instant>,
    /// The shutdown request is repeated until PID 1 can handle it.
    asking: Option<Asking>,
}

/// A step of the escalation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escalation {
    /// Repeat the shutdown request.
    Ask,
    /// Send SIGKILL.
    Kill,
}

impl FirstProcess {
    /// This process has executed the init program.
    pub(super) fn runs(&mut self, pid: Pid) {
        let stat = proc_stat::read(&format!("/proc/{pid}/stat")).ok();
        self.pid = Some(pid);
        self.ticks = stat.and_then(|stat| proc_stat::start_time(&stat));
        self.started_s = Some(now().as_secs());
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        self.pid
    }

    pub(super) fn ticks(&self) -> Option<u64> {
        self.ticks
    }

    pub(super) fn started_s(&self) -> Option<u64> {
        self.started_s
    }

    /// Its exit status and uptime in seconds, if it has ended; it is then forgotten.
    pub(super) fn reap(&mut self) -> Option<(WaitStatus, u64)> {
        let pid = self.pid?;
        let status = match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) if self.is_kept(pid) => {
                WaitStatus::Signaled(pid, Signal::SIGKILL, false)
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => return None,
            Ok(status) => status,
            Err(_) => WaitStatus::Exited(pid, 1),
        };
        let ended = std::mem::take(self);
        let uptime_s = ended.started_s.map_or(0, |started| now().as_secs().saturating_sub(started));
        Some((status, uptime_s))
    }

    /// Whether only its process ID is left: it has released everything else, and the kernel waits for the processes of
    /// its namespace to be reaped. Their parent may be a stopped process outside, such as a worker or nsenter(1).
    fn is_kept(&self, pid: Pid) -> bool {
        self.killed.is_some_and(|killed| killed.elapsed() > EMPTYING)
            && proc_stat::read(&format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| proc_stat::field(&stat, 3) == Some("S") && proc_stat::is_exiting(&stat))
    }

    /// The step that is due.
    pub(super) fn escalation(&self) -> Option<Escalation> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= Instant::now());
        if is_due(self.deadline) {
            return Some(Escalation::Kill);
        }
        is_due(self.asking.as_ref().map(Asking::due)).then_some(Escalation::Ask)
    }

    /// Limits its remaining time. A later call can only shorten it.
    pub(super) fn limit(&mut self, timeout: Duration) {
        let due = Instant::now() + timeout;
        self.deadline = Some(self.deadline.map_or(due, |deadline| deadline.min(due)));
    }

    /// The remaining time in seconds, if it is limited.
    pub(super) fn ends_within_s(&self) -> Option<u64> {
        Some(self.deadline?.saturating_duration_since(Instant::now()).as_secs() + 1)
    }

    /// Sends the shutdown request. The kernel drops signals for which a newly executed PID 1 has no handler yet
    /// (pid_namespaces(7)), so the request is repeated for a second or two.
    ///
    /// # Errors
    /// If the request cannot be sent.
    pub(super) fn ask(&mut self, stop: StopRequest) -> Result<()> {
        let Some(pid) = self.pid else { return Ok(()) };
        let again = Asking::after(self.asking.take());
        let (heard, stopped) = (hears(stop, pid), is_stopped(pid));
        let asked = request(stop, pid);
        if stopped {
            // A stopped process cannot handle the request.
            let _ = process::kill(pid, libc::SIGCONT);
        }
        if !heard {
            self.asking = again;
        }
        asked
    }

    /// Sends SIGKILL; the kernel then kills every process of its namespace. Repeated, because root in the container can
    /// freeze a dying process.
    pub(super) fn kill(&mut self) {
        self.deadline = Some(Instant::now() + KILLED_AGAIN);
        self.asking = None;
        self.killed.get_or_insert_with(Instant::now);
        if let Some(pid) = self.pid {
            let _ = process::kill(pid, libc::SIGKILL);
        }
    }
}

impl Part for FirstProcess {
    /// Its exit is reported as a signal.
    fn watch<'a>(&'a self, _: &mut PollSet<'a, Ready>) {}

    fn due(&self) -> Option<Instant> {
        self.deadline.into_iter().chain(self.asking.as_ref().map(Asking::due)).min()
    }
}
