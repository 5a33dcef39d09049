//! Adjusts the host to the list of members: rules, bridges, links, and forwarding.
//!
//! Idempotent: [`reconcile`] is called after each change of the list, under the lock of the list.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::firewall::Firewall;
use super::firewall::rules::rules;
use super::identity::Tag;
use super::link::Link;
use super::ports;
use super::segment;
use super::store::{Member, Store};
use super::sysctl::Forwarding;
use super::uplink::arrange;
use crate::config::Config;
use crate::config::value::Name;
use crate::netlink::Netlink;
use crate::paths::Paths;

/// The changes of the host for all networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Changes {
    /// The packet filter with the rules of ds.
    pub(super) firewall: Firewall,
    /// The previous settings of forwarding.
    pub(super) forwarding: Forwarding,
}

impl Changes {
    pub(super) fn new(firewall: Firewall) -> Self {
        Self { firewall, forwarding: Forwarding::default() }
    }
}

/// Sets up what the `members` need, and removes everything if there are none. They are all that the store has.
///
/// # Errors
/// If the packet filter or an uplink cannot be set. All other steps are done nevertheless.
pub(super) fn reconcile(store: &Store, paths: &Paths, members: Vec<Member>) -> Result<()> {
    set(store, paths, members, true)
}

/// The same after a change of the machine's network: follows it, and restores what others have removed.
///
/// # Errors
/// See [`reconcile`].
pub fn keep(paths: &Paths) -> Result<()> {
    if !Store::is_used(paths) {
        return Ok(());
    }
    let store = Store::open(paths)?;
    set(&store, paths, store.members(), false)
}

fn set(store: &Store, paths: &Paths, mut members: Vec<Member>, renew: bool) -> Result<()> {
    // The order of the rules follows from that of the members.
    members.sort_by(|one, other| one.name.cmp(&other.name));
    store.announce(&members)?;
    // The host has nothing of the others.
    members.retain(|member| member.gateway.is_none());
    let file = paths.network_members().join("rules");
    let changes: Option<Changes> = store.changes()?;
    let Some(changes) = changes else { return remove_links(paths, &members) };
    let ways = arrange(store, paths, &members);
    if members.is_empty() {
        let removed =
            changes.firewall.remove(&paths.cgroup, &file).context("remove the packet filter's rules");
        let links = remove_links(paths, &members);
        changes.forwarding.restore();
        removed?;
        links?;
        ways?;
        store.forget_changes();
        return Ok(());
    }
    let moved = match &ways {
        Ok(ways) => remember(store, &mut members, ways)?,
        Err(_) => false,
    };
    let rules = rules(&members);
    let is_stale = renew || moved || !changes.firewall.is_intact(&paths.cgroup, &rules, &file);
    let applied = if is_stale { changes.firewall.apply(&paths.cgroup, &rules, &file) } else { Ok(()) };
    remove_links(paths, &members)?;
    if !renew {
        changes.forwarding.renew();
    }
    ways?;
    applied
}

/// Records the uplinks in the list of members; returns whether the packet filter must be updated.
fn remember(store: &Store, members: &mut [Member], ways: &BTreeMap<Name, Vec<String>>) -> Result<bool> {
    let mut matters = false;
    for member in members {
        let new = ways.get(&member.name).cloned().unwrap_or_default();
        if new != member.ways {
            member.ways = new;
            store.join(member)?;
            matters |= member.is_bound();
        }
    }
    Ok(matters)
}

/// Removes bridges and links of ds that no member needs, and the host's entries for former members.
fn remove_links(paths: &Paths, members: &[Member]) -> Result<()> {
    let (route, tag) = (Netlink::route()?, Tag::of(paths));
    let needed = |link: &Link| {
        members.iter().any(|member| {
            link.alias == tag.bridge(&member.network) && member.bridge.as_deref() == Some(link.name.as_str())
                || link.alias == tag.member(&member.name) && member.interface == link.name
        })
    };
    for link in route.links()?.into_iter().filter(|link| tag.owns(link)) {
        if !needed(&link) {
            // It may have ended with its namespace in the meantime.
            let _ = route.delete_link(link.index);
        }
    }
    Ok(())
}

/// Applies changed ports and access rules in `config` to a running container; returns whether it has a network.
///
/// # Errors
/// If a port is in use, or the packet filter refuses the rules.
pub fn follow(paths: &Paths, config: &Config) -> Result<bool> {
    if !Store::is_used(paths) {
        return Ok(false);
    }
    let store = Store::open(paths)?;
    let (mine, others): (Vec<_>, Vec<_>) =
        store.members().into_iter().partition(|member| member.name == config.name);
    let Some(old) = mine.into_iter().next() else { return Ok(false) };
    let mut new = old.clone();
    new.follow(config);
    if new == old {
        return Ok(true);
    }
    ports::check(&new.ports, &others)?;
    store.join(&new)?;
    if new.gateway.is_some() {
        return segment::isolate(&new).map(|()| true);
    }
    let with = |own: Member| [others.as_slice(), &[own]].concat();
    if let Err(error) = reconcile(&store, paths, with(new)) {
        store.join(&old)?;
        reconcile(&store, paths, with(old))?;
        return Err(error);
    }
    Ok(true)
}

/// Removes the members of dead monitors.
///
/// # Errors
/// If something cannot be removed.
pub fn sweep(paths: &Paths) -> Result<()> {
    if !Store::is_used(paths) {
        return Ok(());
    }
    let store = Store::open(paths)?;
    reconcile(&store, paths, store.members())
}
