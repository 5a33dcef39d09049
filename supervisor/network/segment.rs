//! The segment between a gateway and its containers: a network namespace that contains only a bridge.
//!
//! ```text
//! client  eth0 ── veth ─┐
//!                       bridge (segment) ── veth ── eth1  gateway  eth0 ── …
//! client  eth0 ── veth ─┘
//! ```
//!
//! The segment has no address, no route and no other interface, so no packet of a client leaves except through the
//! gateway, whether it runs or not. The monitors of the clients and of the gateway keep the namespace open: it outlives
//! the gateway's reboot, and the kernel removes it with everything inside when the last monitor ends.
//!
//! Owns the interfaces in a segment and the gateway's interface. `gateway` decides about their use.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

use super::answers::Server;
use super::link::{End, Link, Mac, step};
use super::store::Member;
use super::subnet::Subnet;
use super::sysctl;
use super::wiring::{Inside, namespace_of_this_process, within};
use crate::call;
use crate::config::value::Name;
use crate::netlink::Netlink;

/// The bridge, and the gateway's port.
pub(super) const BRIDGE: &str = "bridge";
const PORT: &str = "gateway";
/// The number of the gateway's port. It differs from that of the gateway's interface: if both were equal, the kernel
/// would report up to a second later that the link is up (`linkwatch_urgent_event`), and the bridge forwards only then.
const PORT_NUMBER: u32 = 0x10000;
/// The MTU, which the gateway's uplink does not affect.
pub(super) const MTU: u32 = 1500;
/// The link-layer address of the bridge, which sends nothing. The first three octets belong to no manufacturer.
const MAC: Mac = [0x02, 0x64, 0x73, 1, 0, 1];

/// The gateway's interface in a segment.
#[derive(Debug)]
pub(super) struct Leg<'a> {
    /// The gateway's name.
    pub(super) gateway: &'a Name,
    /// The interface's name.
    pub(super) interface: &'a str,
    /// Its link-layer address: constant, so that clients need not look it up again after a reboot of the gateway.
    pub(super) mac: Mac,
    /// The network's addresses.
    pub(super) subnet: Subnet,
}

/// The segment of a network, which other members keep or which is new.
///
/// # Errors
/// If the kernel has no bridges.
pub(super) fn open(network: &Name, members: &[Member]) -> Result<OwnedFd> {
    let found = members.iter().find_map(|member| member.open_segment(network).ok());
    found.map_or_else(make, Ok)
}

fn make() -> Result<OwnedFd> {
    let own = namespace_of_this_process()?;
    call!(unshare(CloneFlags::CLONE_NEWNET), "unshare(CLONE_NEWNET)")?;
    let inside = Inside(&own);
    let made = furnish();
    drop(inside);
    made
}

fn furnish() -> Result<OwnedFd> {
    let new = namespace_of_this_process()?;
    for which in ["all", "default"] {
        sysctl::try_set(&format!("ipv6/conf/{which}/disable_ipv6"), "1");
    }
    let route = Netlink::route()?;
    match route.add_bridge(BRIDGE, MAC, MTU) {
        Err(Errno::EOPNOTSUPP | Errno::ENODEV | Errno::ENOENT) => {
            bail!("kernel has no CONFIG_BRIDGE, which network.mode = gateway needs; use nat")
        }
        other => step(other, "create the bridge of the segment")?,
    }
    let bridge = route.link(BRIDGE)?.context("the new bridge has vanished")?;
    step(route.bring_up(bridge.index), "bring the bridge up")?;
    Ok(new)
}

/// Removes the port of a previous boot, whose namespace still exists.
pub(super) fn remove_port(segment: &OwnedFd, name: &str) -> Result<()> {
    within(segment, |route| {
        if let Some(link) = route.link(name)? {
            let _ = route.delete_link(link.index);
        }
        Ok(())
    })
}

/// Connects the outer end of a client's link; `answers` creates the server for its DHCP clients.
pub(super) fn connect(
    segment: &OwnedFd,
    member: &Member,
    warnings: &mut Vec<String>,
    answers: impl FnOnce(&Link) -> Result<Server>,
) -> Result<Option<Server>> {
    within(segment, |route| {
        let (bridge, link) = (route.link(BRIDGE)?, route.link(&member.interface)?);
        let (bridge, link) = bridge.zip(link).context("the new link has vanished")?;
        step(route.set_master(link.index, bridge.index), "connect the link to the segment")?;
        if !call!(route.confine_port(link.index, member.mac, member.isolated), "confine the link")? {
            warnings.push("kernel does not bind a port of a bridge to one sender (5.18): other containers of its network can impersonate this one".into());
        }
        let server = answers(&link);
        if let Err(error) = &server {
            warnings.push(format!("requests of the container for addresses are not answered: {error:#}"));
        }
        step(route.bring_up(link.index), "switch the link on")?;
        Ok(server.ok())
    })
}

/// Applies a change of `network.isolated` to a running client.
pub(super) fn isolate(member: &Member) -> Result<()> {
    let segment = member.open_segment(&member.network)?;
    within(&segment, |route| {
        let link = route.link(&member.interface)?.context("the link has vanished")?;
        call!(route.confine_port(link.index, member.mac, member.isolated), "isolate the link")?;
        Ok(())
    })
}

/// Whether a gateway is connected.
pub(super) fn is_connected(segment: &OwnedFd) -> Result<bool> {
    within(segment, |route| Ok(route.link(PORT)?.is_some()))
}

/// Connects a gateway, whose namespace is `gateway`, in place of its previous boot.
pub(super) fn connect_gateway(segment: &OwnedFd, gateway: &OwnedFd, leg: &Leg<'_>) -> Result<()> {
    remove_port(segment, PORT)?;
    let interface = leg.interface;
    within(segment, |route| {
        let port = End { name: PORT, mac: None, index: PORT_NUMBER };
        let inside = End { name: interface, mac: Some(leg.mac), index: 0 };
        match route.add_pair(port, (inside, gateway.as_fd()), MTU) {
            Err(Errno::EEXIST) => {
                let name = leg.gateway;
                bail!(
                    "network.gateway-interface: {name} already has an interface {interface}; use another name"
                )
            }
            other => step(other, &format!("create {interface}")),
        }
    })?;
    within(gateway, |route| {
        let link = route.link(interface)?.context("the new interface has vanished")?;
        let address = leg.subnet.gateway().into();
        step(
            route.add_address(link.index, address, Subnet::LENGTH),
            &format!("add the address of {interface}"),
        )?;
        // It is a router.
        sysctl::set("ipv4/ip_forward", "1")?;
        step(route.bring_up(link.index), &format!("bring {interface} up"))
    })?;
    within(segment, |route| {
        let (bridge, link) = (route.link(BRIDGE)?, route.link(PORT)?);
        let (bridge, link) = bridge.zip(link).context("the new link has vanished")?;
        step(route.set_master(link.index, bridge.index), "connect the gateway to the segment")?;
        step(route.bring_up(link.index), "switch the gateway's link on")
    })
}
