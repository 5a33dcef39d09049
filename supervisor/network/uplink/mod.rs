//! The uplinks of containers: `network.uplink` and `network.vpn`.
//!
//! [`arrange`] must be called under the lock of the list after each change of the list of members and of the machine's
//! network. It keeps no state: it recognises the rules of ds by priority and address, and the tables by number. For a
//! container that is bound to an uplink, a rule in the kernel refuses every other uplink. This rule does not depend on
//! a process of ds.

mod apply;
mod conntrack;
mod decide;
mod events;
mod view;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;

use self::decide::{MAIN, decide, own_tables};
use self::view::View;
use super::identity::Tag;
use super::link::Link;
use super::store::{Member, NETWORK_6, Store, members};
use super::wiring::fit_inside;
use crate::config::value::Name;
use crate::netlink::Netlink;
use crate::paths::Paths;

pub use self::events::Events;

/// The minimum MTU of IPv6, RFC 8200.
const LEAST_MTU: u32 = 1280;

/// Sets up the uplink of every member, and removes those of former members. Returns the interfaces that each member's
/// packets may use, in order; none if the machine's own rules apply.
///
/// # Errors
/// If the kernel refuses a rule.
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
            // Connections keep the address of their first uplink, which is no longer valid.
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
    /// An address in the internet for lookups. Nothing is sent to it.
    const ANYWHERE: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);
    let all = members(paths);
    let find = |name: &Name| all.iter().find(|member| member.name == *name);
    let Some(mut member) = find(name) else { return Ok(None) };
    // Its packets leave with those of its gateway. A gateway may be behind another one, in no cycle.
    for _ in 0..all.len() {
        let Some(gateway) = &member.gateway else { break };
        let Some(router) = find(&gateway.container) else { return Ok(None) };
        member = router;
    }
    let route = Netlink::route()?;
    let links = route.links()?;
    let Some(behind) = links.iter().find(|link| link.name == member.behind()) else { return Ok(None) };
    let out = view::lookup(&route, member.address, ANYWHERE, behind.index)?;
    Ok(links.into_iter().find(|link| Some(link.index) == out).map(|link| link.name))
}

/// All networks of ds, also those of former members.
fn networks(store: &Store, list: &[Member]) -> Vec<(IpAddr, u8)> {
    let mut all: Vec<_> =
        [true, false].iter().flat_map(|ipv4| list.iter().filter_map(|member| member.prefix(*ipv4))).collect();
    for network in store.networks() {
        all.push((network.subnet.first().into(), network.subnet.length()));
        all.push((network.prefix.into(), NETWORK_6));
    }
    all
}

/// Sets the MTU of the links of a network to that of their uplinks.
fn fit(route: &Netlink, view: &View, paths: &Paths, members: &[Member], ways: &BTreeMap<Name, Vec<String>>) {
    let tag = Tag::of(paths);
    let links: &[Link] = &view.links;
    // If the machine's own rules apply, the first default route of the main table counts.
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
        // All links of a network have the same MTU, because a bridge drops larger packets.
        let networks: Vec<&Name> = behind.map(|member| &member.network).collect();
        let here = members.iter().filter(|member| networks.contains(&&member.network));
        let Some(least) = here.filter_map(size).min() else { continue };
        if link.mtu != least {
            // A link may have disappeared in the meantime.
            let _ = route.set_mtu(link.index, least);
            if let Some(member) = members.iter().find(|member| member.interface == link.name)
                && let Err(error) = fit_inside(member, least)
            {
                log::debug!("{}: set the MTU: {error:#}", member.name);
            }
        }
    }
}
