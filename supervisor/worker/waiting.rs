//! Waiting in a worker for a descriptor or a deadline, and always for the client as well.
//!
//! Owns the definition of an interruption by the client. Every wait of a command that monitors its client uses
//! [`Client::wait`], so that none of them outlives the client. poll(2).

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::client::{Client, FromClient};
use crate::call;
use crate::poll::PollSet;
use crate::poll::timeout_until;

/// The timeout for an answer of our own processes. It normally takes far less than a millisecond.
pub const TIMEOUT: Duration = Duration::from_secs(5);

impl Client {
    /// Waits until `descriptor` is readable or the deadline has passed; returns whether it is readable. The client's
    /// end or interruption ends the wait.
    ///
    /// # Errors
    /// If the client interrupted.
    pub fn wait(&self, descriptor: Option<BorrowedFd<'_>>, until: Option<Instant>) -> Result<bool> {
        loop {
            let mut set = PollSet::default();
            if let Some(descriptor) = descriptor {
                set.input(true, descriptor);
            }
            if let Some(client) = self.fd() {
                set.input(false, client);
            }
            match call!(set.wait(timeout_until(until)), "poll")?.first() {
                Some(true) => return Ok(true),
                Some(false) => self.interrupt()?,
                None => {}
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return Ok(false);
            }
        }
    }

    /// Sleeps, unless the client interrupts.
    ///
    /// # Errors
    /// If the client interrupted.
    pub fn pause(&self, time: Duration) -> Result<()> {
        self.wait(None, Some(Instant::now() + time)).map(drop)
    }

    fn interrupt(&self) -> Result<()> {
        match self.receive().context("the client")? {
            FromClient::Signal(libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT)
            | FromClient::HungUp => {
                bail!("interrupted")
            }
            FromClient::Signal(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket;
    use crate::worker::protocol::ToWorker;
    use std::os::fd::AsFd;

    #[test]
    fn a_wait_ends_with_what_comes_with_its_limit_and_with_the_client() {
        let (ours, theirs) = socket::pair().unwrap();
        let (quiet, other) = socket::pair().unwrap();
        let client = Client::new(Some(ours));
        let soon = || Some(Instant::now() + Duration::from_millis(5));
        assert!(!client.wait(Some(quiet.as_fd()), soon()).unwrap());
        socket::send(&theirs, &ToWorker::Signal(libc::SIGWINCH), &[]).unwrap();
        assert!(!client.wait(Some(quiet.as_fd()), soon()).unwrap(), "that signal interrupts nothing");
        socket::send(&other, &1, &[]).unwrap();
        assert!(client.wait(Some(quiet.as_fd()), None).unwrap());
        socket::send(&theirs, &ToWorker::Signal(libc::SIGINT), &[]).unwrap();
        assert_eq!(client.pause(Duration::from_secs(60)).unwrap_err().to_string(), "interrupted");
        drop(theirs);
        assert!(client.wait(None, None).is_err(), "a client that is gone");
        assert!(!Client::new(None).wait(None, soon()).unwrap(), "without a client there is the limit");
    }
}
