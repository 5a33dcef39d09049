//! The attachment of one container to a network, from before its first process until after its last.
//!
//! Owns the network namespace with `eth0`, the host's end of the link, and the link's bridge.

use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::unistd::{Pid, getpid};

use super::answers::Server;
use super::check::NO_GATEWAY;
use super::firewall::Firewall;
use super::gateway::{Segments, check_network, connect_clients};
use super::identity::{Tag, mac};
use super::link::Link;
use super::names::Names;
use super::place::{answers, member, network};
use super::ports;
use super::reconcile::{Changes, reconcile};
use super::store::{Gateway, Member, Store};
use super::wiring::{Inside, bridge, connect, pair};
use crate::call;
use crate::config::Config;
use crate::config::value::{NetworkMode, Uuid};
use crate::fault;
use crate::host::Host;
use crate::netlink::Netlink;
use crate::paths::Paths;
use crate::rootfs::root::Root;

/// The MTU without an uplink.
const USUAL_MTU: u32 = 1500;
/// The minimum MTU of IPv6, RFC 8200.
const LEAST_MTU: u32 = 1280;

/// The attachment of a container to a network. Dropping it undoes all changes of the host.
#[derive(Debug)]
pub struct Attachment {
    pub(super) paths: Paths,
    pub(super) member: Member,
    /// Whether its address is released afterwards.
    pub(super) temporary: Option<Uuid>,
    /// The container's namespace, and the caller's own.
    pub(super) namespace: OwnedFd,
    pub(super) own: OwnedFd,
    /// The names of the other containers in its /etc/hosts.
    pub(super) names: Option<Names>,
    /// Answers programs inside that ask for addresses; `None` if the kernel has no packet sockets.
    pub(super) answers: Option<Server>,
    /// The segments that it keeps, with a gateway or as a gateway.
    pub(super) segments: Segments,
}

impl Attachment {
    /// Creates a network namespace whose `eth0` is connected to the requested network, and the host's side of it.
    /// `servers` are the container's name servers. Deviations from the request are added to `warnings`.
    ///
    /// # Errors
    /// If the kernel lacks a feature, or an address or a port is in use. Nothing is then left behind.
    pub fn make(
        (config, servers): (&Config, &[IpAddr]),
        paths: &Paths,
        host: &Host,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let store = Store::open(paths)?;
        let (same, others): (Vec<Member>, Vec<Member>) =
            store.members().into_iter().partition(|member| member.name == config.name);
        if same.iter().any(|member| member.monitor.0 != getpid().as_raw()) {
            bail!("network.mode: a temporary container has the name {}; end it first", config.name);
        }
        check_network(config, &others)?;
        let (asked, members) = ((config, servers), (&store, others.as_slice()));
        let made = match (config.network.mode, Gateway::of(config)) {
            (NetworkMode::Gateway, None) => bail!(NO_GATEWAY),
            (_, Some(gateway)) => Self::behind(gateway, asked, members, (paths, host), warnings),
            (_, None) => Self::translated(asked, members, (paths, host), warnings),
        };
        if made.is_err() {
            store.leave(&config.name);
        }
        // Also after a failure, because the host's state follows from the list of members.
        let own = made.as_ref().ok().map(|made| made.member.clone());
        let reconciled = reconcile(&store, paths, others.into_iter().chain(own).collect());
        drop(store);
        // From here on, dropping the attachment undoes everything.
        let attachment = made?;
        reconciled?;
        Ok(attachment)
    }

    /// Connects the container to the host, which translates its addresses.
    fn translated(
        (config, servers): (&Config, &[IpAddr]),
        (store, others): (&Store, &[Member]),
        (paths, host): (&Paths, &Host),
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let (route, tag) = (Netlink::route()?, Tag::of(paths));
        let wanted = config.network.ports.as_slice();
        ports::check(wanted, others)?;
        let mut changes: Changes = store.changes()?.unwrap_or(Changes::new(Firewall::choose()?));
        let network = network(store, config, &route, &tag, others)?;
        let address = network.leases.get(&config.container.uuid).copied().context("no address")?;
        let ipv6 = changes.firewall.ipv6;
        if !ipv6 {
            warnings.push(
                "the packet filter cannot translate IPv6 addresses: the container has only IPv4".into(),
            );
        }
        let settings = changes.forwarding.record(host.android, ipv6)?;
        store.remember_changes(&changes)?;
        let mtu = uplink_mtu(&route)?;
        let mut member = member(config, &network, address, (mac(&config.container.uuid), ipv6))?;
        changes.forwarding.enable(&settings)?;
        let bridge = bridge(&route, &tag, &network, &config.network.name, ipv6, mtu, others)?;
        member.bridge = bridge.as_ref().map(|bridge| bridge.name.clone());
        let (namespace, own, link) = pair(&route, &tag, &member, mtu, host.android)?;
        member.namespace = Some(namespace.as_raw_fd());
        connect(&route, (&member, &link), bridge.as_ref(), warnings)?;
        let answers = answers(&link, &member, servers, mtu);
        if let Err(error) = &answers {
            warnings.push(format!("requests of the container for addresses are not answered: {error:#}"));
        }
        let segments = connect_clients(config, &mut member, &namespace, (store, others), &route, warnings);
        store.join(&member)?;
        fault::point("joined-network")?;
        let (paths, names) = (paths.clone(), Some(Names::begin(config, paths)));
        Ok(Self { paths, member, temporary: None, namespace, own, names, answers: answers.ok(), segments })
    }

    /// The same for a container that ends with this process and leaves no record. Its address is static: DHCP clients
    /// get no answer.
    ///
    /// # Errors
    /// See [`Attachment::make`].
    pub fn temporary(
        config: &Config,
        paths: &Paths,
        host: &Host,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let mut config = config.clone();
        config.container.hostname = Some(config.hostname());
        // A name that is unique at any time.
        config.name = format!("shell-{}", getpid()).parse()?;
        let mut made = Self::make((&config, &[]), paths, host, warnings)?;
        made.temporary = Some(config.container.uuid);
        made.answers = None;
        made.names = None;
        Ok(made)
    }

    /// Enters the container's network namespace until the result is dropped.
    ///
    /// # Errors
    /// If setns(2) fails.
    pub fn enter(&self) -> Result<Inside<'_>> {
        call!(setns(&self.namespace, CloneFlags::CLONE_NEWNET), "setns(the container's network)")?;
        Ok(Inside(&self.own))
    }

    /// Readable when a DHCP client has sent a request.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.answers.as_ref().and_then(Server::fd)
    }

    /// Answers DHCP clients.
    pub fn serve(&mut self) {
        self.answers.iter_mut().for_each(Server::serve);
    }

    /// The lines for /etc/hosts with which the container begins.
    pub fn first_names(&mut self) -> String {
        self.names.as_mut().map(Names::first).unwrap_or_default()
    }

    /// The names or addresses of other containers have changed.
    pub fn neighbours_changed(&mut self) {
        self.names.iter_mut().for_each(Names::changed);
        self.keep_segments();
    }

    /// When [`Attachment::follow`] must be called.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let answers = self.answers.as_ref().and_then(Server::due);
        self.names.as_ref().and_then(Names::due).into_iter().chain(answers).min()
    }

    /// Writes what has changed into the running container and renews what it has been told, if it is time.
    pub fn follow(&mut self, init: Pid) {
        self.answers.iter_mut().for_each(Server::resume);
        if let Some(names) = &mut self.names {
            names.follow(init);
        }
    }

    /// Removes the changes of [`Attachment::follow`] from the tree of a container that has ended.
    pub fn end(self, root: &Root) {
        if let Some(names) = &self.names {
            names.end(root);
        }
    }

    /// The container's addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let six = self.member.address6.iter().map(Ipv6Addr::to_string);
        std::iter::once(self.member.address.to_string()).chain(six).collect()
    }

    /// The container's entry in the list of members.
    #[must_use]
    pub fn member(&self) -> &Member {
        &self.member
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let left = Store::open(&self.paths).and_then(|store| {
            store.leave(&self.member.name);
            self.member.forget_neighbours();
            if let Some(uuid) = &self.temporary {
                store.release(&self.member.network, uuid)?;
            }
            reconcile(&store, &self.paths, store.members())
        });
        if let Err(error) = left {
            log::warn!("{}: leave network {}: {error:#}", self.member.name, self.member.network);
        }
    }
}

impl Member {
    /// Removes the host's entries for its addresses.
    fn forget_neighbours(&self) {
        let Ok(route) = Netlink::route() else { return };
        if let Ok(Some(bridge)) = route.link(self.behind()) {
            let _ = route.delete_neighbour(bridge.index, self.address.into());
            if let Some(prefix) = self.prefix6() {
                let _ = route.delete_route(bridge.index, prefix.into(), 64);
                let _ = route.delete_neighbour(bridge.index, self.link_local().into());
            }
        }
    }
}

/// The MTU of the uplink.
fn uplink_mtu(route: &Netlink) -> Result<u32> {
    let mtu = uplink_of(route)?.map_or(USUAL_MTU, |link| link.mtu);
    Ok(mtu.clamp(LEAST_MTU, 65_535))
}

fn uplink_of(route: &Netlink) -> Result<Option<Link>> {
    let mut defaults: Vec<_> = route.routes()?.into_iter().filter(|route| route.to.length() == 0).collect();
    // The main table first; on Android it is empty.
    defaults.sort_by_key(|route| route.table != 254);
    let Some(out) = defaults.first().and_then(|route| route.out) else { return Ok(None) };
    Ok(route.links()?.into_iter().find(|link| link.index == out))
}
