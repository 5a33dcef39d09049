//! Timeouts for a worker or supervisor that does not read.
//!
//! Owns the client's timeouts. An unread request means that the supervisor is stopped or frozen; an unread signal means
//! that the worker is. There is no timeout for a running command without output. unix(7).

use std::os::fd::{AsFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::poll::PollTimeout;
use nix::unistd::Pid;

use crate::monitor::is_stopped;
use crate::poll::timeout_until;
use crate::sys::socket::{peer, unread};

/// The timeout for an unread request. Even a busy machine forks a worker in a fraction of it.
const UNREAD: Duration = Duration::from_secs(10);
/// The timeout for an unread signal that would end any other program.
const UNHEARD: Duration = Duration::from_secs(2);

/// The unread messages.
#[derive(Debug)]
pub(super) struct Silence {
    /// The deadline for the request; `None` once it has been read.
    request: Option<Instant>,
    /// The deadline for the first signal; `None` before a signal, and once it has been read.
    signal: Option<Instant>,
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
        Self { request: Some(Instant::now() + UNREAD), signal: None }
    }

    /// A signal has just been forwarded.
    pub(super) fn signalled(&mut self) {
        self.signal.get_or_insert_with(|| Instant::now() + UNHEARD);
    }

    /// The timeout for poll(2).
    pub(super) fn timeout(&self) -> PollTimeout {
        let soonest = [self.request, self.signal].into_iter().flatten().min();
        timeout_until(soonest)
    }

    /// Checks whether the messages have been read, if the check is due.
    ///
    /// # Errors
    /// If the supervisor does not answer.
    pub(super) fn judge(&mut self, connection: &OwnedFd) -> Result<Verdict> {
        let now = Instant::now();
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
            return Ok(Verdict::EndAsSignalled);
        }
        if self.signal.is_none() {
            bail!(silent(supervisor(connection)));
        }
        self.request = None;
        Ok(Verdict::Wait)
    }
}

/// Waits for a stopped supervisor. Must be called before anything is sent: an unread request keeps the client's
/// standard streams open, so that readers of the client's output would block.
///
/// # Errors
/// If it remains stopped.
pub(super) fn wait_for_supervisor(connection: &OwnedFd) -> Result<()> {
    let supervisor = supervisor(connection);
    let deadline = Instant::now() + UNREAD;
    while is_stopped(supervisor) {
        if Instant::now() >= deadline {
            bail!(silent(supervisor));
        }
        sleep(Duration::from_millis(50));
    }
    Ok(())
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
        let text = Silence { request: due(), signal: None }.judge(&ours).unwrap_err().to_string();
        assert!(text.contains("the supervisor (pid "), "{text}");
        let mut signalled = Silence { request: due(), signal: due() };
        assert_eq!(signalled.judge(&ours).unwrap(), Verdict::EndAsSignalled);
        assert_eq!(Silence::new().judge(&ours).unwrap(), Verdict::Wait, "it is not due");
        socket::receive::<String>(&theirs).unwrap().unwrap();
        assert_eq!(signalled.judge(&ours).unwrap(), Verdict::Wait);
        assert_eq!(signalled.timeout(), PollTimeout::NONE);
    }
}
