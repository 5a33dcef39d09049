//! The records of networks: subnets and leases in the data directory, current members in the run directory.
//!
//! Owns these files and their lock. A member is valid while its monitor lives; the next process removes the entry of a
//! killed one. Changes nothing else on the host.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::link::Mac;
use super::member::interface_identifier;
pub use super::member::{Gateway, Member, NETWORK_6};
use super::subnet::Subnet;
use crate::config::Config;
use crate::config::value::{Name, Uuid};
use crate::durable;
use crate::paths::{self, Paths, names_in};
use crate::proc_stat;

/// The maximum size of a file, in bytes.
const LIMIT: u64 = 4 << 20;
/// How long one process may hold the lock; it needs milliseconds, or seconds with the old iptables on a phone.
const LONGEST_HOLD: Duration = Duration::from_secs(15);
/// The maximum interval between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(5);
/// The name of the lock in the run directory.
const LOCK: &str = "lock";
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

/// Waits for the lock. A holder leaves its process ID in the file, so each change of the file is progress. A worker that
/// is stopped for so long is killed, because it may have no client that does so.
fn locked(path: &Path, longest: Duration) -> Result<Flock<File>> {
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(MODE).open(path);
    let mut file = file.with_context(|| format!("open {}", path.display()))?;
    let (mut pause, mut holder, mut since) = (Duration::from_millis(1), None, Instant::now());
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                // On a full disk, the lock works without the number.
                let _ =
                    lock.set_len(0).and_then(|()| lock.write_all_at(process::id().to_string().as_bytes(), 0));
                return Ok(lock);
            }
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => file,
            Err((_, errno)) => return Err(errno).with_context(|| format!("lock {}", path.display())),
        };
        let changed = file.metadata()?.modified().ok();
        if changed != holder {
            (holder, since) = (changed, Instant::now());
        } else if since.elapsed() > longest {
            let mut text = [0; 16];
            let length = file.read_at(&mut text, 0)?;
            let pid = String::from_utf8_lossy(&text[..length]).into_owned();
            if !end_stopped_worker(&pid) {
                bail!("process {pid} has held {} for {} s; end it", path.display(), longest.as_secs());
            }
            since = Instant::now();
        }
        sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Kills a worker that is stopped; returns whether it was one.
fn end_stopped_worker(pid: &str) -> bool {
    let stat = proc_stat::read(&format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_one = stat.contains(" (ds:worker) ") && proc_stat::is_stopped(&stat);
    let process = pid.parse().ok().filter(|_| is_one);
    process.is_some_and(|process| kill(Pid::from_raw(process), Signal::SIGKILL).is_ok())
}

/// The files of all networks, under the lock.
#[derive(Debug)]
pub struct Store {
    paths: Paths,
    _lock: Flock<File>,
}

impl Store {
    /// The directories of ds.
    #[must_use]
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Waits for the lock.
    ///
    /// # Errors
    /// If the directories cannot be created, or one process has held the lock for too long.
    pub fn open(paths: &Paths) -> Result<Self> {
        for directory in [paths.networks(), paths.network_members()] {
            paths::create_private(&directory)?;
        }
        let path = paths.network_members().join(LOCK);
        let lock = locked(&path, LONGEST_HOLD)?;
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
        recorded(&self.paths, name)
    }

    /// Records a network. If addresses run short, removes leases of deleted containers.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn remember(&self, name: &Name, network: &Network) -> Result<()> {
        write(&network_file(&self.paths, name), network)
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

    /// The configurations of the containers whose gateway is this one.
    #[must_use]
    pub fn clients_of(&self, gateway: &Name) -> Vec<Config> {
        let names = names_in(&self.paths.containers());
        let clients = names.iter().filter_map(|name| {
            let file = self.paths.container_ini(name);
            // Most containers have none: their files are not parsed.
            std::fs::read_to_string(&file).ok().filter(|text| text.contains("gateway"))?;
            let config = Config::load(&file, name).ok()?;
            Gateway::of(&config).is_some_and(|it| it.container == *gateway).then_some(config)
        });
        clients.collect()
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
        let _ = std::fs::remove_file(self.changes_file());
    }

    /// Records the names and addresses of the members. The monitors read them again when this file changes, so that a
    /// change of anything else wakes no other container.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn announce(&self, members: &[Member]) -> Result<()> {
        if members.is_empty() {
            let _ = std::fs::remove_file(self.paths.network_members().join(NEIGHBOURS));
            return Ok(());
        }
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

fn network_file(paths: &Paths, name: &Name) -> PathBuf {
    paths.networks().join(format!("{name}.json"))
}

/// The record of a network, without the lock.
///
/// # Errors
/// If the file is damaged.
pub fn recorded(paths: &Paths, name: &Name) -> Result<Option<Network>> {
    read(&network_file(paths, name))
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
