//! The attachment of a container behind a gateway, and of the gateway to the networks of clients that start later.
//!
//! Owns the client's namespace, and the segments that a monitor keeps. `gateway` decides, `segment` connects.

use std::net::IpAddr;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};

use super::attach::Attachment;
use super::gateway::{Segments, check, connect_clients, leg};
use super::identity::{Tag, mac};
use super::names::Names;
use super::place::{answers, member, network};
use super::segment;
use super::store::{Gateway, Member, Store};
use super::wiring::pair_with;
use crate::config::Config;
use crate::config::value::NameServers;
use crate::fault;
use crate::host::Host;
use crate::netlink::Netlink;
use crate::paths::Paths;

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
            segment::connect(&segment, &own, warnings, |link| answers(link, &own, &asked, segment::MTU))?;
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
