//! Applies a decision to routing rules and tables, and removes connections that used another uplink.
//!
//! Owns the rules with the priorities of ds and the addresses of its networks, and the tables with its numbers. Changes
//! no other rule, route or connection.

use std::net::IpAddr;

use anyhow::{Context, Result};
use nix::errno::Errno;

use super::decide::{Decision, MAIN, Wanted, is_copied, is_priority};
use super::view::{ROUTE_GATEWAY, RULE_FROM, RULE_PRIORITY, RULE_TO, Rule, TABLE, View, Way};
use crate::netlink::{APPEND, CREATE, EXCLUSIVE, Message, Netlink};
use crate::network::link::step;

/// `RTM_*`.
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const NEW_RULE: u16 = 32;
const DELETE_RULE: u16 = 33;
/// `FR_ACT_TO_TBL`, `FR_ACT_UNREACHABLE`.
const TO_TABLE: u8 = 1;
const UNREACHABLE: u8 = 7;
/// `RTPROT_STATIC`, `RTNH_F_ONLINK`.
const BY_ADMINISTRATOR: u8 = 4;
const ON_LINK: u32 = 4;

/// Applies the decision. `ours` are the networks of ds.
///
/// # Errors
/// The error of the kernel.
pub(super) fn apply(
    route: &Netlink,
    view: &View,
    decision: &Decision,
    ours: &[(IpAddr, u8)],
    own: u32,
) -> Result<()> {
    tables(route, view, decision, own)?;
    for ipv4 in [true, false] {
        let is_family = |wanted: &&Wanted| wanted.is_ipv4() == ipv4;
        let there: Vec<Wanted> =
            view.family(ipv4).rules.iter().filter_map(|rule| of_ours(rule, ours)).collect();
        // Rules that refuse packets are added first and removed last.
        let mut missing: Vec<&Wanted> =
            decision.rules.iter().filter(is_family).filter(|wanted| !there.contains(wanted)).collect();
        missing.sort_by_key(|wanted| wanted.table.is_some());
        for wanted in missing {
            match route.request(wanted.message(NEW_RULE, CREATE | EXCLUSIVE)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(Errno::EOPNOTSUPP) => {
                    anyhow::bail!(
                        "kernel has no CONFIG_IP_MULTIPLE_TABLES, which network.uplink needs; use auto"
                    )
                }
                other => step(other, "add a routing rule for a container")?,
            }
        }
        let mut surplus: Vec<&Wanted> =
            there.iter().filter(|there| !decision.rules.contains(there)).collect();
        surplus.sort_by_key(|wanted| wanted.table.is_none());
        for wanted in surplus {
            match route.request(wanted.message(DELETE_RULE, 0)) {
                Ok(()) | Err(Errno::ENOENT) => {}
                other => step(other, "remove a routing rule of a container")?,
            }
        }
    }
    Ok(())
}

/// The rule as a [`Wanted`], if it belongs to ds.
fn of_ours(rule: &Rule, ours: &[(IpAddr, u8)]) -> Option<Wanted> {
    let (address, _) = rule.from.or(rule.to)?;
    let is_ours = ours.iter().any(|network| contains(*network, address));
    let plain = rule.mask == 0 && rule.input.is_empty() && rule.users.is_none() && !rule.special;
    (is_priority(rule.priority) && is_ours && plain).then(|| Wanted {
        priority: rule.priority,
        from: rule.from,
        to: rule.to,
        table: (rule.action == TO_TABLE).then_some(rule.table),
    })
}

fn contains((network, length): (IpAddr, u8), address: IpAddr) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    };
    let shift = 128 - u32::from(length);
    let cut = |address| bits(address).checked_shr(shift).unwrap_or(0);
    network.is_ipv4() == address.is_ipv4() && cut(network) == cut(address)
}

impl Wanted {
    fn is_ipv4(&self) -> bool {
        self.from.or(self.to).is_none_or(|(address, _)| address.is_ipv4())
    }

    /// struct fib_rule_hdr and its attributes.
    fn message(&self, kind: u16, flags: u16) -> Message {
        let family = if self.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let length = |range: Option<(IpAddr, u8)>| range.map_or(0, |(_, length)| length);
        let action = if self.table.is_some() { TO_TABLE } else { UNREACHABLE };
        let family = u8::try_from(family).unwrap_or_default();
        let fixed = [family, length(self.to), length(self.from), 0, 0, 0, 0, action, 0, 0, 0, 0];
        let mut message = Message::new(kind, flags, &fixed).with(RULE_PRIORITY, &self.priority.to_ne_bytes());
        for (attribute, range) in [(RULE_TO, self.to), (RULE_FROM, self.from)] {
            if let Some((address, _)) = range {
                message = message.with(attribute, &octets(address));
            }
        }
        match self.table {
            Some(table) => message.with(TABLE, &table.to_ne_bytes()),
            None => message,
        }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Copies routes into the tables of ds.
fn tables(route: &Netlink, view: &View, decision: &Decision, own: u32) -> Result<()> {
    for ipv4 in [true, false] {
        let ways = &view.family(ipv4).ways;
        let there: Vec<&Way> = ways.iter().filter(|way| way.table >> 16 == own >> 16).collect();
        let mut wanted: Vec<Way> = Vec::new();
        for ((_, table), copies) in decision.tables.iter().filter(|((four, _), _)| *four == ipv4) {
            let copied = ways.iter().filter(|way| is_copied(way, *copies, &view.links, own));
            let mut copied: Vec<Way> = copied.map(|way| Way { table: *table, ..way.clone() }).collect();
            // Routes to neighbours before the routes that use them.
            copied.sort_by_key(|way| way.attributes.iter().any(|(kind, _)| *kind == ROUTE_GATEWAY));
            wanted.extend(copied);
        }
        for way in wanted.iter().filter(|way| !there.contains(way)) {
            match route.request(message(way, ipv4, NEW_ROUTE, CREATE | APPEND)) {
                // Equal routes of two tables become one; an interface may have disappeared in the meantime.
                Ok(()) | Err(Errno::EEXIST | Errno::ENODEV | Errno::ENETDOWN) => {}
                other => step(other, "copy a route for a container").context("network.uplink")?,
            }
        }
        for way in there.into_iter().filter(|way| !wanted.contains(way)) {
            let _ = route.request(message(way, ipv4, DELETE_ROUTE, 0));
        }
    }
    Ok(())
}

/// struct rtmsg and its attributes.
fn message(way: &Way, ipv4: bool, kind: u16, flags: u16) -> Message {
    let family = u8::try_from(if ipv4 { libc::AF_INET } else { libc::AF_INET6 }).unwrap_or_default();
    let gateway = way.attributes.iter().any(|(kind, _)| *kind == ROUTE_GATEWAY);
    let on_link = if gateway && kind == NEW_ROUTE { ON_LINK } else { 0 };
    let main = u8::try_from(MAIN).unwrap_or_default();
    let fixed = [family, way.length, 0, 0, main, BY_ADMINISTRATOR, way.scope, way.kind];
    let start = Message::new(kind, flags, &[&fixed[..], &on_link.to_ne_bytes()].concat());
    let start = start.with(TABLE, &way.table.to_ne_bytes());
    way.attributes.iter().fold(start, |message, (kind, value)| message.with(*kind, value))
}

/// Whether a rule of ds is left after the last container has ended.
pub(super) fn is_nothing(view: &View, ours: &[(IpAddr, u8)], own: u32) -> bool {
    [true, false].iter().all(|ipv4| {
        let family = view.family(*ipv4);
        family.rules.iter().all(|rule| of_ours(rule, ours).is_none())
            && family.ways.iter().all(|way| way.table >> 16 != own >> 16)
    })
}
