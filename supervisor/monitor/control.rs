//! The container's control socket: who is connected, and what they ask.
//!
//! Owns the list of clients and who of them waits for what. A client is addressed by its number, never by its place in
//! the list: whatever tells all clients something may remove any of them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Result;
use nix::poll::PollFlags;

use super::Monitor;
use super::protocol::{Answer, Request};
use crate::socket;
use crate::sys::socket::peer;

/// Somebody who is connected.
#[derive(Debug)]
pub(super) struct Client {
    /// Names the client for as long as the monitor lives: its place in the list changes.
    pub(super) id: u64,
    pub(super) connection: OwnedFd,
    /// Wants to hear of every change.
    pub(super) watching: bool,
    /// Waits until the container has booted so many times.
    pub(super) waits_for_boot: Option<u32>,
}

impl Client {
    /// A client that has just connected.
    pub(super) fn new(id: u64, connection: OwnedFd) -> Self {
        Self { id, connection, watching: false, waits_for_boot: None }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// Sends without waiting; somebody who does not read is dropped by the caller.
    pub(super) fn send(&self, answer: &Answer, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        if !socket::is_ready(self.fd(), PollFlags::POLLOUT) {
            anyhow::bail!("the client does not read");
        }
        socket::send(&self.connection, answer, descriptors)
    }
}

impl Monitor {
    /// Accepts a connection of root; anybody else's is closed at once.
    pub(super) fn accept(&mut self) {
        // What poll(2) said may be out of date: a boot has served everybody meanwhile.
        if !socket::is_readable(self.listener.as_fd()) {
            return;
        }
        let Ok(connection) = socket::accept_from(self.listener.as_fd()) else { return };
        if peer(connection.as_fd()).is_ok_and(|peer| peer.uid() == 0) {
            self.last_client += 1;
            self.clients.push(Client::new(self.last_client, connection));
        }
    }

    /// Hears one request of a client, and forgets the client once it is gone. What is asked for may remove any other
    /// client from the list.
    pub(super) fn hear_client(&mut self, id: u64) {
        let readable = self.client(id).filter(|client| socket::is_readable(client.fd()));
        let received = match readable.map(|client| socket::receive::<Request>(client.fd())) {
            // Gone, or heard already: what poll(2) said may be out of date.
            None => return,
            Some(Ok(Some(received))) => received,
            Some(_) => return self.drop_client(id),
        };
        if matches!(received.message, Request::Status | Request::Watch) {
            self.look_for_readiness();
        }
        match received.message {
            Request::Status => self.answer(id, &Answer::Status(Box::new(self.status())), &[]),
            Request::Watch => {
                if let Some(client) = self.client(id) {
                    client.watching = true;
                }
                self.answer(id, &Answer::Status(Box::new(self.status())), &[]);
            }
            Request::Stop { timeout_s, kill } => {
                self.stop(timeout_s, kill);
                self.answer(id, &Answer::Done, &[]);
            }
            Request::Restart { timeout_s } => match self.restart(timeout_s) {
                Ok(boot) => {
                    if let Some(client) = self.client(id) {
                        client.waits_for_boot = Some(boot);
                    }
                }
                Err(refusal) => self.answer(id, &Answer::Failed(refusal.to_owned()), &[]),
            },
            Request::Console => match self.console.attach() {
                Ok(stream) => self.answer(id, &Answer::Done, &[stream.as_fd()]),
                Err(error) => self.answer(id, &Answer::Failed(format!("{error:#}")), &[]),
            },
            Request::Resize(size) => self.console.resize(size),
        }
    }

    fn client(&mut self, id: u64) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.id == id)
    }

    fn drop_client(&mut self, id: u64) {
        self.clients.retain(|client| client.id != id);
    }

    fn answer(&mut self, id: u64, answer: &Answer, descriptors: &[BorrowedFd<'_>]) {
        let taken = self.client(id).is_none_or(|client| client.send(answer, descriptors).is_ok());
        if !taken {
            self.drop_client(id);
        }
    }

    /// Answers those who wait for a boot that has come, or for any boot when none will come.
    pub(super) fn answer_waiting(&mut self, answer: &Answer) {
        let boots = if matches!(answer, Answer::Done) { self.boots } else { u32::MAX };
        for client in &mut self.clients {
            if client.waits_for_boot.is_some_and(|boot| boot <= boots) {
                client.waits_for_boot = None;
                let _ = client.send(answer, &[]);
            }
        }
    }

    /// Whether somebody waits for a boot that has not come.
    pub(super) fn is_waited_for(&self) -> bool {
        self.clients.iter().any(|client| client.waits_for_boot.is_some())
    }
}

/// Gives one answer to everybody who has connected and not been heard: the start has failed.
pub(super) fn answer_everybody(listener: &OwnedFd, answer: &Answer) {
    while socket::is_readable(listener.as_fd()) {
        let Ok(connection) = socket::accept_from(listener.as_fd()) else { return };
        let _ = socket::send(&connection, answer, &[]);
    }
}
