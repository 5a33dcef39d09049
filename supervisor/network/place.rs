//! The place of a container in a network: its addresses, its entry in the list of members, and the answers to its
//! requests for addresses.
//!
//! Owns the choice of the network's addresses and of the container's. Creates no interface.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use nix::unistd::getpid;

use super::advertise::Prefix;
use super::answers::Server;
use super::dhcp::Lease;
use super::identity::{Tag, interface_name, random_prefix};
use super::link::{Link, Mac};
use super::store::{Member, Network, Store};
use super::subnet::{self, Subnet};
use crate::config::Config;
use crate::config::value::{NetworkMode, Uplink, Uuid, VpnPolicy};
use crate::netlink::Netlink;
use crate::proc_stat;

/// The entry of a container in the list of members, without its connection.
pub(super) fn member(
    config: &Config,
    network: &Network,
    address: Ipv4Addr,
    (mac, ipv6): (Mac, bool),
) -> Result<Member> {
    let mut member = Member {
        name: config.name.clone(),
        hostname: config.hostname().to_string(),
        network: config.network.name.clone(),
        subnet: network.subnet,
        address,
        address6: ipv6.then(|| network.address6(address, &mac)),
        mac,
        interface: interface_name(&config.name, &mac),
        bridge: None,
        ports: Vec::new(),
        isolated: false,
        host_access: false,
        uplink: Uplink::Auto,
        vpn: VpnPolicy::Follow,
        ways: Vec::new(),
        namespace: None,
        gateway: None,
        segments: BTreeMap::new(),
        monitor: this_process()?,
    };
    member.follow(config);
    Ok(member)
}

/// The requested network with an address for the container; recorded.
pub(super) fn network(
    store: &Store,
    config: &Config,
    route: &Netlink,
    tag: &Tag,
    others: &[Member],
) -> Result<Network> {
    let name = &config.network.name;
    let pinned = config.network.address;
    let in_use = others.iter().any(|member| member.network == *name);
    let known = store.network(name)?;
    let recorded = known.clone();
    let mut network = match known {
        Some(network) if in_use => network,
        known => {
            let mut taken = store.subnets_beside(name);
            // The host has no route to the network of a gateway.
            let is_apart = config.network.mode == NetworkMode::Gateway;
            if !is_apart || known.is_none() && pinned.is_none() {
                taken.extend(self::taken(route, tag)?);
            }
            let fresh = || -> Result<Network> {
                let asked = pinned.map(Subnet::around).filter(|subnet| subnet::is_free(*subnet, &taken));
                let subnet = asked.or_else(|| subnet::choose(&taken));
                let subnet =
                    subnet.context("every private network that ds tries is in use on this machine")?;
                Ok(Network { subnet, prefix: random_prefix()?, leases: BTreeMap::new() })
            };
            match known {
                Some(network) if subnet::is_free(network.subnet, &taken) => {
                    // A network without leases may move to the requested address.
                    let uuid = &config.container.uuid;
                    let unused = network.leases.keys().all(|other| other == uuid);
                    let moves = pinned.is_some_and(|pinned| unused && !network.subnet.contains(pinned));
                    if moves { fresh()? } else { network }
                }
                Some(network) => {
                    let new = fresh()?;
                    log::warn!(
                        "network {name}: {} is in use on this machine; using {} instead",
                        network.subnet,
                        new.subnet
                    );
                    new
                }
                None => fresh()?,
            }
        }
    };
    // Temporary containers have no configuration, and thus no permanent addresses.
    let held = network.leases.clone().into_iter();
    let held = held.filter(|(_, address)| others.iter().any(|member| member.address == *address));
    let held: Vec<Uuid> = held.map(|(uuid, _)| uuid).collect();
    network.lease(&config.container.uuid, pinned, &|| [store.containers(), held.clone()].concat())?;
    if recorded.as_ref() != Some(&network) {
        store.remember(name, &network)?;
    }
    Ok(network)
}

/// The addresses in use on this machine in any routing table, except those of ds.
fn taken(route: &Netlink, tag: &Tag) -> Result<Vec<Subnet>> {
    let links = route.links()?;
    let ours = |index: u32| links.iter().any(|link| link.index == index && tag.owns(link));
    let routes = route.routes()?.into_iter().filter(|route| !route.out.is_some_and(ours));
    let routes = routes.map(|route| route.to).filter(|to| to.length() > 0);
    let addresses = route.addresses()?.into_iter().filter(|(index, _)| !ours(*index));
    Ok(routes.chain(addresses.map(|(_, own)| own)).collect())
}

/// Serves programs in the container with its existing settings.
pub(super) fn answers(link: &Link, member: &Member, servers: &[IpAddr], mtu: u32) -> Result<Server> {
    let six = |server: &IpAddr| if let IpAddr::V6(server) = server { Some(*server) } else { None };
    let four = |server: &IpAddr| if let IpAddr::V4(server) = server { Some(*server) } else { None };
    let lease = Lease {
        mac: member.mac,
        address: member.address,
        subnet: member.subnet,
        servers: servers.iter().filter_map(four).collect(),
        hostname: member.hostname.clone(),
        mtu: u16::try_from(mtu)?,
    };
    let prefix = member.prefix6().map(|prefix| Prefix {
        mac: member.mac,
        prefix,
        servers: servers.iter().filter_map(six).collect(),
        mtu: lease.mtu,
    });
    Server::listen(link.index, lease, prefix)
}

/// The identity of this monitor for other processes.
fn this_process() -> Result<(i32, u64)> {
    let text = std::fs::read_to_string("/proc/self/stat").context("read /proc/self/stat")?;
    Ok((getpid().as_raw(), proc_stat::start_time(&text).context("/proc/self/stat has no start time")?))
}
