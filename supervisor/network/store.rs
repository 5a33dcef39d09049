//! The records of networks: subnets and leases in the data directory, current members in the run directory.
//!
//! Owns these files and their lock. A member is valid while its monitor lives; the next process removes the entry of a
//! killed one. Changes nothing else on the host.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::{Flock, FlockArg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::link::Mac;
use super::subnet::Subnet;
use crate::config::Config;
use crate::config::value::{Name, Publication, Uplink, Uuid, VpnPolicy};
use crate::durable;
use crate::paths::{self, Paths, names_in};
use crate::proc_stat;

/// The maximum size of a file, in bytes.
const LIMIT: u64 = 4 << 20;
/// The name of the lock in the run directory.
const LOCK: &str = "lock";
/// The length of the IPv6 prefix of a network.
pub const NETWORK_6: u8 = 48;
/// The file with the names of members in the run directory.
pub const NEIGHBOURS: &str = "neighbours";
/// Permission bits of files.
const MODE: u32 = 0o600;

/// The permanent record of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its IPv4 addresses.
    pub subnet: Subnet,
    /// Its IPv6 prefix of 48 bits: random, RFC 4193. Each container has a prefix of 64 bits in it.
    pub prefix: Ipv6Addr,
    /// The addresses of containers, by UUID.
    #[serde(default)]
    pub leases: BTreeMap<Uuid, Ipv4Addr>,
}

/// A container that is currently in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: Name,
    /// Its host name.
    pub hostname: String,
    /// The network's name.
    pub network: Name,
    /// Its network's addresses.
    pub subnet: Subnet,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its IPv6 address; `None` if the host cannot translate IPv6.
    pub address6: Option<Ipv6Addr>,
    /// The link-layer address of its eth0.
    pub mac: Mac,
    /// The host's end of its link.
    pub interface: String,
    /// The bridge of the link; `None` for a routed link.
    pub bridge: Option<String>,
    /// Its published ports.
    pub ports: Vec<Publication>,
    /// Isolated from other members.
    pub isolated: bool,
    /// May reach services of the host.
    pub host_access: bool,
    /// Process ID of its monitor, and its start time in clock ticks after boot.
    pub monitor: (i32, u64),
    /// Its uplink.
    #[serde(default)]
    pub uplink: Uplink,
    /// Its policy for virtual private networks.
    #[serde(default = "follow")]
    pub vpn: VpnPolicy,
    /// The interfaces that its packets may currently use, in order; empty if the machine's own rules apply.
    #[serde(default)]
    pub ways: Vec<String>,
    /// The number of its monitor's descriptor of the container's network namespace.
    #[serde(default)]
    pub namespace: Option<i32>,
}

/// The default for a member that an older program has written.
fn follow() -> VpnPolicy {
    VpnPolicy::Follow
}

impl Member {
    /// The host's interface towards it.
    #[must_use]
    pub fn behind(&self) -> &str {
        self.bridge.as_deref().unwrap_or(&self.interface)
    }

    /// The addresses of its network in one family.
    #[must_use]
    pub fn prefix(&self, ipv4: bool) -> Option<(IpAddr, u8)> {
        if ipv4 {
            return Some((self.subnet.first().into(), Subnet::LENGTH));
        }
        let prefix = u128::from(self.address6?) >> 80 << 80;
        Some((Ipv6Addr::from(prefix).into(), NETWORK_6))
    }

    /// Its own prefix of 64 bits.
    #[must_use]
    pub fn prefix6(&self) -> Option<Ipv6Addr> {
        Some(Ipv6Addr::from(u128::from(self.address6?) >> 64 << 64))
    }

    /// The addresses in one family that it may send with.
    #[must_use]
    pub fn own(&self, ipv4: bool) -> Option<(IpAddr, u8)> {
        if ipv4 { Some((self.address.into(), 32)) } else { Some((self.prefix6()?.into(), 64)) }
    }

    /// The address of its link under which the host knows it.
    #[must_use]
    pub fn link_local(&self) -> Ipv6Addr {
        Ipv6Addr::from(0xfe80 << 112 | interface_identifier(&self.mac))
    }

    /// Whether its packets may only leave through its own uplink.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.uplink != Uplink::Auto || self.vpn == VpnPolicy::Only
    }

    /// Its addresses.
    pub fn all_addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        [Some(IpAddr::V4(self.address)), self.address6.map(IpAddr::V6)].into_iter().flatten()
    }

    /// The container's network namespace.
    ///
    /// # Errors
    /// If its monitor has ended.
    pub fn open_namespace(&self) -> Result<File> {
        let number = self.namespace.context("the namespace is not known")?;
        let path = format!("/proc/{}/fd/{number}", self.monitor.0);
        let namespace = File::open(&path).with_context(|| format!("open {path}"))?;
        // Checked afterwards, because another process may have got the process id.
        if self.is_alive() { Ok(namespace) } else { bail!("its monitor has ended") }
    }

    fn is_alive(&self) -> bool {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.monitor.0)).unwrap_or_default();
        let dead = matches!(proc_stat::field(&text, 3), None | Some("Z" | "X"));
        !dead && proc_stat::start_time(&text) == Some(self.monitor.1)
    }

    /// Applies settings that may change while it runs.
    pub fn follow(&mut self, config: &Config) {
        self.ports = config.network.ports.as_slice().to_vec();
        self.isolated = config.network.isolated;
        self.host_access = config.network.host_access;
        self.uplink = config.network.uplink.clone();
        self.vpn = config.network.vpn;
    }
}

/// The files of all networks, under the lock.
#[derive(Debug)]
pub struct Store {
    paths: Paths,
    _lock: Flock<File>,
}

impl Store {
    /// Waits for the lock.
    ///
    /// # Errors
    /// If the directories cannot be created.
    pub fn open(paths: &Paths) -> Result<Self> {
        for directory in [paths.networks(), paths.network_members()] {
            paths::create_private(&directory)?;
        }
        let path = paths.network_members().join(LOCK);
        let file = OpenOptions::new().create(true).append(true).mode(MODE).open(&path);
        let file = file.with_context(|| format!("open {}", path.display()))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive);
        let lock = lock.map_err(|(_, errno)| anyhow!("lock {}: {errno}", path.display()))?;
        Ok(Self { paths: paths.clone(), _lock: lock })
    }

    /// Whether the run directory contains records of networks.
    #[must_use]
    pub fn is_used(paths: &Paths) -> bool {
        let entries = std::fs::read_dir(paths.network_members()).into_iter().flatten().filter_map(Result::ok);
        entries.into_iter().any(|entry| entry.file_name() != LOCK)
    }

    fn member_file(&self, name: &Name) -> PathBuf {
        self.paths.network_members().join(format!("{name}.json"))
    }

    /// The current members. Removes members without a monitor.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let members = members(&self.paths);
        let (alive, dead): (Vec<_>, Vec<_>) = members.into_iter().partition(Member::is_alive);
        for member in dead {
            log::info!(
                "{}: removed from network {}, because its monitor has ended",
                member.name,
                member.network
            );
            self.leave(&member.name);
        }
        alive
    }

    /// Adds a member.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn join(&self, member: &Member) -> Result<()> {
        write_volatile(&self.member_file(&member.name), member)
    }

    /// Removes a member.
    pub fn leave(&self, name: &Name) {
        let _ = std::fs::remove_file(self.member_file(name));
    }

    /// The record of a network.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn network(&self, name: &Name) -> Result<Option<Network>> {
        read(&self.network_file(name))
    }

    /// Records a network. If addresses run short, removes leases of deleted containers.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn remember(&self, name: &Name, network: &Network) -> Result<()> {
        write(&self.network_file(name), network)
    }

    /// Releases the address of a container.
    ///
    /// # Errors
    /// If the file is damaged or cannot be written.
    pub fn release(&self, name: &Name, uuid: &Uuid) -> Result<()> {
        let Some(mut network) = self.network(name)? else { return Ok(()) };
        if network.leases.remove(uuid).is_some() { self.remember(name, &network) } else { Ok(()) }
    }

    /// Subnets of the other networks.
    #[must_use]
    pub fn subnets_beside(&self, name: &Name) -> Vec<Subnet> {
        self.known()
            .filter(|other| other != name)
            .filter_map(|other| Some(self.network(&other).ok()??.subnet))
            .collect()
    }

    /// All recorded networks.
    #[must_use]
    pub fn networks(&self) -> Vec<Network> {
        self.known().filter_map(|name| self.network(&name).ok().flatten()).collect()
    }

    fn known(&self) -> impl Iterator<Item = Name> + use<> {
        let entries = std::fs::read_dir(self.paths.networks()).into_iter().flatten().filter_map(Result::ok);
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".json")?.parse::<Name>().ok())
    }

    /// The UUIDs of all existing containers.
    #[must_use]
    pub fn containers(&self) -> Vec<Uuid> {
        let load = |name: &Name| Config::load(&self.paths.container_ini(name), name).ok();
        names_in(&self.paths.containers())
            .iter()
            .filter_map(load)
            .map(|config| config.container.uuid)
            .collect()
    }

    fn network_file(&self, name: &Name) -> PathBuf {
        self.paths.networks().join(format!("{name}.json"))
    }

    /// The changes of the host for all networks.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn changes<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        read(&self.changes_file())
    }

    /// Records these changes.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn remember_changes(&self, changes: &impl Serialize) -> Result<()> {
        write_volatile(&self.changes_file(), changes)
    }

    /// Records that all changes were undone.
    pub fn forget_changes(&self) {
        for file in [self.changes_file(), self.paths.network_members().join(NEIGHBOURS)] {
            let _ = std::fs::remove_file(file);
        }
    }

    /// Records the names and addresses of the members. The monitors read them again when this file changes, so that a
    /// change of anything else wakes no other container.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn announce(&self, members: &[Member]) -> Result<()> {
        let new: Vec<Neighbour> = members.iter().map(Neighbour::of).collect();
        if new == neighbours(&self.paths) {
            return Ok(());
        }
        write_volatile(&self.paths.network_members().join(NEIGHBOURS), &new)
    }

    fn changes_file(&self) -> PathBuf {
        self.paths.network_members().join("host")
    }
}

/// What other containers may know about a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its name.
    pub name: Name,
    /// Its host name.
    pub hostname: String,
    /// The network's name.
    pub network: Name,
    /// Isolated from other members.
    pub isolated: bool,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl Neighbour {
    fn of(member: &Member) -> Self {
        Self {
            name: member.name.clone(),
            hostname: member.hostname.clone(),
            network: member.network.clone(),
            isolated: member.isolated,
            addresses: member.all_addresses().collect(),
        }
    }
}

/// The names and addresses of the members, without the lock.
#[must_use]
pub fn neighbours(paths: &Paths) -> Vec<Neighbour> {
    read(&paths.network_members().join(NEIGHBOURS)).ok().flatten().unwrap_or_default()
}

/// The members according to the files, without the lock, for display only.
#[must_use]
pub fn members(paths: &Paths) -> Vec<Member> {
    let entries = std::fs::read_dir(paths.network_members()).into_iter().flatten().filter_map(Result::ok);
    let files =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "json"));
    let mut members: Vec<Member> = files.filter_map(|path| read(&path).ok().flatten()).collect();
    members.sort_by(|one, other| one.name.cmp(&other.name));
    members
}

impl Network {
    /// The address of a container: the configured one, the previous one, or a free one.
    ///
    /// # Errors
    /// If the configured one is in use or in another network, or none is free.
    pub fn lease(
        &mut self,
        uuid: &Uuid,
        pinned: Option<Ipv4Addr>,
        existing: &dyn Fn() -> Vec<Uuid>,
    ) -> Result<Ipv4Addr> {
        if let Some(pinned) = pinned {
            if !self.subnet.contains(pinned) {
                let subnet = self.subnet;
                bail!("network.address: {pinned} is not in this network; use an address of {subnet}");
            }
            if self.leases.iter().any(|(other, address)| *address == pinned && other != uuid) {
                // A deleted container has no claim.
                let existing = existing();
                self.leases.retain(|other, _| existing.contains(other));
            }
            if self.leases.iter().any(|(other, address)| *address == pinned && other != uuid) {
                bail!("network.address: another container has {pinned}; use a different address");
            }
            self.leases.insert(*uuid, pinned);
            return Ok(pinned);
        }
        if let Some(address) = self.leases.get(uuid).filter(|address| self.subnet.contains(**address)) {
            return Ok(*address);
        }
        let free = |leases: &BTreeMap<Uuid, Ipv4Addr>| {
            let taken: Vec<_> = leases.values().collect();
            self.subnet.hosts().find(|address| !taken.contains(&address))
        };
        let found = match free(&self.leases) {
            Some(address) => Some(address),
            None => {
                let existing = existing();
                self.leases.retain(|other, _| existing.contains(other));
                free(&self.leases)
            }
        };
        let address = found.context("every address of the network is in use; use another network.name")?;
        self.leases.insert(*uuid, address);
        Ok(address)
    }

    /// The IPv6 address of the container with an IPv4 address: the one that it makes from the prefix of 64 bits that
    /// belongs to that address.
    #[must_use]
    pub fn address6(&self, address: Ipv4Addr, mac: &Mac) -> Ipv6Addr {
        let last = u128::from(address.octets()[3]);
        Ipv6Addr::from(u128::from(self.prefix) | last << 64 | interface_identifier(mac))
    }

    /// The host's IPv6 address in it.
    #[must_use]
    pub fn gateway6(&self) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(self.prefix) | 1)
    }
}

/// The modified EUI-64 of RFC 4291, appendix A.
fn interface_identifier(mac: &Mac) -> u128 {
    let [first, second, third, fourth, fifth, sixth] = *mac;
    u64::from_be_bytes([first ^ 2, second, third, 0xff, 0xfe, fourth, fifth, sixth]).into()
}

fn read<T: DeserializeOwned>(path: &std::path::Path) -> Result<Option<T>> {
    match durable::read(path, LIMIT) {
        // A power failure can empty a file of a run directory that is on a disk.
        Ok(bytes) if bytes.is_empty() => Ok(None),
        Ok(bytes) => {
            let read = serde_json::from_slice(&bytes);
            Ok(Some(read.with_context(|| format!("read {}; remove it", path.display()))?))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// For files that end with the run directory.
fn write_volatile(path: &std::path::Path, value: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(value)?;
    durable::replace(path, &bytes, MODE).with_context(|| format!("write {}", path.display()))
}

fn write(path: &std::path::Path, value: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(value)?;
    durable::write(path, &bytes, MODE).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
