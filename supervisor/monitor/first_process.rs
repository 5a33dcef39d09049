//! PID 1 of the container while it runs. Owns its number and start time, and the way from a request to shut down to
//! SIGKILL; decides neither who asks for the end nor what follows it.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::stopping::{Asking, hears, is_stopped, request};
use crate::clock::now;
use crate::plan::stop::StopRequest;
use crate::proc_stat;
use crate::sys::process;

/// How long a PID 1 that was killed may take before it is thawed and killed again.
const KILLED_AGAIN: Duration = Duration::from_secs(1);

/// PID 1, if there is one.
#[derive(Debug, Default)]
pub(super) struct FirstProcess {
    pid: Option<Pid>,
    /// When it started, in clock ticks after boot: with the number it names one process.
    started: Option<u64>,
    /// The same in seconds, CLOCK_BOOTTIME.
    started_s: Option<u64>,
    /// When SIGKILL is due, also once more.
    deadline: Option<Instant>,
    /// The request to shut down waits for a PID 1 that listens.
    asking: Option<Asking>,
}

impl FirstProcess {
    /// It was executed.
    pub(super) fn runs(&mut self, pid: Pid) {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        self.pid = Some(pid);
        self.started = stat.and_then(|stat| proc_stat::start_time(&stat));
        self.started_s = Some(now().as_secs());
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        self.pid
    }

    pub(super) fn started(&self) -> Option<u64> {
        self.started
    }

    pub(super) fn started_s(&self) -> Option<u64> {
        self.started_s
    }

    /// Takes its end, if it has ended, and for how many seconds it ran.
    pub(super) fn reap(&mut self) -> Option<(WaitStatus, u64)> {
        let pid = self.pid?;
        let status = match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => return None,
            Ok(status) => status,
            Err(_) => WaitStatus::Exited(pid, 1),
        };
        let ended = std::mem::take(self);
        let uptime_s = ended.started_s.map_or(0, |started| now().as_secs().saturating_sub(started));
        Some((status, uptime_s))
    }

    /// When the next thing is due: a repeated request, or SIGKILL.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.deadline.into_iter().chain(self.asking.map(|asking| asking.at)).min()
    }

    /// Whether it is to be asked again.
    pub(super) fn is_to_be_asked(&self) -> bool {
        self.asking.is_some_and(|asking| asking.at <= Instant::now())
    }

    /// Whether its time is over.
    pub(super) fn is_overdue(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Gives it so much time to end. Of several deadlines the earliest counts.
    pub(super) fn limit(&mut self, timeout: Duration) {
        let due = Instant::now() + timeout;
        self.deadline = Some(self.deadline.map_or(due, |deadline| deadline.min(due)));
    }

    /// How many seconds are left of that.
    pub(super) fn ends_within_s(&self) -> Option<u64> {
        Some(self.deadline?.saturating_duration_since(Instant::now()).as_secs() + 1)
    }

    /// Asks it to end. One that has only just been executed cannot hear: the kernel drops what PID 1 has no handler for
    /// (pid_namespaces(7)). It is to be asked again, for a second or two.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub(super) fn ask(&mut self, stop: StopRequest) -> Result<()> {
        let Some(pid) = self.pid else { return Ok(()) };
        let again = Asking::after(self.asking.take());
        let (heard, stopped) = (hears(stop, pid), is_stopped(pid));
        let asked = request(stop, pid);
        if stopped {
            // What is stopped hears nothing.
            let _ = process::kill(pid, libc::SIGCONT);
        }
        if !heard {
            self.asking = again;
        }
        asked
    }

    /// SIGKILL, with which the kernel ends every process of its namespace. It is due again soon, since root inside can
    /// freeze a process that is about to die.
    pub(super) fn kill(&mut self) {
        self.deadline = Some(Instant::now() + KILLED_AGAIN);
        self.asking = None;
        if let Some(pid) = self.pid {
            let _ = process::kill(pid, libc::SIGKILL);
        }
    }
}
