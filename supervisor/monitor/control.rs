//! The container's control socket: who is connected, and what they ask.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Monitor;
use super::protocol::{Answer, Request};
use crate::socket;
use crate::sys::socket::peer;

/// Somebody who is connected.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) connection: OwnedFd,
    /// Wants to hear of every change.
    pub(super) watching: bool,
    /// Waits for the end of a restart.
    pub(super) waits_for_restart: bool,
}

impl Client {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// Sends without waiting; somebody who does not read is dropped by the caller.
    pub(super) fn send(&self, answer: &Answer, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        let mut writable = [PollFd::new(self.connection.as_fd(), PollFlags::POLLOUT)];
        poll(&mut writable, PollTimeout::ZERO)?;
        if !writable[0].revents().is_some_and(|events| events.contains(PollFlags::POLLOUT)) {
            anyhow::bail!("the client does not read");
        }
        socket::send(&self.connection, answer, descriptors)
    }
}

impl Monitor {
    /// Accepts a connection of root; anybody else's is closed at once.
    pub(super) fn accept(&mut self) {
        let Ok(connection) = socket::accept_from(self.listener.as_fd()) else { return };
        if peer(connection.as_fd()).is_ok_and(|peer| peer.uid() == 0) {
            self.clients.push(Client { connection, watching: false, waits_for_restart: false });
        }
    }

    /// Hears a client out; `false` once it is gone.
    pub(super) fn hear_client(&mut self, index: usize) -> bool {
        let received = match self.clients.get(index).map(|client| socket::receive::<Request>(client.fd())) {
            Some(Ok(Some(received))) => received,
            _ => return false,
        };
        if matches!(received.message, Request::Status | Request::Watch) {
            self.look_for_readiness();
        }
        let answer = match received.message {
            Request::Status => Answer::Status(Box::new(self.status())),
            Request::Watch => {
                self.clients[index].watching = true;
                Answer::Status(Box::new(self.status()))
            }
            Request::Stop { timeout_s, kill } => {
                self.stop(timeout_s, kill, false);
                Answer::Done
            }
            Request::Restart { timeout_s } => {
                self.stop(timeout_s, false, true);
                self.clients[index].waits_for_restart = true;
                return true;
            }
            Request::Console => return self.attach_console(index),
            Request::Resize(size) => {
                self.console.resize(size);
                return true;
            }
        };
        self.clients[index].send(&answer, &[]).is_ok()
    }

    fn attach_console(&mut self, index: usize) -> bool {
        match self.console.attach() {
            Ok(stream) => self.clients[index].send(&Answer::Done, &[stream.as_fd()]).is_ok(),
            Err(error) => self.clients[index].send(&Answer::Failed(format!("{error:#}")), &[]).is_ok(),
        }
    }

    /// Answers those who wait for a restart.
    pub(super) fn restarted(&mut self, answer: &Answer) {
        for client in &mut self.clients {
            if std::mem::take(&mut client.waits_for_restart) {
                let _ = client.send(answer, &[]);
            }
        }
    }
}

/// Gives one answer to everybody who has connected and not been heard: the start has failed.
pub(super) fn answer_everybody(listener: &OwnedFd, answer: &Answer) {
    let mut waiting = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    while poll(&mut waiting, PollTimeout::ZERO).is_ok_and(|count| count > 0) {
        let Ok(connection) = socket::accept_from(listener.as_fd()) else { return };
        let _ = socket::send(&connection, answer, &[]);
    }
}
