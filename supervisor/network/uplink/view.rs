//! The kernel's routing rules, routes and interfaces. rtnetlink(7), linux/fib_rules.h.
//!
//! Owns the parser of these messages. Decides nothing, and changes nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use crate::netlink::{Message, Netlink, attribute, attributes, number};
use crate::network::link::Link;

/// `RTM_*`.
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;
const NEW_RULE: u16 = 32;
const GET_RULE: u16 = 34;
/// Length of struct rtmsg and of struct fib_rule_hdr.
const FIXED: usize = 12;
/// `FRA_*`.
pub(super) const RULE_TO: u16 = 1;
pub(super) const RULE_FROM: u16 = 2;
const RULE_IN: u16 = 3;
pub(super) const RULE_PRIORITY: u16 = 6;
const RULE_MARK: u16 = 10;
const RULE_SUPPRESS: u16 = 14;
pub(super) const TABLE: u16 = 15;
const RULE_MASK: u16 = 16;
const RULE_OUT: u16 = 17;
const RULE_USERS: u16 = 20;
const RULE_TRANSPORT: u16 = 22;
const RULE_SOURCE_PORT: u16 = 23;
const RULE_PORT: u16 = 24;
/// `FIB_RULE_INVERT`.
const INVERTED: u32 = 2;
/// `RTA_*`.
pub(super) const ROUTE_TO: u16 = 1;
pub(super) const ROUTE_OUT: u16 = 4;
pub(super) const ROUTE_GATEWAY: u16 = 5;
/// The attributes of a route that are copied: destination, interface, gateway, priority, preferred source, metrics,
/// gateway of another family.
const COPIED: [u16; 7] = [ROUTE_TO, ROUTE_OUT, ROUTE_GATEWAY, 6, 7, 8, 18];
/// `RTN_UNICAST`.
pub(super) const UNICAST: u8 = 1;

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Rule {
    pub(super) priority: u32,
    /// `FR_ACT_*`.
    pub(super) action: u8,
    pub(super) table: u32,
    pub(super) mark: u32,
    pub(super) mask: u32,
    /// The incoming interface of its packets; `lo` is the machine itself.
    pub(super) input: String,
    pub(super) users: Option<(u32, u32)>,
    pub(super) from: Option<(IpAddr, u8)>,
    pub(super) to: Option<(IpAddr, u8)>,
    /// Whether it has other conditions.
    pub(super) special: bool,
}

/// One unicast route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) table: u32,
    pub(super) out: u32,
    pub(super) length: u8,
    /// Its type and scope, and the copied attributes.
    pub(super) kind: u8,
    pub(super) scope: u8,
    pub(super) attributes: Vec<(u16, Vec<u8>)>,
}

/// One family of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Family {
    pub(super) rules: Vec<Rule>,
    pub(super) ways: Vec<Way>,
}

/// The rules, routes and interfaces of both families.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct View {
    pub(super) links: Vec<Link>,
    pub(super) four: Family,
    pub(super) six: Family,
}

impl View {
    /// Reads the current state.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub(super) fn read(route: &Netlink, ipv6: bool) -> Result<Self> {
        let six = if ipv6 { Family::read(route, libc::AF_INET6)? } else { Family::default() };
        Ok(Self { links: route.links()?, four: Family::read(route, libc::AF_INET)?, six })
    }

    pub(super) fn family(&self, ipv4: bool) -> &Family {
        if ipv4 { &self.four } else { &self.six }
    }
}

impl Family {
    fn read(route: &Netlink, family: libc::c_int) -> Result<Self> {
        let mut fixed = [0; FIXED];
        fixed[0] = u8::try_from(family)?;
        // A kernel without rules has only the main table.
        let rules = route.dump(Message::new(GET_RULE, 0, &fixed)).unwrap_or_default();
        let ways = route.dump(Message::new(GET_ROUTE, 0, &fixed))?;
        let of_family = |body: &[u8]| body.first() == fixed.first();
        let rules = rules.iter().filter(|answer| answer.kind == NEW_RULE && of_family(&answer.body));
        let ways = ways.iter().filter(|answer| answer.kind == NEW_ROUTE && of_family(&answer.body));
        Ok(Self {
            rules: rules.filter_map(|answer| rule(&answer.body)).collect(),
            ways: ways.filter_map(|answer| way(&answer.body)).collect(),
        })
    }
}

/// The interface to which the kernel forwards a container's packet; `None` if it refuses the packet.
///
/// # Errors
/// If the kernel does not answer.
pub(super) fn lookup(route: &Netlink, from: Ipv4Addr, to: Ipv4Addr, input: u32) -> Result<Option<u32>> {
    /// `RTA_SRC`, `RTA_IIF`.
    const FROM: u16 = 2;
    const IN: u16 = 3;
    let inet = u8::try_from(libc::AF_INET)?;
    let question = Message::new(GET_ROUTE, 0, &[inet, 32, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        .with(ROUTE_TO, &to.octets())
        .with(FROM, &from.octets())
        .with(IN, &input.to_ne_bytes());
    let answer = route.ask(question);
    let body = answer.map(|answer| answer.body).unwrap_or_default();
    Ok(body.get(FIXED..).and_then(|inside| attribute(inside, ROUTE_OUT)).map(|value| number(value, 0)))
}

fn address(value: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(value).ok().map(|octets| Ipv6Addr::from(octets).into())
}

fn rule(body: &[u8]) -> Option<Rule> {
    let inside = body.get(FIXED..)?;
    let of = |kind| attribute(inside, kind);
    let word = |kind| of(kind).map_or(0, |value| number(value, 0));
    let text = |kind| {
        let value = of(kind).unwrap_or_default();
        String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
    };
    let range = |kind, length: u8| Some((address(of(kind)?)?, length));
    let others = [RULE_TRANSPORT, RULE_SOURCE_PORT, RULE_PORT];
    // All ones mean no suppressed length.
    let suppresses = of(RULE_SUPPRESS).is_some_and(|value| number(value, 0) != u32::MAX);
    let inverted = number(body, 8) & INVERTED != 0;
    Some(Rule {
        priority: word(RULE_PRIORITY),
        action: *body.get(7)?,
        table: of(TABLE).map_or(u32::from(*body.get(4)?), |value| number(value, 0)),
        mark: word(RULE_MARK),
        mask: word(RULE_MASK),
        input: text(RULE_IN),
        users: of(RULE_USERS).map(|value| (number(value, 0), number(value, 4))),
        from: range(RULE_FROM, *body.get(2)?),
        to: range(RULE_TO, *body.get(1)?),
        special: inverted
            || suppresses
            || of(RULE_OUT).is_some()
            || others.iter().any(|kind| of(*kind).is_some()),
    })
}

fn way(body: &[u8]) -> Option<Way> {
    let inside = body.get(FIXED..)?;
    let kind = *body.get(7)?;
    let out = attribute(inside, ROUTE_OUT).map(|value| number(value, 0))?;
    (kind == UNICAST).then_some(())?;
    let copied = attributes(inside).filter(|(kind, _)| COPIED.contains(kind));
    let mut copied: Vec<_> = copied.map(|(kind, value)| (kind, value.to_vec())).collect();
    copied.sort();
    Some(Way {
        table: attribute(inside, TABLE).map_or(u32::from(*body.get(4)?), |value| number(value, 0)),
        out,
        length: *body.get(1)?,
        kind,
        scope: *body.get(6)?,
        attributes: copied,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_kernel_answers() {
        let view = View::read(&Netlink::route().unwrap(), true).unwrap();
        assert!(view.links.iter().any(|link| link.name == "lo"));
        assert!(
            view.four.rules.iter().any(|rule| rule.priority == 0 && rule.table == 255),
            "{:?}",
            view.four.rules
        );
    }

    proptest! {
        #[test]
        fn any_answer_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = (rule(&bytes), way(&bytes));
        }
    }
}
