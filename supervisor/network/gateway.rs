//! `network.mode = gateway`: containers whose router is another container.
//!
//! Decides which container is the router of which network, and connects it: when it starts, and when the first client
//! of a network starts. Needs nothing on the host: neither a packet filter nor forwarding nor routing rules.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};

use super::attach::{Attachment, answers, member, network};
use super::identity::{Tag, mac};
use super::link::Mac;
use super::names::Names;
use super::segment::{self, Leg};
use super::store::{Gateway, Member, Store};
use super::subnet::Subnet;
use super::wiring::pair_with;
use crate::config::value::{Name, NameServers, NetworkMode, Uuid};
use crate::config::{Config, Kind};
use crate::fault;
use crate::host::Host;
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
fn check(config: &Config, gateway: &Gateway, paths: &Paths) -> Result<Config> {
    let name = &gateway.container;
    if *name == config.name {
        bail!("network.gateway: {name} is the container itself; name the container that is its router");
    }
    let load = |name: &Name| Config::load(&paths.container_ini(name), name);
    let found = match load(name) {
        Err(error) if error.kind() == Kind::NotFound => {
            bail!("network.gateway: there is no container {name}; create it, or name another one")
        }
        found => found.with_context(|| format!("network.gateway: {name}"))?,
    };
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
        next = load(&further.container).ok().as_ref().and_then(Gateway::of);
        seen.push(further.container);
    }
    Ok(found)
}

/// The link-layer address of a gateway in a network.
fn mac_of(uuid: &Uuid, network: &Name) -> Mac {
    mac(&Uuid::derived_from(&format!("{uuid} {network}")))
}

impl Attachment {
    /// Creates a network namespace whose `eth0` leads only to the gateway.
    ///
    /// # Errors
    /// If the gateway cannot be the router, or the kernel lacks a feature. Nothing is then left behind.
    pub(super) fn behind(
        gateway: Gateway,
        (config, servers): (&Config, &[IpAddr]),
        (store, others): (&Store, &[Member]),
        (paths, host): (&Paths, &Host),
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let router = check(config, &gateway, paths)?;
        let (route, tag) = (Netlink::route()?, Tag::of(paths));
        let network = network(store, config, &route, &tag, others)?;
        let address = network.leases.get(&config.container.uuid).copied().context("no address")?;
        let mut own = member(config, &network, address, (mac(&config.container.uuid), false))?;
        own.gateway = Some(gateway);
        own.bridge = Some(segment::BRIDGE.to_owned());
        let segment = segment::open(&own.network, others)?;
        segment::remove_port(&segment, &own.interface)?;
        let (namespace, here) = pair_with(&own, Some(&segment), segment::MTU, host.android)?;
        own.namespace = Some(namespace.as_raw_fd());
        let asked = match &config.network.dns {
            NameServers::Auto => vec![network.subnet.gateway().into()],
            _ => servers.to_vec(),
        };
        let server =
            segment::connect(&segment, &own, warnings, |route| answers(route, &own, &asked, segment::MTU))?;
        match others.iter().find(|other| other.name == router.name) {
            Some(running) if !segment::is_connected(&segment)? => {
                let leg = leg(&own, &router).context("no gateway")?;
                segment::connect_gateway(&segment, &running.open_namespace()?, &leg)?;
            }
            Some(_) => {}
            None => warnings.push(format!(
                "network.gateway: {} is not running; packets leave only while it runs",
                router.name
            )),
        }
        let mut segments = connect_clients(config, &mut own, &namespace, (store, others), &route, warnings);
        own.segments.insert(own.network.clone(), segment.as_raw_fd());
        segments.insert(own.network.clone(), segment);
        store.join(&own)?;
        fault::point("joined-network")?;
        let names = Some(Names::begin(config, paths));
        Ok(Self {
            paths: paths.clone(),
            member: own,
            temporary: None,
            namespace,
            own: here,
            names,
            answers: server,
            segments,
        })
    }

    /// Makes its gateway the name server of a container that follows the machine's.
    pub fn point_name_servers(&self, config: &mut Config) {
        if self.member.gateway.is_some() && config.network.dns == NameServers::Auto {
            config.network.dns = NameServers::These(vec![self.member.subnet.gateway().into()]);
        }
    }

    /// Keeps the segments of clients that have started later, so that the interface of a gateway outlives its last
    /// client.
    pub(super) fn keep_segments(&mut self) {
        let lacks = |member: &Member, kept: &Segments| {
            let is_client = member.gateway.as_ref().is_some_and(|it| it.container == self.member.name);
            is_client && !kept.contains_key(&member.network)
        };
        if !super::store::members(&self.paths).iter().any(|member| lacks(member, &self.segments)) {
            return;
        }
        let kept = Store::open(&self.paths).and_then(|store| {
            let members = store.members();
            let mut own = members.iter().find(|member| member.name == self.member.name).cloned();
            for client in &members {
                if lacks(client, &self.segments) {
                    let segment = client.open_segment(&client.network)?;
                    own.iter_mut().for_each(|own| {
                        own.segments.insert(client.network.clone(), segment.as_raw_fd());
                    });
                    self.segments.insert(client.network.clone(), segment);
                }
            }
            own.map_or(Ok(()), |own| store.join(&own))
        });
        if let Err(error) = kept {
            log::warn!("{}: networks of its containers: {error:#}", self.member.name);
        }
    }
}

/// The interface of a gateway in the network of a client.
fn leg<'a>(client: &'a Member, gateway: &'a Config) -> Option<Leg<'a>> {
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
