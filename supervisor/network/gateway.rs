//! `network.mode = gateway`: containers whose router is another container.
//!
//! Decides which container is the router of which network, and connects it: when it starts, and when the first client
//! of a network starts. Needs nothing on the host: neither a packet filter nor forwarding nor routing rules.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};

use super::identity::{Tag, mac};
use super::link::Mac;
use super::place::network;
use super::segment::{self, Leg};
use super::store::{Gateway, Member, Store};
use super::subnet::Subnet;
use crate::config::value::{Name, NetworkMode, Uuid};
use crate::config::{Config, Kind};
use crate::netlink::Netlink;
use crate::paths::Paths;

/// The segments that a process keeps, by network.
pub(super) type Segments = BTreeMap<Name, OwnedFd>;

/// Refuses a network that already has another kind of router.
///
/// # Errors
/// If a member of the network does not fit.
pub(super) fn check_network(config: &Config, others: &[Member]) -> Result<()> {
    let network = &config.network.name;
    let wanted = Gateway::of(config);
    for member in others.iter().filter(|member| member.network == *network) {
        match (&wanted, &member.gateway) {
            (None, Some(gateway)) => {
                bail!("network.name: {network} is the network of gateway {gateway}; use another name")
            }
            (Some(_), None) => {
                bail!("network.name: {network} is the nat network of {}; use another name", member.name)
            }
            (Some(own), Some(other)) if own.container != other.container => bail!(
                "network.gateway: network {network} already has gateway {other}, which {} uses; use it, or another network.name",
                member.name
            ),
            (Some(own), Some(other)) if own.interface != other.interface => bail!(
                "network.gateway-interface: {other} has network {network} at {}; use the same name",
                other.interface
            ),
            _ => {}
        }
    }
    Ok(())
}

/// The router of a container with its configuration.
pub(super) fn check(config: &Config, gateway: &Gateway, paths: &Paths) -> Result<Config> {
    let name = &gateway.container;
    let found = find(config, name, paths)?;
    match found.network.mode {
        NetworkMode::Nat | NetworkMode::Gateway => {}
        mode => bail!("network.gateway: {name} has network.mode = {mode}; set it to nat there"),
    }
    if found.network.name == config.network.name {
        bail!("network.name: {name} is in {} itself; use another name", config.network.name);
    }
    // A gateway may be behind another gateway.
    let (mut seen, mut next) = (vec![config.name.clone()], Gateway::of(&found));
    while let Some(further) = next {
        if seen.contains(&further.container) {
            bail!("network.gateway: {name} is itself behind {}; remove the cycle", further.container);
        }
        next = load(&further.container, paths).ok().as_ref().and_then(Gateway::of);
        seen.push(further.container);
    }
    Ok(found)
}

/// The configuration of the container that another one names as its router.
pub(super) fn find(config: &Config, name: &Name, paths: &Paths) -> Result<Config> {
    if *name == config.name {
        bail!("network.gateway: {name} is the container itself; name the container that is its router");
    }
    match load(name, paths) {
        Err(error) if error.kind() == Kind::NotFound => {
            bail!("network.gateway: there is no container {name}; create it, or name another one")
        }
        found => found.with_context(|| format!("network.gateway: {name}")),
    }
}

fn load(name: &Name, paths: &Paths) -> Result<Config, crate::config::Error> {
    Config::load(&paths.container_ini(name), name)
}

/// The link-layer address of a gateway in a network.
fn mac_of(uuid: &Uuid, network: &Name) -> Mac {
    mac(&Uuid::derived_from(&format!("{uuid} {network}")))
}

/// The interface of a gateway in the network of a client.
pub(super) fn leg<'a>(client: &'a Member, gateway: &'a Config) -> Option<Leg<'a>> {
    Some(Leg {
        gateway: &gateway.name,
        interface: &client.gateway.as_ref()?.interface,
        mac: mac_of(&gateway.container.uuid, &client.network),
        subnet: client.subnet,
    })
}

/// Connects a container that starts with the networks whose gateway it is. Returns the segments, which it keeps; their
/// descriptors are added to its entry.
pub(super) fn connect_clients(
    config: &Config,
    own: &mut Member,
    namespace: &OwnedFd,
    (store, others): (&Store, &[Member]),
    route: &Netlink,
    warnings: &mut Vec<String>,
) -> Segments {
    let mut segments = Segments::new();
    for (network, (interface, subnet)) in networks(config, (store, others), route, warnings) {
        let connected = segment::open(&network, others).and_then(|segment| {
            let mac = mac_of(&config.container.uuid, &network);
            let leg = Leg { gateway: &config.name, interface: &interface, mac, subnet };
            segment::connect_gateway(&segment, namespace, &leg)?;
            Ok(segment)
        });
        match connected {
            Ok(segment) => {
                own.segments.insert(network.clone(), segment.as_raw_fd());
                segments.insert(network, segment);
            }
            Err(error) => {
                warnings.push(format!("containers of network {network} have no gateway: {error:#}"));
            }
        }
    }
    segments
}

/// The networks whose gateway a container is, with its interface there: those of running clients, and of configured
/// ones.
fn networks(
    config: &Config,
    (store, others): (&Store, &[Member]),
    route: &Netlink,
    warnings: &mut Vec<String>,
) -> BTreeMap<Name, (String, Subnet)> {
    let mut found = BTreeMap::new();
    for client in others {
        if let Some(gateway) = client.gateway.as_ref().filter(|gateway| gateway.container == config.name) {
            found.insert(client.network.clone(), (gateway.interface.clone(), client.subnet));
        }
    }
    for client in store.clients_of(&config.name) {
        let name = &client.network.name;
        if found.contains_key(name) || *name == config.network.name || check_network(&client, others).is_err()
        {
            continue;
        }
        let tag = Tag::of(store.paths());
        match network(store, &client, route, &tag, others) {
            Ok(network) => {
                let interface = client.network.gateway_interface.to_string();
                found.insert(name.clone(), (interface, network.subnet));
            }
            Err(error) => warnings.push(format!("{}: {error:#}", client.name)),
        }
    }
    found
}
