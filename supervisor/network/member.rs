//! A container that is in a network: its entry in the list of members.
//!
//! Owns the entry and what follows from it. Opens descriptors of the member's monitor, and changes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::link::Mac;
use super::subnet::Subnet;
use crate::config::Config;
use crate::config::value::{Name, NetworkMode, Publication, Uplink, VpnPolicy};
use crate::proc_stat;

/// The length of the IPv6 prefix of a network.
pub const NETWORK_6: u8 = 48;

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
    /// Its router, with `network.mode = gateway`. The host has nothing of such a member.
    #[serde(default)]
    pub gateway: Option<Gateway>,
    /// The segments that its monitor keeps, by network: the numbers of the monitor's descriptors.
    #[serde(default)]
    pub segments: BTreeMap<Name, i32>,
}

/// A container that is the router of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// Its name.
    pub container: Name,
    /// Its interface in the network.
    pub interface: String,
}

impl Gateway {
    /// The one that a container is configured to use.
    #[must_use]
    pub fn of(config: &Config) -> Option<Self> {
        let network = &config.network;
        let container = network.gateway.clone().filter(|_| network.mode == NetworkMode::Gateway)?;
        Some(Self { container, interface: network.gateway_interface.to_string() })
    }
}

impl fmt::Display for Gateway {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.container.fmt(formatter)
    }
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
    pub fn open_namespace(&self) -> Result<OwnedFd> {
        self.open(self.namespace.context("the namespace is not known")?)
    }

    /// The segment of a network, which its monitor keeps.
    ///
    /// # Errors
    /// If it keeps none, or has ended.
    pub fn open_segment(&self, network: &Name) -> Result<OwnedFd> {
        self.open(*self.segments.get(network).context("it keeps no segment")?)
    }

    /// A descriptor of its monitor.
    fn open(&self, number: i32) -> Result<OwnedFd> {
        let path = format!("/proc/{}/fd/{number}", self.monitor.0);
        let namespace = File::open(&path).with_context(|| format!("open {path}"))?;
        // Checked afterwards, because another process may have got the process id.
        if self.is_alive() { Ok(namespace.into()) } else { bail!("its monitor has ended") }
    }

    pub(super) fn is_alive(&self) -> bool {
        // Nearly every change asks this of all members. The kernel returns the line in one read.
        let mut line = [0; 1024];
        let file = File::open(format!("/proc/{}/stat", self.monitor.0));
        let length = file.and_then(|mut file| file.read(&mut line)).unwrap_or_default();
        let text = String::from_utf8_lossy(&line[..length]);
        let dead = matches!(proc_stat::field(&text, 3), None | Some("Z" | "X"));
        !dead && proc_stat::start_time(&text) == Some(self.monitor.1)
    }

    /// Applies settings that may change while it runs.
    pub fn follow(&mut self, config: &Config) {
        let published = if self.gateway.is_none() { config.network.ports.as_slice() } else { &[] };
        self.ports = published.to_vec();
        self.isolated = config.network.isolated;
        self.host_access = config.network.host_access;
        self.uplink = config.network.uplink.clone();
        self.vpn = config.network.vpn;
    }
}

/// The modified EUI-64 of RFC 4291, appendix A.
pub(super) fn interface_identifier(mac: &Mac) -> u128 {
    let [first, second, third, fourth, fifth, sixth] = *mac;
    u64::from_be_bytes([first ^ 2, second, third, 0xff, 0xfe, fourth, fifth, sixth]).into()
}
