//! Waiting in a worker: for a descriptor or a moment, and always for whoever asked, too.
//!
//! Owns what an interruption by the client is. Every wait of a command that listens to its client goes through
//! [`Client::wait`], so that none of them outlives the wish to wait. poll(2).

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::client::{Client, FromClient};
use crate::call;
use crate::poll::PollSet;
use crate::poll::timeout_until;

/// How long a process of ours may take to answer. It takes far less than a millisecond.
pub const PATIENCE: Duration = Duration::from_secs(5);

impl Client {
    /// Waits until `descriptor` is readable, but no longer than `until`; says whether it is. A client that goes away or
    /// interrupts ends the wait.
    ///
    /// # Errors
    /// That the client interrupted it.
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

    /// Waits for so long, unless the client interrupts.
    ///
    /// # Errors
    /// That the client interrupted it.
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
