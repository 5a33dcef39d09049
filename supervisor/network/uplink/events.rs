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
        sockets.extend(open(SockProtocol::NetlinkNetFilter, FILTERS).ok());
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
