//! The rules as tables of nf_tables, which are sent through nfnetlink without another program.
//!
//! Owns two tables of ds, one for each family, and the encoding (linux/netfilter/nf_tables.h). Each change is one
//! transaction ([`super::replace`]), so that no rule is ever missing. Tables of other programs are not changed.

use std::net::IpAddr;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::rules::{Chain, Match, Rule, Verdict};
use crate::config::value::Protocol;
use crate::netlink::{APPEND, CREATE, Message, Netlink, attribute};
use crate::network::identity::OWN;

/// `NFNL_SUBSYS_NFTABLES`.
pub(super) const SUBSYSTEM: u16 = 10;
/// `NFT_MSG_*`.
pub(super) const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const GET_CHAIN: u16 = 4;
const DELETE_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const DELETE_RULE: u16 = 8;
/// The tables of iptables with rules of ds.
const IPTABLES: [&str; 3] = ["filter", "mangle", "nat"];
/// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
pub(super) const FAMILIES: [(bool, u8); 2] = [(true, 2), (false, 10)];
/// `NFTA_DATA_VALUE`, `NFTA_DATA_VERDICT`, `NFTA_VERDICT_CODE`.
const VALUE: u16 = 1;
const VERDICT: u16 = 2;
const CODE: u16 = 1;
/// `NFTA_LIST_ELEM`, `NFTA_EXPR_NAME`, `NFTA_EXPR_DATA`.
const ELEMENT: u16 = 1;
const NAME: u16 = 1;
const DATA: u16 = 2;
/// `NFT_META_*`.
const IN_NAME: u32 = 6;
const OUT_NAME: u32 = 7;
const TRANSPORT: u32 = 16;
/// `NFT_CMP_*`.
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;
/// `NFT_PAYLOAD_*`: where a header begins.
const LINK_HEADER: u32 = 0;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
/// `NFT_CT_STATE`, `NFT_CT_STATUS`; established and related; `IPS_DST_NAT`.
const STATE: u32 = 0;
const STATUS: u32 = 2;
const ANSWERS: u32 = 2 | 4;
const REDIRECTED: u32 = 1 << 5;
/// `RTN_LOCAL`.
const LOCAL: u32 = 2;
/// `IFNAMSIZ`.
const NAME_SIZE: usize = 16;

/// A table of iptables-nft, or a chain of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltIn {
    family: u8,
    table: String,
    chain: Option<String>,
    in_use: bool,
}

/// A chain for the kernel: its type, its hook, its priority there, and its name in ds.
pub(super) fn place(chain: Chain) -> (&'static str, u32, i32, &'static str) {
    match chain {
        Chain::Sources => ("filter", 0, -150, "sources"),
        Chain::Input => ("filter", 1, 0, "input"),
        Chain::Forward => ("filter", 2, 0, "forward"),
        Chain::Clamp => ("filter", 2, -150, "clamp"),
        Chain::Publish => ("nat", 0, -100, "publish"),
        Chain::PublishLocally => ("nat", 3, -100, "publish-locally"),
        Chain::Translate => ("nat", 4, 100, "translate"),
    }
}

pub(super) fn message(kind: u16, flags: u16, family: u8) -> Message {
    // struct nfgenmsg
    Message::new(SUBSYSTEM << 8 | kind, flags, &[family, 0, 0, 0])
}

/// The existing tables with their families; an error if the kernel has no nf_tables.
///
/// # Errors
/// The error of the kernel.
pub fn tables() -> Result<Vec<(u8, String)>> {
    let answers = Netlink::netfilter()?.dump(message(GET_TABLE, 0, 0))?;
    let name = |body: &[u8]| {
        let value = attribute(body.get(4..)?, 1)?;
        Some((*body.first()?, String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()))
    };
    Ok(answers.iter().filter_map(|answer| name(&answer.body)).collect())
}

/// The tables and built-in chains that iptables-nft creates and never removes, as far as they exist.
///
/// # Errors
/// The error of the kernel.
pub fn built_in() -> Result<Vec<BuiltIn>> {
    let netfilter = Netlink::netfilter()?;
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
    let read = |body: &[u8], chain: bool| {
        let (family, attributes) = (*body.first()?, body.get(4..)?);
        let of = |kind| attribute(attributes, kind);
        let number = |value: &[u8]| value.try_into().map_or(0, u32::from_be_bytes);
        Some(BuiltIn {
            family,
            table: text(of(1)?),
            chain: if chain { Some(text(of(3)?)) } else { None },
            // A chain with the policy drop was configured deliberately.
            in_use: of(if chain { 6 } else { 3 }).map_or(0, number) > 0
                || chain && of(5).map_or(1, number) != 1,
        })
    };
    let mut found = Vec::new();
    for (kind, chain) in [(GET_CHAIN, true), (GET_TABLE, false)] {
        let answers = netfilter.dump(message(kind, 0, 0))?;
        found.extend(answers.iter().filter_map(|answer| read(&answer.body, chain)));
    }
    let families = FAMILIES.map(|(_, family)| family);
    found.retain(|one| families.contains(&one.family) && IPTABLES.contains(&one.table.as_str()));
    Ok(found)
}

/// Removes built-in chains and tables that are empty and did not exist `before`.
///
/// # Errors
/// The error of the kernel.
pub fn remove_built_in(before: &[BuiltIn]) -> Result<()> {
    let was_there = |one: &BuiltIn| {
        before
            .iter()
            .any(|other| (other.family, &other.table, &other.chain) == (one.family, &one.table, &one.chain))
    };
    // Chains first: a table without them is empty.
    for chains in [true, false] {
        let all = built_in()?.into_iter().filter(|one| one.chain.is_some() == chains);
        let batch: Vec<_> = all
            .filter(|one| !one.in_use && !was_there(one))
            .map(|one| match one.chain {
                Some(chain) => {
                    message(DELETE_CHAIN, 0, one.family).with_text(1, &one.table).with_text(3, &chain)
                }
                None => message(DELETE_TABLE, 0, one.family).with_text(1, &one.table),
            })
            .collect();
        if !batch.is_empty() {
            Netlink::netfilter()?.transaction(SUBSYSTEM, batch, None)?;
        }
    }
    Ok(())
}

/// Removes the rules of ds.
///
/// # Errors
/// The error of the kernel.
pub fn remove(table: &str) -> Result<()> {
    let existing = tables()?;
    let ours = |family: u8| existing.iter().any(|(other, name)| (*other, name.as_str()) == (family, table));
    let batch = removal(table, ours);
    if batch.is_empty() { Ok(()) } else { Netlink::netfilter()?.transaction(SUBSYSTEM, batch, None) }
}

/// Deletes tables that may not exist: they are created first.
pub(super) fn removal(table: &str, wanted: impl Fn(u8) -> bool) -> Vec<Message> {
    let families = FAMILIES.iter().map(|(_, family)| *family).filter(|family| wanted(*family));
    let both = |family| {
        [(NEW_TABLE, CREATE), (DELETE_TABLE, 0)]
            .map(|(kind, flags)| message(kind, flags, family).with_text(1, table))
    };
    families.flat_map(both).collect()
}

pub(super) fn new_chain(table: &str, family: u8, chain: Chain) -> Message {
    let (kind, hook, priority, name) = place(chain);
    message(NEW_CHAIN, CREATE, family)
        .with_text(1, table)
        .with_text(3, name)
        .with_nested(4, |inside| inside.with(1, &hook.to_be_bytes()).with(2, &priority.to_be_bytes()))
        .with_text(7, kind)
}

/// Removes the rules of a chain.
pub(super) fn flush_chain(table: &str, family: u8, chain: Chain) -> Message {
    message(DELETE_RULE, 0, family).with_text(1, table).with_text(2, place(chain).3)
}

/// Removes a chain without rules.
pub(super) fn delete_chain(table: &str, family: u8, chain: Chain) -> Message {
    message(DELETE_CHAIN, 0, family).with_text(1, table).with_text(3, place(chain).3)
}

pub(super) fn new_rule(table: &str, family: u8, rule: &Rule) -> Message {
    let (_, _, _, chain) = place(rule.chain);
    message(NEW_RULE, CREATE | APPEND, family).with_text(1, table).with_text(2, chain).with_nested(
        4,
        |list| {
            let list = rule.matches.iter().fold(list, |list, matched| condition(list, matched, rule.ipv4));
            verdict(list, &rule.verdict, family)
        },
    )
}

fn expression(list: Message, name: &str, inside: impl FnOnce(Message) -> Message) -> Message {
    list.with_nested(ELEMENT, |element| element.with_text(NAME, name).with_nested(DATA, inside))
}

/// Loads something into register 1: `attributes` beside the register itself.
fn load(list: Message, name: &str, attributes: &[(u16, u32)]) -> Message {
    expression(list, name, |data| {
        let data = data.with(1, &1_u32.to_be_bytes());
        attributes.iter().fold(data, |data, (kind, value)| data.with(*kind, &value.to_be_bytes()))
    })
}

fn payload(list: Message, header: u32, offset: u32, length: u32) -> Message {
    load(list, "payload", &[(2, header), (3, offset), (4, length)])
}

fn compare(list: Message, operator: u32, value: &[u8]) -> Message {
    expression(list, "cmp", |data| {
        data.with(1, &1_u32.to_be_bytes())
            .with(2, &operator.to_be_bytes())
            .with_nested(3, |inside| inside.with(VALUE, value))
    })
}

/// Keeps these bits of register 1.
fn mask(list: Message, bits: &[u8]) -> Message {
    let length = u32::try_from(bits.len()).unwrap_or_default();
    expression(list, "bitwise", |data| {
        data.with(1, &1_u32.to_be_bytes())
            .with(2, &1_u32.to_be_bytes())
            .with(3, &length.to_be_bytes())
            .with_nested(4, |inside| inside.with(VALUE, bits))
            .with_nested(5, |inside| inside.with(VALUE, &vec![0; bits.len()]))
    })
}

fn interface(list: Message, key: u32, name: &str, equal: bool) -> Message {
    let mut padded = name.as_bytes().to_vec();
    padded.resize(NAME_SIZE, 0);
    compare(load(list, "meta", &[(2, key)]), if equal { EQUAL } else { NOT_EQUAL }, &padded)
}

fn addresses(list: Message, address: IpAddr, length: u8, destination: bool) -> Message {
    let (bytes, at) = match address {
        IpAddr::V4(address) => (address.octets().to_vec(), if destination { 16 } else { 12 }),
        IpAddr::V6(address) => (address.octets().to_vec(), if destination { 24 } else { 8 }),
    };
    let size = u32::try_from(bytes.len()).unwrap_or_default();
    let bits: Vec<u8> = (0..bytes.len())
        .map(|index| {
            let left = usize::from(length).saturating_sub(index * 8).min(8);
            u8::try_from(0xff00_u32 >> left & 0xff).unwrap_or_default()
        })
        .collect();
    let masked: Vec<u8> = bytes.iter().zip(&bits).map(|(byte, bit)| byte & bit).collect();
    let list = payload(list, NETWORK_HEADER, at, size);
    let list = if bits.iter().all(|byte| *byte == 0xff) { list } else { mask(list, &bits) };
    compare(list, EQUAL, &masked)
}

fn transport(list: Message, number: u8) -> Message {
    compare(load(list, "meta", &[(2, TRANSPORT)]), EQUAL, &[number])
}

fn ports(list: Message, protocol: Protocol, first: u16, last: u16) -> Message {
    let number = if protocol == Protocol::Tcp { libc::IPPROTO_TCP } else { libc::IPPROTO_UDP };
    let list = transport(list, u8::try_from(number).unwrap_or_default());
    let list = payload(list, TRANSPORT_HEADER, 2, 2);
    if first == last {
        return compare(list, EQUAL, &first.to_be_bytes());
    }
    compare(compare(list, AT_LEAST, &first.to_be_bytes()), AT_MOST, &last.to_be_bytes())
}

fn condition(list: Message, matched: &Match, ipv4: bool) -> Message {
    match matched {
        Match::In(name, equal) => interface(list, IN_NAME, name, *equal),
        Match::Out(name, equal) => interface(list, OUT_NAME, name, *equal),
        Match::InOwn => compare(load(list, "meta", &[(2, IN_NAME)]), EQUAL, OWN.as_bytes()),
        Match::OutOwn => compare(load(list, "meta", &[(2, OUT_NAME)]), EQUAL, OWN.as_bytes()),
        Match::OutLike(pattern) => match pattern.start() {
            (name, true) => interface(list, OUT_NAME, name, true),
            ("", false) => list,
            (start, false) => compare(load(list, "meta", &[(2, OUT_NAME)]), EQUAL, start.as_bytes()),
        },
        Match::From(address, length) => addresses(list, *address, *length, false),
        Match::To(address, length) => addresses(list, *address, *length, true),
        // fib: the type of the destination's address.
        Match::ToHost => compare(load(list, "fib", &[(2, 3), (3, 2)]), EQUAL, &LOCAL.to_ne_bytes()),
        Match::Sender(mac) => compare(payload(list, LINK_HEADER, 6, 6), EQUAL, mac),
        Match::Ports(protocol, range) => ports(list, *protocol, range.first(), range.last()),
        Match::Port(protocol, port) => ports(list, *protocol, *port, *port),
        Match::Icmp => {
            let number = if ipv4 { libc::IPPROTO_ICMP } else { libc::IPPROTO_ICMPV6 };
            transport(list, u8::try_from(number).unwrap_or_default())
        }
        Match::Answer => tracked(list, STATE, ANSWERS),
        Match::Published => tracked(list, STATUS, REDIRECTED),
    }
}

/// One of these bits is set in the state of the connection.
fn tracked(list: Message, key: u32, bits: u32) -> Message {
    let list = mask(load(list, "ct", &[(2, key)]), &bits.to_ne_bytes());
    compare(list, NOT_EQUAL, &0_u32.to_ne_bytes())
}

fn verdict(list: Message, verdict: &Verdict, family: u8) -> Message {
    match verdict {
        Verdict::Accept => ends(list, 1),
        Verdict::Drop => ends(list, 0),
        Verdict::Return => ends(list, -5),
        Verdict::Masquerade => expression(list, "masq", |data| data),
        Verdict::Redirect(address, port) => redirect(list, *address, *port, family),
        Verdict::Clamp => clamp(list),
    }
}

fn ends(list: Message, code: i32) -> Message {
    expression(list, "immediate", |data| {
        data.with(1, &0_u32.to_be_bytes()).with_nested(2, |data| {
            data.with_nested(VERDICT, |verdict| verdict.with(CODE, &code.to_be_bytes()))
        })
    })
}

/// Puts a constant into a register.
fn constant(list: Message, register: u32, value: &[u8]) -> Message {
    expression(list, "immediate", |data| {
        data.with(1, &register.to_be_bytes()).with_nested(2, |inside| inside.with(VALUE, value))
    })
}

fn redirect(list: Message, address: IpAddr, port: Option<u16>, family: u8) -> Message {
    let list = match address {
        IpAddr::V4(address) => constant(list, 1, &address.octets()),
        IpAddr::V6(address) => constant(list, 1, &address.octets()),
    };
    let list = match port {
        Some(port) => constant(list, 2, &port.to_be_bytes()),
        None => list,
    };
    expression(list, "nat", |data| {
        let data = data
            .with(1, &1_u32.to_be_bytes())
            .with(2, &u32::from(family).to_be_bytes())
            .with(3, &1_u32.to_be_bytes());
        if port.is_some() { data.with(5, &2_u32.to_be_bytes()) } else { data }
    })
}

/// `tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu`
fn clamp(list: Message) -> Message {
    let list = transport(list, u8::try_from(libc::IPPROTO_TCP).unwrap_or_default());
    let list = mask(payload(list, TRANSPORT_HEADER, 13, 1), &[6]);
    let list = compare(list, EQUAL, &[2]);
    let list = load(list, "rt", &[(2, 3)]);
    let one = 1_u32.to_be_bytes();
    let list = expression(list, "byteorder", |data| {
        data.with(1, &one)
            .with(2, &one)
            .with(3, &one)
            .with(4, &2_u32.to_be_bytes())
            .with(5, &2_u32.to_be_bytes())
    });
    expression(list, "exthdr", |data| {
        data.with(2, &[2])
            .with(3, &2_u32.to_be_bytes())
            .with(4, &2_u32.to_be_bytes())
            .with(6, &one)
            .with(7, &one)
    })
}
