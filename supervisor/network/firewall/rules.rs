//! The rules for networks of ds, independent of iptables and nf_tables.
//!
//! Owns the decision: [`rules`] derives all rules from the list of members, deterministically. Changes nothing.
//!
//! Packets of a container pass only with its own addresses. They reach other containers of its network and the
//! world; on the host, they reach name resolution and the host's own connections. Packets from outside
//! reach a container only as an answer or through a published port.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::value::{InterfacePattern, PortRange, Protocol, Publication, Uplink, VpnPolicy};
use crate::network::link::Mac;
use crate::network::store::Member;

/// Loopback addresses, the source of the host's own traffic to published ports.
const LOOPBACK: (Ipv4Addr, u8) = (Ipv4Addr::new(127, 0, 0, 0), 8);
/// The port of name servers.
const DNS: u16 = 53;

/// Where a rule is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// All incoming packets, before any change: checks source addresses.
    Sources,
    /// Packets to the host.
    Input,
    /// Forwarded packets.
    Forward,
    /// Forwarded packets, which may be changed.
    Clamp,
    /// Incoming packets, before routing.
    Publish,
    /// The same for packets from the host.
    PublishLocally,
    /// Outgoing packets.
    Translate,
}

impl Chain {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Sources,
        Self::Input,
        Self::Forward,
        Self::Clamp,
        Self::Publish,
        Self::PublishLocally,
        Self::Translate,
    ];
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// It arrives on this interface, or on any other.
    In(String, bool),
    /// It leaves on this interface, or on any other.
    Out(String, bool),
    /// It arrives on any interface of ds. For such a packet, [`Chain::Sources`] has checked the source address.
    InOwn,
    /// It leaves on any interface of ds.
    OutOwn,
    /// It leaves on an interface whose name begins with this pattern, up to its first `*`.
    OutLike(InterfacePattern),
    /// It comes from these addresses.
    From(IpAddr, u8),
    /// It goes to these addresses.
    To(IpAddr, u8),
    /// It goes to an address of the host.
    ToHost,
    /// Its link-layer sender.
    Sender(Mac),
    /// Its protocol, and its destination ports.
    Ports(Protocol, PortRange),
    /// One port.
    Port(Protocol, u16),
    /// ICMP, or ICMPv6.
    Icmp,
    /// It belongs to a permitted connection.
    Answer,
    /// Its destination was changed by a published port.
    Published,
}

/// The action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Accept,
    /// It passes this chain.
    Return,
    /// It is dropped.
    Drop,
    /// Its destination is changed; `None` keeps the port.
    Redirect(IpAddr, Option<u16>),
    /// It leaves with the host's address.
    Masquerade,
    /// The segment size of its connection is limited to the path's MTU.
    Clamp,
}

/// One rule of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The chain.
    pub chain: Chain,
    /// IPv4, or IPv6.
    pub ipv4: bool,
    /// The conditions, all of which must hold.
    pub matches: Vec<Match>,
    /// The action.
    pub verdict: Verdict,
}

/// The list under construction.
struct List {
    rules: Vec<Rule>,
    ipv4: bool,
}

impl List {
    fn add(&mut self, chain: Chain, matches: impl Into<Vec<Match>>, verdict: Verdict) {
        self.rules.push(Rule { chain, ipv4: self.ipv4, matches: matches.into(), verdict });
    }
}

fn from(interface: &str) -> Match {
    Match::In(interface.to_owned(), true)
}

fn to(interface: &str) -> Match {
    Match::Out(interface.to_owned(), true)
}

/// An address of a member in one family.
fn address(member: &Member, ipv4: bool) -> Option<IpAddr> {
    if ipv4 { Some(member.address.into()) } else { member.address6.map(IpAddr::V6) }
}

fn whole(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// All rules for these members.
#[must_use]
pub fn rules(members: &[Member]) -> Vec<Rule> {
    let mut rules = Vec::new();
    for ipv4 in [true, false] {
        let here: Vec<&Member> = members.iter().filter(|member| address(member, ipv4).is_some()).collect();
        if !here.is_empty() {
            let mut list = List { rules, ipv4 };
            sources(&mut list, &here);
            host(&mut list, &here);
            passage(&mut list, &here);
            published(&mut list, &here);
            translation(&mut list, &here);
            rules = list.rules;
        }
    }
    rules
}

/// The host's interfaces towards members, each with one of its members.
fn interfaces<'a>(members: &[&'a Member]) -> Vec<&'a Member> {
    let mut found: Vec<&Member> = Vec::new();
    for member in members {
        if !found.iter().any(|other| other.behind() == member.behind()) {
            found.push(member);
        }
    }
    found
}

/// A container sends only with its own addresses, and not to the host's loopback.
fn sources(list: &mut List, members: &[&Member]) {
    if list.ipv4 {
        for member in interfaces(members) {
            let loopback = Match::To(LOOPBACK.0.into(), LOOPBACK.1);
            list.add(Chain::Sources, [from(member.behind()), loopback], Verdict::Drop);
        }
    }
    for member in members {
        let Some((own, length)) = member.own(list.ipv4) else { continue };
        let sender = [from(member.behind()), Match::Sender(member.mac), Match::From(own, length)];
        list.add(Chain::Sources, sender, Verdict::Return);
    }
    for member in interfaces(members) {
        if !list.ipv4 {
            // Neighbour discovery uses only link-local addresses.
            let link = Match::From(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), 10);
            list.add(Chain::Sources, [from(member.behind()), Match::Icmp, link], Verdict::Return);
            let none = Match::From(Ipv6Addr::UNSPECIFIED.into(), 128);
            list.add(Chain::Sources, [from(member.behind()), Match::Icmp, none], Verdict::Return);
        }
        list.add(Chain::Sources, [from(member.behind())], Verdict::Drop);
    }
}

/// Rules for packets of containers to the host.
fn host(list: &mut List, members: &[&Member]) {
    for member in members.iter().filter(|member| member.host_access) {
        if let Some((own, length)) = member.own(list.ipv4) {
            let all = [from(member.behind()), Match::From(own, length)];
            list.add(Chain::Input, all, Verdict::Accept);
        }
    }
    for member in interfaces(members) {
        let here = from(member.behind());
        list.add(Chain::Input, [here.clone(), Match::Answer], Verdict::Accept);
        list.add(Chain::Input, [here.clone(), Match::Icmp], Verdict::Accept);
        let gateway = if list.ipv4 { Some(member.subnet.gateway()) } else { None };
        for protocol in gateway.iter().flat_map(|_| [Protocol::Udp, Protocol::Tcp]) {
            let server = gateway.map_or(Match::ToHost, |gateway| Match::To(gateway.into(), 32));
            list.add(Chain::Input, [here.clone(), server, Match::Port(protocol, DNS)], Verdict::Accept);
        }
        list.add(Chain::Input, [here], Verdict::Drop);
    }
}

/// Forwarded packets.
fn passage(list: &mut List, members: &[&Member]) {
    let interfaces = interfaces(members);
    for member in &interfaces {
        for side in [from(member.behind()), to(member.behind())] {
            list.add(Chain::Clamp, [side], Verdict::Clamp);
        }
    }
    for member in &interfaces {
        list.add(Chain::Forward, [to(member.behind()), Match::Answer], Verdict::Accept);
    }
    for member in members.iter().filter(|member| member.isolated) {
        let Some((own, length)) = member.own(list.ipv4) else { continue };
        let own = (Match::From(own, length), Match::To(own, length));
        // A container reaches its own published ports. Those of others do not bypass the isolation.
        let itself = [to(member.behind()), Match::Published, own.0.clone(), own.1];
        list.add(Chain::Forward, itself, Verdict::Accept);
        list.add(Chain::Forward, [from(member.behind()), Match::OutOwn, own.0], Verdict::Drop);
    }
    for member in &interfaces {
        list.add(Chain::Forward, [to(member.behind()), Match::Published], Verdict::Accept);
    }
    for member in members.iter().filter(|member| member.isolated) {
        let Some((own, length)) = member.own(list.ipv4) else { continue };
        let receives = [Match::InOwn, to(member.behind()), Match::To(own, length)];
        list.add(Chain::Forward, receives, Verdict::Drop);
    }
    for member in &interfaces {
        let here = to(member.behind());
        match member.prefix(list.ipv4).filter(|_| member.bridge.is_none()) {
            // Each member has an interface of its own: a rule for each pair of them would be too many rules.
            Some((first, length)) => {
                let neighbours = [Match::InOwn, Match::From(first, length), here];
                list.add(Chain::Forward, neighbours, Verdict::Accept);
            }
            None => list.add(Chain::Forward, [from(member.behind()), here], Verdict::Accept),
        }
        // Packets from other networks of ds and from outside are refused.
        list.add(Chain::Forward, [to(member.behind())], Verdict::Drop);
    }
    members.iter().filter(|member| member.is_bound()).for_each(|member| bound(list, member));
    for member in &interfaces {
        list.add(Chain::Forward, [from(member.behind())], Verdict::Accept);
    }
}

/// A container that is bound to an uplink: routing rules refuse every other uplink, and this rule still applies if they
/// are flushed.
fn bound(list: &mut List, member: &Member) {
    let Some((own, length)) = member.own(list.ipv4) else { return };
    let sent = || vec![from(member.behind()), Match::From(own, length)];
    let ways: Vec<Match> = match &member.uplink {
        Uplink::These(patterns) if member.vpn != VpnPolicy::Only => {
            patterns.iter().map(|pattern| Match::OutLike(pattern.clone())).collect()
        }
        _ => member.ways.iter().map(|name| to(name)).collect(),
    };
    for way in ways {
        list.add(Chain::Forward, [sent(), vec![way]].concat(), Verdict::Accept);
    }
    list.add(Chain::Forward, sent(), Verdict::Drop);
}

/// Rules for published ports.
fn published(list: &mut List, members: &[&Member]) {
    for member in members {
        let Some(own) = address(member, list.ipv4) else { continue };
        let ipv4 = list.ipv4;
        for port in member.ports.iter().filter(|port| port.is_for(ipv4)) {
            let destination = port.bound_to().map_or(Match::ToHost, |bound| Match::To(bound, whole(bound)));
            for (matched, moved) in steps(port) {
                let verdict = Verdict::Redirect(own, moved);
                let loopback = port.bound_to().is_some_and(|bound| bound.is_loopback());
                if !loopback {
                    list.add(Chain::Publish, [destination.clone(), matched.clone()], verdict.clone());
                }
                // The kernel does not forward packets from ::1.
                if list.ipv4 || !loopback {
                    list.add(Chain::PublishLocally, [destination.clone(), matched], verdict);
                }
            }
        }
    }
}

/// One rule for a range that keeps its numbers, else a rule for each port.
fn steps(port: &Publication) -> Vec<(Match, Option<u16>)> {
    if port.host == port.container {
        return vec![(Match::Ports(port.protocol, port.host), None)];
    }
    port.pairs().map(|(host, container)| (Match::Port(port.protocol, host), Some(container))).collect()
}

/// Packets that leave with the host's address: those to the outside, and those that return to the network through the
/// host.
fn translation(list: &mut List, members: &[&Member]) {
    let interfaces = interfaces(members);
    let own = |member: &Member, ipv4| match member.bridge {
        Some(_) => member.prefix(ipv4),
        None => member.own(ipv4),
    };
    for member in &interfaces {
        let Some((own, length)) = own(member, list.ipv4) else { continue };
        let back = to(member.behind());
        // A container that connects to a published port of its own network through the host's address.
        let published = [Match::From(own, length), back.clone(), Match::Published];
        list.add(Chain::Translate, published, Verdict::Masquerade);
        if list.ipv4 {
            let loopback = Match::From(LOOPBACK.0.into(), LOOPBACK.1);
            list.add(Chain::Translate, [loopback, back], Verdict::Masquerade);
        }
    }
    // Between members without a bridge, addresses are kept.
    let routed = interfaces.iter().filter(|member| member.bridge.is_none());
    let prefixes: BTreeSet<_> = routed.filter_map(|member| member.prefix(list.ipv4)).collect();
    for (first, length) in prefixes {
        let neighbours = [Match::From(first, length), Match::To(first, length), Match::OutOwn];
        list.add(Chain::Translate, neighbours, Verdict::Return);
    }
    for member in &interfaces {
        let Some((own, length)) = own(member, list.ipv4) else { continue };
        let out = Match::Out(member.behind().to_owned(), false);
        list.add(Chain::Translate, [Match::From(own, length), out], Verdict::Masquerade);
    }
}
