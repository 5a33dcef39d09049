//! When the other side of the conversation does not read: how long the client goes on waiting.
//!
//! Owns the client's patience. A request that nobody has read means a supervisor that is stopped or frozen; a signal that
//! nobody has read, a worker that is. A command that runs and says nothing is waited for without a limit. unix(7).

use std::os::fd::{AsFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::poll::PollTimeout;
use nix::unistd::Pid;

use crate::monitor::is_stopped;
use crate::poll::timeout_until;
use crate::sys::socket::{peer, unread};

/// How long a request may stay unread. A busy machine forks a worker within a fraction of that.
const UNREAD: Duration = Duration::from_secs(10);
/// How long a signal may stay unread that would end any other program.
const UNHEARD: Duration = Duration::from_secs(2);

/// What the client waits to be read.
#[derive(Debug)]
pub(super) struct Silence {
    /// Until when the request has to be read; none once it is.
    request: Option<Instant>,
    /// Until when the first signal has to be read; none before there is one, and once it is.
    signal: Option<Instant>,
}

/// What to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Go on waiting.
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

    /// How long poll(2) may take.
    pub(super) fn timeout(&self) -> PollTimeout {
        let soonest = [self.request, self.signal].into_iter().flatten().min();
        timeout_until(soonest)
    }

    /// Looks whether what was sent has been read, if that is due.
    ///
    /// # Errors
    /// That the supervisor does not answer.
    pub(super) fn judge(&mut self, connection: &OwnedFd) -> Result<Verdict> {
        let now = Instant::now();
        let is_due = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        if !is_due(self.request) && !is_due(self.signal) {
            return Ok(Verdict::Wait);
        }
        // A kernel that does not tell is trusted.
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

/// Waits for a supervisor that is stopped. To be called before anything is sent: a request that waits to be read keeps
/// the client's standard streams open, and with them whoever reads what the client prints.
///
/// # Errors
/// That it stays stopped.
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
        "the supervisor (pid {pid}) does not answer; 'kill -CONT {pid}' if it is stopped, or 'kill -KILL {pid}': \
         containers keep running, and the next command starts another"
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
