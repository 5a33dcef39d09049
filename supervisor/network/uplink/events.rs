//! Reports changes of the machine's network: routes, rules, interfaces, addresses, forwarding, packet filters.
//!
//! Owns two sockets, which are open while a container is in a network. Ignores what ds changes itself: its interfaces,
//! rules, tables and chains. Only the names of interfaces are kept, because the state is read anew. rtnetlink(7).

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;

use anyhow::Result;
use nix::sys::socket::SockProtocol;

use super::decide::{is_priority, own_tables};
use super::view::{ROUTE_OUT, RULE_PRIORITY, TABLE, UNICAST};
use crate::netlink::{Subscription, attribute, number};
use crate::network::identity::OWN;
use crate::paths::Paths;
use crate::sys::socket::filter;

/// `RTNLGRP_*` as bits: interfaces; IPv4 addresses; routes and rules of both families; forwarding of both.
const ROUTING: u32 = 1 | 1 << 4 | 1 << 6 | 1 << 10 | 1 << 7 | 1 << 18 | 1 << 23 | 1 << 24;
/// `NFNLGRP_NFTABLES` as a bit.
const FILTERS: u32 = 1 << 6;
/// The subsystem of nf_tables, and `NFT_MSG_NEWGEN`.
const NEW_GENERATION: u16 = 10 << 8 | 15;
/// How the names of the processes of ds begin that change packet filters.
const PROCESS: &[u8] = b"ds:";

/// Both.
#[derive(Debug)]
pub struct Events {
    sources: Vec<Subscription>,
    known: Known,
}

/// What the messages of ds itself are recognised by.
#[derive(Debug)]
struct Known {
    /// The numbers of its interfaces, as far as their creation was reported.
    interfaces: BTreeSet<u32>,
    /// The number of its first table.
    tables: u32,
}

impl Events {
    /// Subscribes.
    ///
    /// # Errors
    /// If the kernel has no rtnetlink. If the packet filter does not report changes, they are detected at the next
    /// change of routes.
    pub fn watch(paths: &Paths) -> Result<Self> {
        let rules = |steps: &[_]| Subscription::new(SockProtocol::NetlinkNetFilter, FILTERS, steps);
        let mut sources = vec![Subscription::new(SockProtocol::NetlinkRoute, ROUTING, &[])?];
        // Without the filter there are more messages, and nothing else is different.
        sources.extend(rules(&one_for_each_change()).or_else(|_| rules(&[])));
        Ok(Self { sources, known: Known { interfaces: BTreeSet::new(), tables: own_tables(paths) } })
    }

    /// Each is readable after a change.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sources.iter().map(Subscription::fd)
    }

    /// Takes the pending messages; returns whether another program or the kernel has changed something.
    #[must_use]
    pub fn drain(&mut self) -> bool {
        let (known, mut foreign) = (&mut self.known, false);
        for source in &self.sources {
            source.take(|message| foreign |= message.is_none_or(|(kind, body)| known.is_foreign(kind, body)));
        }
        foreign
    }
}

impl Known {
    /// Whether a message reports a change that ds has not made, and that concerns it.
    fn is_foreign(&mut self, kind: u16, body: &[u8]) -> bool {
        let of = |fixed: usize, wanted| body.get(fixed..).and_then(|inside| attribute(inside, wanted));
        let word = |fixed, wanted| of(fixed, wanted).map(|value| number(value, 0));
        let is_own = |index: Option<u32>| index.is_some_and(|index| self.interfaces.contains(&index));
        match kind {
            // RTM_NEWLINK, RTM_DELLINK; IFLA_IFNAME.
            16 | 17 => {
                let ours = of(16, 3).is_some_and(|name| name.starts_with(OWN.as_bytes()));
                // A message about a port of a bridge has a family.
                if kind == 16 && ours {
                    self.interfaces.insert(number(body, 4));
                } else if body.first() == Some(&0) {
                    self.interfaces.remove(&number(body, 4));
                }
                !ours
            }
            // RTM_NEWADDR, RTM_DELADDR.
            20 | 21 => !is_own(Some(number(body, 4))),
            // RTM_NEWROUTE, RTM_DELROUTE. Other routes than unicast have no effect on containers.
            24 | 25 => {
                let in_own_table = word(12, TABLE).is_some_and(|table| table >> 16 == self.tables >> 16);
                body.get(7) == Some(&UNICAST) && !is_own(word(12, ROUTE_OUT)) && !(kind == 24 && in_own_table)
            }
            // RTM_NEWRULE: a rule with an address and a priority of ds. Its removal is to be undone.
            32 => {
                let lengths = body.get(1..3).unwrap_or_default();
                lengths == [0, 0] || !word(12, RULE_PRIORITY).is_some_and(is_priority)
            }
            // RTM_NEWNETCONF; NETCONFA_IFINDEX, NETCONFA_FORWARDING. Only its end matters.
            80 => word(4, 2) == Some(0) && !is_own(word(4, 1)),
            // RTM_DELNETCONF: with its interface.
            81 => false,
            // NFTA_GEN_PROC_NAME, since Linux 4.11.
            NEW_GENERATION => !of(4, 3).is_some_and(|name| name.starts_with(PROCESS)),
            _ => true,
        }
    }
}

/// Passes the message that the kernel sends at the end of each change (`NFT_MSG_NEWGEN`), and none for each rule.
fn one_for_each_change() -> [filter::Step; 4] {
    // The filter reads big-endian numbers, the kernel writes those of the machine.
    let kind = u32::from(u16::from_be_bytes(NEW_GENERATION.to_ne_bytes()));
    [filter::load_half(4), filter::jump_if_equal(kind, 0, 1), filter::accept(), filter::refuse()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Message;

    #[test]
    fn the_kernel_takes_the_subscription() {
        let mut events = Events::watch(&Paths::below("/nonexistent".as_ref())).unwrap();
        let _ = events.drain();
        assert!(events.fds().count() >= 1);
    }

    #[test]
    fn only_changes_of_others_are_reported() {
        let mut known = Known { interfaces: BTreeSet::new(), tables: 0x6401_0000 };
        let mut foreign = |message: Message| {
            let bytes = message.bytes();
            known.is_foreign(u16::from_ne_bytes([bytes[4], bytes[5]]), &bytes[16..])
        };
        let link = |kind, index: u32, name: &str| {
            let fixed = [&[0; 4][..], &index.to_ne_bytes(), &[0; 8]].concat();
            Message::new(kind, 0, &fixed).with_text(3, name)
        };
        let address = |index: u32| Message::new(20, 0, &[&[2, 24, 0, 0][..], &index.to_ne_bytes()].concat());
        let route = |kind, table: u32, out: u32| {
            let route = Message::new(kind, 0, &[2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
            route.with(TABLE, &table.to_ne_bytes()).with(ROUTE_OUT, &out.to_ne_bytes())
        };
        assert!(foreign(address(7)) && foreign(route(24, 254, 7)) && foreign(link(16, 6, "wlan0")));
        assert!(!foreign(link(16, 7, "ds-br0")));
        assert!(!foreign(address(7)) && !foreign(route(24, 254, 7)) && !foreign(route(25, 254, 7)));
        assert!(foreign(address(6)) && foreign(route(24, 254, 6)));
        assert!(!foreign(route(24, 0x6401_0006, 6)) && foreign(route(25, 0x6401_0006, 6)));
        assert!(!foreign(link(17, 7, "ds-br0")) && foreign(address(7)), "the number may be used again");
        let rule = |kind, length: u8, priority: u32| {
            let rule = Message::new(kind, 0, &[2, 0, length, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
            rule.with(RULE_PRIORITY, &priority.to_ne_bytes())
        };
        assert!(!foreign(rule(32, 32, 4010)) && foreign(rule(33, 32, 4010)) && foreign(rule(32, 0, 4010)));
        assert!(foreign(rule(32, 0, 31_000)));
        let forwarding = |on: u32| {
            let message = Message::new(80, 0, &[2, 0, 0, 0]).with(1, &u32::MAX.to_ne_bytes());
            message.with(2, &on.to_ne_bytes())
        };
        assert!(!foreign(forwarding(1)) && foreign(forwarding(0)));
        let filters = |name: &str| Message::new(NEW_GENERATION, 0, &[0; 4]).with_text(3, name);
        assert!(!foreign(filters("ds:web")) && foreign(filters("nft")));
    }
}
