//! Decides which uplink each container uses: derives the rules of ds from the state of the kernel. Changes nothing.
//!
//! Android's netd keeps a table for each network and selects among them by rules. They are recognised by their form,
//! never by their priority, which differs between versions (RouteController.cpp of netd): the default network has
//! `fwmark 0x0/0xffff iif lo`, a VPN `fwmark 0x0/0x20000 iif lo uidrange …`, tethered clients a table without `iif`.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use super::view::{Family, Rule, View, Way};
use crate::config::value::{Name, Uplink, VpnPolicy};
use crate::network::identity::OWN;
use crate::network::link::Link;
use crate::network::store::Member;
use crate::paths::Paths;

/// `RT_TABLE_MAIN`, and the other tables that do not belong to one interface.
pub(super) const MAIN: u32 = 254;
const SHARED: [u32; 4] = [0, 253, MAIN, 255];
/// `FR_ACT_TO_TBL`, `FR_ACT_PROHIBIT`.
const TO_TABLE: u8 = 1;
const PROHIBIT: u8 = 8;
/// Bits of netd's marks: the network, one that a program selected, and protection from VPNs.
const NETWORK: u32 = 0xffff;
const SELECTED: u32 = 0x1_0000;
const PROTECTED: u32 = 0x2_0000;
/// Priorities of ds: between containers; the uplinks of a pinned container, before the rules of VPN programs; its last
/// rule.
pub(super) const BETWEEN: u32 = 4000;
pub(super) const PINNED: u32 = 4010;
pub(super) const PINNED_END: u32 = 4199;
/// The uplinks of a container that follows the machine: after the rules of VPN programs (Clash 9000, Tailscale 5200),
/// before those of netd (from 10000).
pub(super) const FOLLOWING: u32 = 9910;
pub(super) const FOLLOWING_END: u32 = 9999;
/// The first table number of ds, to which a number of the data directory is added.
const TABLES: u32 = 0x6400_0000;
/// The maximum number of tables for one container.
const MOST: usize = 32;

/// The first table number of ds for this data directory.
pub(super) fn own_tables(paths: &Paths) -> u32 {
    let mut hasher = DefaultHasher::new();
    paths.cgroup.hash(&mut hasher);
    TABLES | (u32::try_from(hasher.finish() & 0xff).unwrap_or_default() << 16)
}

/// Whether rules of ds may have this priority.
pub(super) fn is_priority(priority: u32) -> bool {
    let ranges = [(BETWEEN, BETWEEN), (PINNED, PINNED_END), (FOLLOWING, FOLLOWING_END)];
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&priority))
}

/// A rule of ds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    pub(super) priority: u32,
    pub(super) from: Option<(IpAddr, u8)>,
    pub(super) to: Option<(IpAddr, u8)>,
    /// The table; `None` refuses the packet.
    pub(super) table: Option<u32>,
}

/// The routes that a table of ds contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Copies {
    /// Those through an interface.
    Through(u32),
    /// Those of the main table that do not lead into a VPN.
    WithoutVpn,
}

/// The desired state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Decision {
    pub(super) rules: Vec<Wanted>,
    /// The tables of ds, for each family: whether it is IPv4, and the table.
    pub(super) tables: BTreeMap<(bool, u32), Copies>,
    /// The interfaces that each container's packets may use, in order.
    pub(super) ways: BTreeMap<Name, Vec<String>>,
}

/// The tables in which one container's packets are looked up, and whether all others are refused.
struct Choice {
    tables: Vec<u32>,
    pinned: bool,
    /// Packets without a route in these tables are refused.
    ends: bool,
}

/// The decision for one family, in progress.
struct Deciding<'a> {
    view: &'a View,
    family: &'a Family,
    ipv4: bool,
    /// Number of the first table of ds.
    own: u32,
    tables: BTreeMap<(bool, u32), Copies>,
}

/// Decides for all members. `own` is the first of the 65536 table numbers of ds.
pub(super) fn decide(view: &View, members: &[Member], own: u32) -> Decision {
    let mut decision = Decision::default();
    for ipv4 in [true, false] {
        let mut deciding = Deciding { view, family: view.family(ipv4), ipv4, own, tables: BTreeMap::new() };
        let mut rules = Vec::new();
        for member in members {
            let Some(own) = member.own(ipv4) else { continue };
            let Some(choice) = deciding.choose(member) else { continue };
            let names = decision.ways.entry(member.name.clone()).or_default();
            for name in choice.tables.iter().flat_map(|table| deciding.interfaces(*table)) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            rules.extend(choice.rules(own));
        }
        if !rules.is_empty() || deciding.main_rule().is_none() {
            for (network, length) in networks(members, ipv4) {
                let to = Some((network, length));
                rules.push(Wanted { priority: BETWEEN, from: None, to, table: Some(MAIN) });
            }
        }
        decision.rules.extend(rules);
        decision.tables.extend(deciding.tables);
    }
    decision.rules.sort_unstable();
    decision.rules.dedup();
    decision
}

/// The networks of the members.
fn networks(members: &[Member], ipv4: bool) -> Vec<(IpAddr, u8)> {
    let mut found: Vec<_> = members.iter().filter_map(|member| member.prefix(ipv4)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

impl Choice {
    fn rules(&self, own: (IpAddr, u8)) -> impl Iterator<Item = Wanted> + use<'_> {
        let (first, last) = if self.pinned { (PINNED, PINNED_END) } else { (FOLLOWING, FOLLOWING_END) };
        let rule = move |priority, table| Wanted { priority, from: Some(own), to: None, table };
        let ways = self.tables.iter().zip(first..).map(move |(table, priority)| rule(priority, Some(*table)));
        ways.chain(self.ends.then(|| rule(last, None)))
    }
}

impl Deciding<'_> {
    fn choose(&mut self, member: &Member) -> Option<Choice> {
        let is_netd = self.main_rule().is_none();
        let choice = |tables: Vec<u32>, pinned: bool, ends: bool| {
            let mut once = Vec::new();
            for table in tables {
                if !once.contains(&table) && once.len() < MOST {
                    once.push(table);
                }
            }
            Some(Choice { tables: once, pinned, ends })
        };
        match (&member.uplink, member.vpn) {
            (Uplink::Vpn, _) | (Uplink::Auto, VpnPolicy::Only) => choice(self.vpns(|_| true), true, true),
            (Uplink::These(patterns), VpnPolicy::Only) => {
                let named = |name: &str| patterns.iter().any(|pattern| pattern.matches(name));
                choice(self.vpns(named), true, true)
            }
            (Uplink::These(patterns), _) => {
                let links = patterns.iter().flat_map(|pattern| {
                    self.usable().filter(move |link| pattern.matches(&link.name)).cloned()
                });
                let links: Vec<Link> = links.collect();
                let tables = links.iter().filter_map(|link| self.table_of(link)).collect();
                choice(tables, true, true)
            }
            // The machine's own rules also apply to forwarded packets.
            (Uplink::Auto, VpnPolicy::Follow) if !is_netd => None,
            (Uplink::Auto, VpnPolicy::Follow) => {
                let vpns = self.vpn_rules(true).map(|rule| rule.table);
                let local = self.local_network();
                if self.is_locked_down() {
                    return choice(local.into_iter().chain(vpns).collect(), false, true);
                }
                choice(local.into_iter().chain(vpns).chain(self.default_networks()).collect(), false, false)
            }
            (Uplink::Auto, VpnPolicy::Bypass) if !is_netd => {
                let table = self.own;
                self.tables.insert((self.ipv4, table), Copies::WithoutVpn);
                choice(vec![table], true, true)
            }
            (Uplink::Auto, VpnPolicy::Bypass) => {
                choice(self.local_network().into_iter().chain(self.default_networks()).collect(), true, true)
            }
        }
    }

    /// The rule that looks up all packets in the main table; netd removes it.
    fn main_rule(&self) -> Option<&Rule> {
        self.family.rules.iter().find(|rule| {
            let open = rule.from.is_none() && rule.to.is_none() && rule.mask == 0 && rule.input.is_empty();
            rule.table == MAIN && rule.action == TO_TABLE && open && rule.users.is_none() && !rule.special
        })
    }

    /// Rules of netd that lead to a table.
    fn netd_rules(&self) -> impl Iterator<Item = &Rule> {
        self.family.rules.iter().filter(|rule| {
            rule.action == TO_TABLE && rule.from.is_none() && rule.to.is_none() && !rule.special
        })
    }

    /// The tables of the default network: one for each of its interfaces, so two with CLAT.
    fn default_networks(&self) -> Vec<u32> {
        let is_default = |rule: &&Rule| {
            let mark = rule.mask & (NETWORK | SELECTED) == NETWORK && rule.mark & NETWORK == 0;
            mark && rule.input == "lo" && rule.users.is_none()
        };
        let last = self.netd_rules().filter(is_default).map(|rule| rule.priority).max();
        let rules = self.netd_rules().filter(is_default).filter(|rule| Some(rule.priority) == last);
        rules.map(|rule| rule.table).collect()
    }

    /// The table of tethered clients and other networks for which this machine is the router.
    fn local_network(&self) -> Option<u32> {
        let is_local = |rule: &&Rule| {
            rule.mask == SELECTED && rule.mark == 0 && rule.input.is_empty() && rule.users.is_none()
        };
        Some(self.netd_rules().filter(is_local).max_by_key(|rule| rule.priority)?.table)
    }

    /// netd's rules for VPNs; with `all`, only those that include root, to which containers belong.
    fn vpn_rules(&self, all: bool) -> impl Iterator<Item = &Rule> {
        self.netd_rules().filter(move |rule| {
            let open = rule.mask & PROTECTED != 0 && rule.mark & PROTECTED == 0 && rule.input == "lo";
            open && rule.mask & NETWORK == 0 && rule.users.is_some_and(|(first, _)| !all || first == 0)
        })
    }

    /// The user blocks connections without a VPN.
    fn is_locked_down(&self) -> bool {
        self.family.rules.iter().any(|rule| {
            let open = rule.mask & PROTECTED != 0 && rule.mark & PROTECTED == 0 && rule.input == "lo";
            rule.action == PROHIBIT && open && rule.users.is_some_and(|(first, _)| first == 0)
        })
    }

    /// The tables of VPNs with a selected interface.
    fn vpns(&mut self, wanted: impl Fn(&str) -> bool) -> Vec<u32> {
        let of_netd: Vec<u32> = self.vpn_rules(false).map(|rule| rule.table).collect();
        let mut tables: Vec<u32> = of_netd
            .into_iter()
            .filter(|table| self.interfaces(*table).iter().any(|name| wanted(name)))
            .collect();
        let links: Vec<Link> =
            self.usable().filter(|link| link.is_vpn() && wanted(&link.name)).cloned().collect();
        tables.extend(links.iter().filter_map(|link| self.table_of(link)));
        tables
    }

    /// Possible uplinks: all interfaces except those of containers and of the machine itself.
    fn usable(&self) -> impl Iterator<Item = &Link> {
        self.view.links.iter().filter(|link| link.is_up && link.name != "lo" && !link.name.starts_with(OWN))
    }

    /// The table with the routes through an interface: its own one, or a copy; `None` if it has no routes.
    fn table_of(&mut self, link: &Link) -> Option<u32> {
        let through = |way: &&Way| way.out == link.index && self.is_foreign(way.table);
        let mut tables: Vec<u32> = self.family.ways.iter().filter(through).map(|way| way.table).collect();
        tables.sort_unstable();
        tables.dedup();
        let is_its_own = |table: &u32| {
            let mut ways = self.family.ways.iter().filter(|way| way.table == *table);
            !SHARED.contains(table) && ways.all(|way| way.out == link.index)
        };
        let leads_out = |table: &u32| {
            self.family.ways.iter().any(|way| way.table == *table && way.out == link.index && way.length <= 1)
        };
        let own: Vec<u32> = tables.iter().copied().filter(is_its_own).collect();
        let found = own.iter().find(|table| leads_out(table)).or(own.first()).copied();
        // A default route in another table takes precedence over an own table without one.
        if let Some(found) = found
            && (leads_out(&found) || !tables.iter().any(leads_out))
        {
            return Some(found);
        }
        let copied = tables.iter().any(|table| !SHARED.contains(table) || *table == MAIN);
        copied.then(|| {
            let table = self.own | (link.index & 0xffff);
            self.tables.insert((self.ipv4, table), Copies::Through(link.index));
            table
        })
    }

    fn is_foreign(&self, table: u32) -> bool {
        table >> 16 != self.own >> 16
    }

    /// The interfaces of a table's routes, default routes first.
    fn interfaces(&self, table: u32) -> Vec<String> {
        let copies = self.tables.get(&(self.ipv4, table)).copied();
        let in_it = |way: &&Way| match copies {
            Some(copies) => is_copied(way, copies, &self.view.links, self.own),
            None => way.table == table,
        };
        let mut ways: Vec<&Way> = self.family.ways.iter().filter(in_it).collect();
        ways.sort_by_key(|way| way.length);
        let name = |way: &&Way| {
            let link = self.view.links.iter().find(|link| link.index == way.out)?;
            (!link.name.starts_with(OWN)).then(|| link.name.clone())
        };
        ways.iter().filter_map(name).collect()
    }
}

/// Whether a route belongs in a table of ds.
pub(super) fn is_copied(way: &Way, copies: Copies, links: &[Link], own: u32) -> bool {
    let foreign = way.table >> 16 != own >> 16 && ![0, 253, 255].contains(&way.table);
    let is_vpn = || links.iter().any(|link| link.index == way.out && link.is_vpn());
    foreign
        && match copies {
            Copies::Through(interface) => way.out == interface,
            Copies::WithoutVpn => way.table == MAIN && !is_vpn(),
        }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
