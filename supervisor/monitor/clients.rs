//! Who is connected to the control socket. Owns the socket, the connections and who may have one; decides about no
//! request.
//!
//! A client is addressed by its number, never by its place in the list: whatever tells all clients something may remove
//! any of them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Result, bail};
use nix::poll::PollFlags;

use super::protocol::{Answer, ControlRequest};
use crate::peer::{self, PidNamespace};
use crate::poll;
use crate::socket;

/// Somebody who is connected.
#[derive(Debug)]
struct Client {
    /// Names the client for as long as the monitor lives: its place in the list changes.
    id: u64,
    connection: OwnedFd,
    /// Wants to hear of every change.
    watching: bool,
    /// Waits until the container has booted so many times.
    waits_for_boot: Option<u32>,
}

/// Everyone who is connected.
#[derive(Debug)]
pub(super) struct Clients {
    listener: OwnedFd,
    list: Vec<Client>,
    /// The number of the client that connected last.
    last: u64,
}

impl Clients {
    /// Nobody yet; they come to this socket.
    pub(super) fn new(listener: OwnedFd) -> Self {
        Self { listener, list: Vec::new(), last: 0 }
    }

    /// The socket where they connect.
    pub(super) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// The number and the connection of each.
    pub(super) fn connections(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>)> {
        self.list.iter().map(|client| (client.id, client.connection.as_fd()))
    }

    /// Accepts who waits to connect, if anybody does; one of a peer that may not speak to us is closed at once. What
    /// poll(2) said may be out of date. False when nobody waits.
    pub(super) fn accept(&mut self) -> bool {
        if !poll::is_readable(self.listener.as_fd()) {
            return false;
        }
        let Ok(connection) = socket::accept_from(self.listener.as_fd()) else { return false };
        let namespace = PidNamespace::of("self");
        match namespace.and_then(|namespace| peer::check(connection.as_fd(), namespace)) {
            Ok(()) => {
                self.last += 1;
                self.list.push(Client { id: self.last, connection, watching: false, waits_for_boot: None });
            }
            Err(error) => log::warn!("a peer of the control socket was refused: {error:#}"),
        }
        true
    }

    /// The next request of a client, if it has made one; a client that is gone is removed.
    pub(super) fn request(&mut self, id: u64) -> Option<ControlRequest> {
        // What poll(2) said may be out of date: it is gone, or heard already.
        let client = self.get(id).filter(|client| poll::is_readable(client.connection.as_fd()))?;
        match socket::receive::<ControlRequest>(&client.connection) {
            Ok(Some(received)) => Some(received.message),
            _ => {
                self.list.retain(|client| client.id != id);
                None
            }
        }
    }

    fn get(&mut self, id: u64) -> Option<&mut Client> {
        self.list.iter_mut().find(|client| client.id == id)
    }

    /// Tells a client of every change from now on.
    pub(super) fn watch(&mut self, id: u64) {
        if let Some(client) = self.get(id) {
            client.watching = true;
        }
    }

    /// Answers a client later, when the container has booted so many times.
    pub(super) fn wait_for_boot(&mut self, id: u64, boots: u32) {
        if let Some(client) = self.get(id) {
            client.waits_for_boot = Some(boots);
        }
    }

    /// Answers a client; one that does not read is removed.
    pub(super) fn answer(&mut self, id: u64, answer: &Answer, descriptors: &[BorrowedFd<'_>]) {
        let taken = self.get(id).is_none_or(|client| client.send(answer, descriptors).is_ok());
        if !taken {
            self.list.retain(|client| client.id != id);
        }
    }

    /// Tells everyone who watches; who does not read is removed.
    pub(super) fn announce(&mut self, answer: &Answer) {
        self.list.retain(|client| !client.watching || client.send(answer, &[]).is_ok());
    }

    /// Answers those who wait for the boot of this number, or for an earlier one.
    pub(super) fn answer_waiting(&mut self, boots: u32, answer: &Answer) {
        for client in &mut self.list {
            if client.waits_for_boot.is_some_and(|boot| boot <= boots) {
                client.waits_for_boot = None;
                let _ = client.send(answer, &[]);
            }
        }
    }

    /// Whether a client waits for a boot that has not come.
    pub(super) fn is_waited_for(&self) -> bool {
        self.list.iter().any(|client| client.waits_for_boot.is_some())
    }

    /// Gives one answer to everyone, also to who has connected and was not accepted: the start has failed.
    pub(super) fn answer_everyone(&self, answer: &Answer) {
        for client in &self.list {
            let _ = client.send(answer, &[]);
        }
        while poll::is_readable(self.listener.as_fd()) {
            let Ok(connection) = socket::accept_from(self.listener.as_fd()) else { return };
            let _ = socket::send(&connection, answer, &[]);
        }
    }
}

impl Client {
    /// Sends without waiting.
    fn send(&self, answer: &Answer, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        if !poll::is_ready(self.connection.as_fd(), PollFlags::POLLOUT) {
            bail!("the client does not read");
        }
        socket::send(&self.connection, answer, descriptors)
    }
}
