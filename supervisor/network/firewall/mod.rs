//! The packet filter: its selection, and its rules for the networks of ds.
//!
//! If the machine already filters with iptables, the rules of ds must be in the same tables: an accept in a table of
//! ds would not overrule a drop there. Otherwise, ds has separate tables, which interfere least.

mod iptables;
mod nftables;
mod replace;
pub mod rules;

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Error, Result, bail};
use serde::{Deserialize, Serialize};

use self::iptables::Programs;
use self::nftables::BuiltIn;
use self::rules::Rule;
use crate::netlink::Netlink;

/// `NFPROTO_IPV4`, to iptables-nft.
const IPV4: u8 = 2;

/// A way to filter packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// nf_tables, by the kernel's own interface.
    Nftables,
    /// iptables in the variant that the system prefers.
    Iptables,
    /// iptables on nf_tables.
    IptablesNft,
    /// The old iptables, without nf_tables.
    IptablesLegacy,
}

impl Way {
    fn suffix(self) -> &'static str {
        match self {
            Self::Nftables | Self::Iptables => "",
            Self::IptablesNft => "-nft",
            Self::IptablesLegacy => "-legacy",
        }
    }

    /// Its name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        if self == Self::Nftables { "nf_tables" } else { "iptables" }
    }
}

/// The selected packet filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firewall {
    /// Its kind.
    pub way: Way,
    /// It also translates IPv6 addresses.
    pub ipv6: bool,
    /// Tables and chains of iptables-nft that existed before.
    #[serde(default)]
    before: Vec<BuiltIn>,
}

impl Firewall {
    /// Selects one according to the kernel and the programs of the machine.
    ///
    /// # Errors
    /// If neither of them has a packet filter.
    pub fn choose() -> Result<Self> {
        let tables = nftables::tables();
        let ipv6 = fs::exists("/proc/sys/net/ipv6/conf/all").unwrap_or(false);
        let mut ways = way(tables.as_ref().map(Vec::as_slice).ok(), &legacy_tables());
        let way = ways.find(|way| *way == Way::Nftables || Programs::find(true, way.suffix()).is_some());
        match way {
            Some(Way::Nftables) => Ok(Self { way: Way::Nftables, ipv6, before: Vec::new() }),
            Some(way) => {
                let before = nftables::built_in().unwrap_or_default();
                let nat = Programs::find(false, way.suffix()).and_then(|programs| programs.table("nat"));
                Ok(Self { way, ipv6: ipv6 && nat.is_some(), before })
            }
            None => bail!(
                "the kernel has no nf_tables and the machine no iptables-restore, one of which network.mode = nat needs; use host or none"
            ),
        }
    }

    /// Replaces the rules of ds by these.
    ///
    /// # Errors
    /// If the kernel lacks a feature, or a program refuses.
    pub fn apply(&self, name: &str, rules: &[Rule], file: &Path) -> Result<()> {
        if self.way == Way::Nftables {
            return replace::apply(name, rules, file).context("set the packet filter's rules");
        }
        for ipv4 in [true, false] {
            let Some(programs) = Programs::find(ipv4, self.way.suffix()) else { continue };
            if !ipv4 && !self.ipv6 {
                continue;
            }
            let prefix = prefix(name);
            // Stock phones lack the match for the host's own addresses.
            let applied = programs.apply(&prefix, rules, None, file).or_else(|error| {
                let local = local_addresses().map_err(|_: Error| error)?;
                programs.apply(&prefix, rules, Some(&local), file)
            });
            applied.context("set the packet filter's rules")?;
        }
        Ok(())
    }

    /// Whether the rules of [`Firewall::apply`] exist.
    #[must_use]
    pub fn is_intact(&self, name: &str, rules: &[Rule], file: &Path) -> bool {
        if self.way == Way::Nftables {
            return replace::is_intact(name, rules, file).unwrap_or(false);
        }
        let local = local_addresses().unwrap_or_default();
        [true, false].into_iter().filter(|ipv4| *ipv4 || self.ipv6).all(|ipv4| {
            let programs = Programs::find(ipv4, self.way.suffix());
            programs.is_none_or(|programs| programs.is_intact(&prefix(name), rules, &local))
        })
    }

    /// Removes the rules of ds.
    ///
    /// # Errors
    /// If the kernel or a program refuses.
    pub fn remove(&self, name: &str, file: &Path) -> Result<()> {
        if self.way == Way::Nftables {
            let _ = fs::remove_file(file);
            return nftables::remove(name);
        }
        for ipv4 in [true, false] {
            match Programs::find(ipv4, self.way.suffix()) {
                Some(programs) if ipv4 || self.ipv6 => programs.remove(&prefix(name), file)?,
                _ => {}
            }
        }
        if nftables::tables().is_ok() { nftables::remove_built_in(&self.before) } else { Ok(()) }
    }
}

/// The prefix of chains of ds in shared tables; names have at most 28 characters.
fn prefix(name: &str) -> String {
    match name.split_once('-') {
        Some((_, root)) => format!("ds-{}-", root.get(..8).unwrap_or(root)),
        None => "ds-".to_owned(),
    }
}

/// The filters to try, the best first. `tables` are those of nf_tables, if the kernel has it.
fn way(tables: Option<&[(u8, String)]>, legacy: &[String]) -> impl Iterator<Item = Way> + use<> {
    let is_filter = |(family, name): &(u8, String)| *family == IPV4 && name == "filter";
    let nft = tables.is_some_and(|tables| tables.iter().any(is_filter));
    let old = legacy.iter().any(|name| name == "filter");
    let list = [
        nft.then_some(Way::IptablesNft),
        old.then_some(Way::IptablesLegacy),
        (nft || old).then_some(Way::Iptables),
        tables.map(|_| Way::Nftables),
        Some(Way::Iptables),
    ];
    list.into_iter().flatten()
}

/// The tables of the old iptables that are in use in this network namespace.
fn legacy_tables() -> Vec<String> {
    let names = fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
    names.lines().map(str::to_owned).collect()
}

/// The host's own IPv4 addresses.
fn local_addresses() -> Result<Vec<IpAddr>> {
    Ok(Netlink::route()?.addresses()?.into_iter().map(|(_, own)| IpAddr::V4(own.address())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_is_the_one_that_is_in_use() {
        let filter = [(IPV4, "filter".to_owned())];
        let old = ["nat".to_owned(), "filter".to_owned()];
        let first = |tables: Option<&[(u8, String)]>, legacy: &[String]| way(tables, legacy).next();
        assert_eq!(first(Some(&[]), &[]), Some(Way::Nftables));
        assert_eq!(first(Some(&filter), &[]), Some(Way::IptablesNft));
        assert_eq!(first(Some(&[(10, "filter".to_owned())]), &[]), Some(Way::Nftables));
        assert_eq!(first(Some(&[]), &old), Some(Way::IptablesLegacy));
        assert_eq!(first(Some(&[]), &old[..1]), Some(Way::Nftables));
        assert_eq!(first(None, &[]), Some(Way::Iptables));
        assert_eq!(
            (prefix("droidspaces"), prefix("droidspaces-0123456789abcdef")),
            ("ds-".into(), "ds-01234567-".into())
        );
    }
}
