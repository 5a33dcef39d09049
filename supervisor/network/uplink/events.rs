//! Reports changes of the machine's network: routes, rules, interfaces, addresses, forwarding, packet filters.
//!
//! Owns two sockets, which are open while a container is in a network, and discards their messages. rtnetlink(7).

use std::os::fd::BorrowedFd;

use anyhow::Result;
use nix::sys::socket::SockProtocol;

use crate::netlink::Subscription;
use crate::sys::socket::filter;

/// `RTNLGRP_*` as bits: interfaces; IPv4 addresses; routes and rules of both families; forwarding of both.
const ROUTING: u32 = 1 | 1 << 4 | 1 << 6 | 1 << 10 | 1 << 7 | 1 << 18 | 1 << 23 | 1 << 24;
/// `NFNLGRP_NFTABLES` as a bit.
const FILTERS: u32 = 1 << 6;

/// Both.
#[derive(Debug)]
pub struct Events {
    sources: Vec<Subscription>,
}

impl Events {
    /// Subscribes.
    ///
    /// # Errors
    /// If the kernel has no rtnetlink. If the packet filter does not report changes, they are detected at the next
    /// change of routes.
    pub fn watch() -> Result<Self> {
        let rules = |steps: &[_]| Subscription::new(SockProtocol::NetlinkNetFilter, FILTERS, steps);
        let mut sources = vec![Subscription::new(SockProtocol::NetlinkRoute, ROUTING, &[])?];
        // Without the filter there are more messages, and nothing else is different.
        sources.extend(rules(&one_for_each_change()).or_else(|_| rules(&[])));
        Ok(Self { sources })
    }

    /// Each is readable after a change.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sources.iter().map(Subscription::fd)
    }

    /// Discards the pending messages, because the state is read anew; returns whether there were any.
    #[must_use]
    pub fn drain(&self) -> bool {
        self.sources.iter().filter(|source| source.drain()).count() > 0
    }
}

/// Passes the message that the kernel sends at the end of each change (`NFT_MSG_NEWGEN`), and none for each rule.
fn one_for_each_change() -> [filter::Step; 4] {
    /// The subsystem and the message.
    const NEW_GENERATION: u16 = 10 << 8 | 15;
    // The filter reads big-endian numbers, the kernel writes those of the machine.
    let kind = u32::from(u16::from_be_bytes(NEW_GENERATION.to_ne_bytes()));
    [filter::load_half(4), filter::jump_if_equal(kind, 0, 1), filter::accept(), filter::refuse()]
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
