//! The way out of the machine: `network.uplink` and `network.vpn`.
//!
//! Whoever changes the list of members, and whoever hears of a change of the machine's network, calls [`arrange`] under
//! the lock of the list. It needs no memory of its own: rules of ours are recognised by priority and address, tables by
//! number. A container that is bound to an uplink has a rule in the kernel that refuses every other way. This rule
//! needs no process of ours.

mod apply;
mod conntrack;
mod decide;
mod events;
mod view;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;

use self::decide::{MAIN, decide};
use self::view::View;
use super::identity::Tag;
use super::link::Link;
use super::netlink::Netlink;
use super::store::{Member, NETWORK_6, Store, members};
use super::wiring::fit_inside;
use crate::config::value::Name;
use crate::paths::Paths;

pub use self::events::Events;

/// The least packet that IPv6 needs, RFC 8200.
const LEAST_MTU: u32 = 1280;
/// The first number of tables of ours, before the part that tells data directories apart.
const TABLES: u32 = 0x6400_0000;

/// Gives every member its way out, and removes the ways of former members: the interfaces that each one's packets may
/// take, the first one first. None are named where the machine's own rules hold.
///
/// # Errors
/// When the kernel refuses a rule.
pub(super) fn arrange(
    store: &Store,
    paths: &Paths,
    members: &[Member],
) -> Result<BTreeMap<Name, Vec<String>>> {
    let route = Netlink::route()?;
    let ipv6 = members.iter().any(|member| member.address6.is_some()) || members.is_empty();
    let view = View::read(&route, ipv6)?;
    let (own, ours) = (own_tables(paths), networks(store, members));
    if members.is_empty() && apply::is_nothing(&view, &ours, own) {
        return Ok(BTreeMap::new());
    }
    let decision = decide(&view, members, own);
    apply::apply(&route, &view, &decision, &ours, own)?;
    for member in members {
        let now = decision.ways.get(&member.name).cloned().unwrap_or_default();
        if now != member.ways && !member.ways.is_empty() {
            // Connections keep the address of the way that they began with, which leads nowhere now.
            conntrack::forget(member).unwrap_or_else(|error| log::debug!("{}: {error:#}", member.name));
        }
    }
    fit(&route, &view, paths, members, &decision.ways);
    Ok(decision.ways)
}

/// The interface through which packets of a container leave now; `None` if they do not.
///
/// # Errors
/// If the kernel does not answer.
pub fn way_out(paths: &Paths, name: &Name) -> Result<Option<String>> {
    /// Stands for the internet. Nothing is sent there.
    const ANYWHERE: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);
    let Some(member) = members(paths).into_iter().find(|member| member.name == *name) else {
        return Ok(None);
    };
    let route = Netlink::route()?;
    let links = route.links()?;
    let Some(behind) = links.iter().find(|link| link.name == member.behind()) else { return Ok(None) };
    let out = view::lookup(&route, member.address, ANYWHERE, behind.index)?;
    Ok(links.into_iter().find(|link| Some(link.index) == out).map(|link| link.name))
}

/// Our tables' numbers: each data directory has its own.
fn own_tables(paths: &Paths) -> u32 {
    let mut hasher = DefaultHasher::new();
    paths.cgroup.hash(&mut hasher);
    TABLES | (u32::try_from(hasher.finish() & 0xff).unwrap_or_default() << 16)
}

/// All networks of ours, also of former members.
fn networks(store: &Store, list: &[Member]) -> Vec<(IpAddr, u8)> {
    let mut all: Vec<_> =
        [true, false].iter().flat_map(|ipv4| list.iter().filter_map(|member| member.prefix(*ipv4))).collect();
    for network in store.networks() {
        all.push((network.subnet.first().into(), network.subnet.length()));
        all.push((network.prefix.into(), NETWORK_6));
    }
    all
}

/// Gives the links of a network the packet size of their ways out.
fn fit(route: &Netlink, view: &View, paths: &Paths, members: &[Member], ways: &BTreeMap<Name, Vec<String>>) {
    let tag = Tag::of(paths);
    let links: &[Link] = &view.links;
    // Where the machine's own rules hold, the first default route of the main table.
    let main = view.four.ways.iter().find(|way| way.table == MAIN && way.length == 0);
    let size = |member: &Member| {
        let first = ways.get(&member.name).and_then(|ways| ways.first());
        let link = match first {
            Some(name) => links.iter().find(|link| link.name == *name),
            None if member.is_bound() => None,
            None => links.iter().find(|link| main.is_some_and(|way| way.out == link.index)),
        };
        Some(link?.mtu.clamp(LEAST_MTU, 65_535))
    };
    for link in links.iter().filter(|link| tag.owns(link)) {
        let behind = members
            .iter()
            .filter(|member| member.bridge.as_ref() == Some(&link.name) || member.interface == link.name);
        // All links of a network are alike: a bridge drops what does not fit.
        let networks: Vec<&Name> = behind.map(|member| &member.network).collect();
        let here = members.iter().filter(|member| networks.contains(&&member.network));
        let Some(least) = here.filter_map(size).min() else { continue };
        if link.mtu != least {
            // A link that has gone meanwhile needs nothing.
            let _ = route.set_mtu(link.index, least);
            if let Some(member) = members.iter().find(|member| member.interface == link.name)
                && let Err(error) = fit_inside(member, least)
            {
                log::debug!("{}: packet size: {error:#}", member.name);
            }
        }
    }
}
