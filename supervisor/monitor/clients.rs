//! Who is connected to the control socket. Owns the connections and who may have one; knows no request.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Result;
use nix::poll::PollFlags;

use super::protocol::Answer;
use crate::peer::{self, PidNamespace};
use crate::poll;
use crate::socket;

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
    /// Accepts a connection; one of a peer that may not speak to us is closed at once.
    pub(super) fn accept(listener: BorrowedFd<'_>, namespace: PidNamespace, id: u64) -> Option<Self> {
        let connection = socket::accept_from(listener).ok()?;
        match peer::check(connection.as_fd(), namespace) {
            Ok(()) => Some(Self { id, connection, watching: false, waits_for_boot: None }),
            Err(error) => {
                log::warn!("a peer of the control socket was refused: {error:#}");
                None
            }
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// Sends without waiting; somebody who does not read is dropped by the caller.
    pub(super) fn send(&self, answer: &Answer, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        if !poll::is_ready(self.fd(), PollFlags::POLLOUT) {
            anyhow::bail!("the client does not read");
        }
        socket::send(&self.connection, answer, descriptors)
    }
}

/// Gives one answer to everybody who has connected and not been heard: the start has failed.
pub(super) fn answer_everybody(listener: &OwnedFd, answer: &Answer) {
    while poll::is_readable(listener.as_fd()) {
        let Ok(connection) = socket::accept_from(listener.as_fd()) else { return };
        let _ = socket::send(&connection, answer, &[]);
    }
}
