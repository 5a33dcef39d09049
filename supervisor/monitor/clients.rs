//! The clients of the control socket. Owns the socket, the connections and the check of a peer; executes no request.
//!
//! A client is addressed by its number and never by its index, because any message to all clients may remove some of
//! them. Nothing here blocks: a client that does not read its answers is removed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Result, bail};
use nix::poll::PollFlags;

use super::part::{Part, Ready};
use super::protocol::{Answer, ControlRequest};
use crate::peer::{self, PidNamespace};
use crate::poll::{self, PollSet};
use crate::socket::{self, Received};

/// A client.
#[derive(Debug)]
struct Client {
    /// The number of the client, unique while the monitor lives; its index in the list changes.
    id: u64,
    connection: OwnedFd,
    /// Subscribed to status changes.
    watching: bool,
    /// Waits until the container has booted this many times.
    waits_for_boot: Option<u32>,
}

/// All clients.
#[derive(Debug)]
pub(super) struct Clients {
    listener: OwnedFd,
    list: Vec<Client>,
    /// The number of the client that connected last.
    last: u64,
}

impl Clients {
    /// No client yet; they connect to `listener`.
    pub(super) fn new(listener: OwnedFd) -> Self {
        Self { listener, list: Vec::new(), last: 0 }
    }

    /// The control socket.
    pub(super) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// The numbers of all clients.
    pub(super) fn ids(&self) -> Vec<u64> {
        self.list.iter().map(|client| client.id).collect()
    }

    /// Accepts a connection; closes it at once if the peer is not permitted. `false` if none is pending: the event may
    /// be outdated, because a boot serves clients as well.
    pub(super) fn accept(&mut self) -> bool {
        if !poll::is_readable(self.listener.as_fd()) {
            return false;
        }
        let Ok(connection) = socket::accept_from(self.listener.as_fd()) else { return false };
        // A peer from another PID namespace is refused.
        let own = PidNamespace::of("self");
        match own.and_then(|own| peer::check(connection.as_fd(), own)) {
            Ok(()) => {
                self.last += 1;
                self.list.push(Client { id: self.last, connection, watching: false, waits_for_boot: None });
            }
            Err(error) => log::warn!("a peer of the control socket was refused: {error:#}"),
        }
        true
    }

    /// Receives a request of a client, and removes the client if it has ended. `None` also if the event is outdated.
    pub(super) fn request(&mut self, id: u64) -> Option<Received<ControlRequest>> {
        let client = self.get(id).filter(|client| poll::is_readable(client.connection.as_fd()))?;
        let received = socket::receive::<ControlRequest>(&client.connection).ok().flatten();
        if received.is_none() {
            self.remove(id);
        }
        received
    }

    fn get(&mut self, id: u64) -> Option<&mut Client> {
        self.list.iter_mut().find(|client| client.id == id)
    }

    fn remove(&mut self, id: u64) {
        self.list.retain(|client| client.id != id);
    }

    /// Subscribes a client to status changes.
    pub(super) fn subscribe(&mut self, id: u64) {
        if let Some(client) = self.get(id) {
            client.watching = true;
        }
    }

    /// Defers the answer to a client until the container has booted this many times.
    pub(super) fn wait_for_boot(&mut self, id: u64, boots: u32) {
        if let Some(client) = self.get(id) {
            client.waits_for_boot = Some(boots);
        }
    }

    /// Answers a client.
    pub(super) fn answer(&mut self, id: u64, answer: &Answer, descriptors: &[BorrowedFd<'_>]) {
        let sent = self.get(id).is_none_or(|client| client.send(answer, descriptors).is_ok());
        if !sent {
            self.remove(id);
        }
    }

    /// Notifies all subscribers.
    pub(super) fn notify(&mut self, answer: &Answer) {
        self.list.retain(|client| !client.watching || client.send(answer, &[]).is_ok());
    }

    /// Answers the clients that wait for this boot or an earlier one.
    pub(super) fn answer_waiting(&mut self, boots: u32, answer: &Answer) {
        for client in &mut self.list {
            if client.waits_for_boot.is_some_and(|boot| boot <= boots) {
                client.waits_for_boot = None;
                let _ = client.send(answer, &[]);
            }
        }
    }

    /// Whether a client waits for a boot.
    pub(super) fn is_waited_for(&self) -> bool {
        self.list.iter().any(|client| client.waits_for_boot.is_some())
    }

    /// Sends one answer to all clients, also to those whose connections are pending: the start has failed.
    pub(super) fn answer_all(&self, answer: &Answer) {
        for client in &self.list {
            let _ = client.send(answer, &[]);
        }
        while poll::is_readable(self.listener.as_fd()) {
            let Ok(connection) = socket::accept_from(self.listener.as_fd()) else { return };
            let _ = socket::send(&connection, answer, &[]);
        }
    }
}

impl Part for Clients {
    fn watch<'a>(&'a self, set: &mut PollSet<'a, Ready>) {
        set.input(Ready::Listener, self.listener.as_fd());
        for client in &self.list {
            set.input(Ready::Client(client.id), client.connection.as_fd());
        }
    }
}

impl Client {
    fn send(&self, answer: &Answer, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        if !poll::is_ready(self.connection.as_fd(), PollFlags::POLLOUT) {
            bail!("the client does not read");
        }
        socket::send(&self.connection, answer, descriptors)
    }
}
