//! The clients of the control socket. Owns the connections and the check of a peer; knows no request.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Result;
use nix::poll::PollFlags;

use super::protocol::Answer;
use crate::peer::{self, PidNamespace};
use crate::poll;
use crate::socket;

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    /// The number of the client, unique while the monitor lives; its index in the list changes.
    pub(super) id: u64,
    pub(super) connection: OwnedFd,
    /// Subscribed to status changes.
    pub(super) watching: bool,
    /// Waits until the container has booted this many times.
    pub(super) waits_for_boot: Option<u32>,
}

impl Client {
    /// Accepts a connection; closes it at once if the peer is not permitted.
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

    /// Sends without blocking; the caller drops a client that does not read.
    pub(super) fn send(&self, answer: &Answer, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        if !poll::is_ready(self.fd(), PollFlags::POLLOUT) {
            anyhow::bail!("the client does not read");
        }
        socket::send(&self.connection, answer, descriptors)
    }
}

/// Sends one answer to all clients with pending requests: the start has failed.
pub(super) fn answer_everybody(listener: &OwnedFd, answer: &Answer) {
    while poll::is_readable(listener.as_fd()) {
        let Ok(connection) = socket::accept_from(listener.as_fd()) else { return };
        let _ = socket::send(&connection, answer, &[]);
    }
}
