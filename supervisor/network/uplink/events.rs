//! Reports changes of the machine's network: routes, rules, interfaces, addresses, forwarding, packet filters.
//!
//! Owns two sockets, which are open while a container is in a network, and discards their messages. rtnetlink(7).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use crate::call;
use crate::sys::packet::{self, Instruction};

/// `RTNLGRP_*` as bits: interfaces; IPv4 addresses; routes and rules of both families; forwarding of both.
const ROUTING: u32 = 1 | 1 << 4 | 1 << 6 | 1 << 10 | 1 << 7 | 1 << 18 | 1 << 23 | 1 << 24;
/// `NFNLGRP_NFTABLES` as a bit.
const FILTERS: u32 = 1 << 6;

/// Both.
#[derive(Debug)]
pub struct Events {
    sockets: Vec<OwnedFd>,
}

impl Events {
    /// Subscribes.
    ///
    /// # Errors
    /// If the kernel has no rtnetlink. If the packet filter does not report changes, they are detected at the next
    /// change of routes.
    pub fn watch() -> Result<Self> {
        let mut sockets = vec![open(SockProtocol::NetlinkRoute, ROUTING)?];
        if let Ok(socket) = open(SockProtocol::NetlinkNetFilter, FILTERS) {
            // Without the filter there are more messages, and nothing else is different.
            let _ = packet::attach(&socket, &one_for_each_change());
            sockets.push(socket);
        }
        Ok(Self { sockets })
    }

    /// Each is readable after a change.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(AsFd::as_fd)
    }

    /// Discards the pending messages, because the state is read anew; returns whether there were any.
    #[must_use]
    pub fn drain(&self) -> bool {
        let (mut buffer, mut some) = ([0; 4096], false);
        for socket in &self.sockets {
            loop {
                match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                    // An overflow is also a change.
                    Ok(_) | Err(Errno::ENOBUFS) => some = true,
                    Err(Errno::EINTR) => {}
                    Err(_) => break,
                }
            }
        }
        some
    }
}

/// Passes the message that the kernel sends at the end of each change (`NFT_MSG_NEWGEN`), and none for each rule.
fn one_for_each_change() -> [Instruction; 4] {
    /// The subsystem and the message.
    const NEW_GENERATION: u16 = 10 << 8 | 15;
    // The filter reads big-endian numbers, the kernel writes those of the machine.
    let kind = u32::from(u16::from_be_bytes(NEW_GENERATION.to_ne_bytes()));
    [(0x28, 0, 0, 4), (0x15, 0, 1, kind), (0x06, 0, 0, u32::MAX), (0x06, 0, 0, 0)]
}

fn open(protocol: SockProtocol, groups: u32) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = call!(socket(AddressFamily::Netlink, SockType::Raw, flags, protocol), "socket(netlink)")?;
    call!(bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups)), "bind(netlink)")?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_the_subscription() {
        let events = Events::watch().unwrap();
        let _ = events.drain();
        assert!(events.fds().count() >= 1);
    }
}
