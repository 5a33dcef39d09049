//! Timeouts for a worker or supervisor that does not read.
//!
//! Owns the client's timeouts. An unread request means that the supervisor is stopped or frozen; an unread signal means
//! that the worker is. There is no timeout for a running command without output, unless its worker is stopped or frozen.
//! unix(7), proc_pid_stat(5).

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::poll::PollTimeout;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cgroup::kill_frozen;
use crate::monitor::is_stopped;
use crate::poll::timeout_until;
use crate::proc_stat;
use crate::sys::socket::{peer, unread};
use crate::worker::protocol::SERVING;
use crate::worker::stopped::{StoppedWatch, reason};

/// The timeout for an unread request. Even a busy machine forks a worker in a fraction of it.
const UNREAD: Duration = Duration::from_secs(10);
/// The timeout for an unread signal that would end any other program.
const UNHEARD: Duration = Duration::from_secs(2);

/// The unread messages, and the worker.
#[derive(Debug)]
pub(super) struct Silence {
    /// The deadline for the request; `None` once it has been read.
    request: Option<Instant>,
    /// The deadline for the first signal; `None` before a signal, and once it has been read.
    signal: Option<Instant>,
    worker: Option<StoppedWatch>,
}

/// The decision.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Continue to wait.
    Wait,
    /// End as the signal would have ended any program.
    EndAsSignalled,
}

impl Silence {
    /// The request has just been sent.
    pub(super) fn new() -> Self {
        Self { request: Some(Instant::now() + UNREAD), signal: None, worker: None }
    }

    /// The worker with this number has read the request.
    pub(super) fn served_by(&mut self, worker: Pid) {
        self.request = None;
        self.worker = Some(StoppedWatch::of(worker));
    }

    /// A signal has just been forwarded.
    pub(super) fn signalled(&mut self) {
        self.signal.get_or_insert_with(|| Instant::now() + UNHEARD);
    }

    /// The timeout for poll(2).
    pub(super) fn timeout(&self) -> PollTimeout {
        let check = self.worker.as_ref().map(StoppedWatch::due);
        let soonest = [self.request, self.signal, check].into_iter().flatten().min();
        timeout_until(soonest)
    }

    /// Checks whether the messages have been read and whether the worker is stopped or frozen, if a check is due.
    ///
    /// # Errors
    /// If the supervisor or the worker does not answer.
    pub(super) fn judge(&mut self, connection: &OwnedFd) -> Result<Verdict> {
        let now = Instant::now();
        if let Some(pid) = self.worker.as_mut().and_then(|watch| watch.check(now)) {
            let reason = reason(pid);
            end_stopped(pid);
            bail!("its worker (pid {pid}) {reason}, and has been ended; try again");
        }
        let is_due = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        if !is_due(self.request) && !is_due(self.signal) {
            return Ok(Verdict::Wait);
        }
        // If the kernel cannot tell, assume that it has been read.
        if unread(connection.as_fd()).unwrap_or(0) == 0 {
            (self.request, self.signal) = (None, None);
            return Ok(Verdict::Wait);
        }
        if is_due(self.signal) {
            self.worker.as_ref().map(StoppedWatch::process).into_iter().for_each(end_stopped);
            return Ok(Verdict::EndAsSignalled);
        }
        if self.signal.is_none() {
            bail!(silent(supervisor(connection)));
        }
        self.request = None;
        Ok(Verdict::Wait)
    }
}

/// Kills a stopped or frozen worker whose client ends. It would end by itself once it continued; until then it would keep
/// the client's standard streams open, so that readers of the client's output would block.
fn end_stopped(worker: Pid) {
    let name = fs::read_to_string(format!("/proc/{worker}/comm")).unwrap_or_default();
    if name.trim_end().as_bytes() != SERVING.to_bytes() {
        return;
    }
    if is_stopped(worker) || sleeps_in_freezer(worker) {
        let _ = kill(worker, Signal::SIGKILL);
    } else {
        kill_frozen(worker);
    }
}

/// Waits for a stopped or frozen supervisor. Must be called before anything is sent: an unread request keeps the client's
/// standard streams open, so that readers of the client's output would block.
///
/// # Errors
/// If it remains stopped.
pub(super) fn wait_for_supervisor(connection: &OwnedFd) -> Result<()> {
    let supervisor = supervisor(connection);
    let deadline = Instant::now() + UNREAD;
    // A process that waits for a disk has the same state as a frozen one.
    let mut wait = Duration::from_millis(1);
    while stands_still(supervisor) {
        if Instant::now() >= deadline {
            bail!(silent(supervisor));
        }
        sleep(wait);
        wait = (wait * 2).min(Duration::from_millis(50));
    }
    Ok(())
}

/// Whether a process is stopped, is frozen, or waits for a disk: the freezer of control groups version 1 has the same state
/// as the last. A process that version 2 has frozen sleeps in the delivery of signals, proc_pid_wchan(5). If the kernel
/// does not show where it sleeps, it is assumed to run.
fn stands_still(pid: Pid) -> bool {
    let stat = proc_stat::read(&format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    match state {
        Some('T' | 't' | 'D') => true,
        Some('S') => sleeps_in_freezer(pid),
        _ => false,
    }
}

/// Whether a process sleeps in the delivery of signals.
fn sleeps_in_freezer(pid: Pid) -> bool {
    let place = proc_stat::read(&format!("/proc/{pid}/wchan")).unwrap_or_default();
    ["get_signal", "do_freezer_trap", "do_signal_stop"].contains(&place.trim())
}

/// The process that listens at the other end of a connection.
fn supervisor(connection: &OwnedFd) -> Pid {
    Pid::from_raw(peer(connection.as_fd()).map_or(0, |peer| peer.pid()))
}

fn silent(pid: Pid) -> String {
    format!(
        "the supervisor (pid {pid}) does not answer; if it is stopped, run 'kill -CONT {pid}', else 'kill -KILL {pid}': \
         containers keep running, and the next command starts a new supervisor"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket;

    #[test]
    fn what_is_not_read_is_noticed_and_what_is_read_is_waited_for() {
        let (ours, theirs) = socket::pair().unwrap();
        let due = || Some(Instant::now());
        socket::send(&ours, &"request", &[]).unwrap();
        let text =
            Silence { request: due(), signal: None, worker: None }.judge(&ours).unwrap_err().to_string();
        assert!(text.contains("the supervisor (pid "), "{text}");
        let mut signalled = Silence { request: due(), signal: due(), worker: None };
        assert_eq!(signalled.judge(&ours).unwrap(), Verdict::EndAsSignalled);
        assert_eq!(Silence::new().judge(&ours).unwrap(), Verdict::Wait, "it is not due");
        socket::receive::<String>(&theirs).unwrap().unwrap();
        assert_eq!(signalled.judge(&ours).unwrap(), Verdict::Wait);
        assert_eq!(signalled.timeout(), PollTimeout::NONE);
    }

    #[test]
    fn a_worker_that_stays_stopped_is_told_and_one_that_runs_is_waited_for() {
        let (ours, _theirs) = socket::pair().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let worker = Pid::from_raw(child.id().try_into().unwrap());
        let mut silence = Silence::new();
        silence.served_by(worker);
        let look = |silence: &mut Silence| {
            silence.worker.as_mut().unwrap().hurry();
            silence.judge(&ours)
        };
        assert_eq!(look(&mut silence).unwrap(), Verdict::Wait);
        assert!(!stands_still(worker) || !is_stopped(worker));
        kill(worker, Signal::SIGSTOP).unwrap();
        while !is_stopped(worker) {
            sleep(Duration::from_millis(1));
        }
        assert!(stands_still(worker));
        assert_eq!(look(&mut silence).unwrap(), Verdict::Wait, "it may go on");
        let text = look(&mut silence).unwrap_err().to_string();
        assert!(text.contains(&format!("its worker (pid {worker})")), "{text}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
