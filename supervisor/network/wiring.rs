//! The interfaces between a container and the host: the bridge, the pair of links, and their settings.
//!
//! Owns their creation. `attach` decides about their use; `reconcile` removes remains.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;

use super::advertise::ROUTER;
use super::identity::{OWN, Tag};
use super::link::{End, Link, step};
use super::store::{Member, Network};
use super::subnet::Subnet;
use super::sysctl;
use crate::call;
use crate::config::value::Name;
use crate::netlink::Netlink;
use crate::sys::network;

/// The name of the interface in the container.
const INSIDE: &str = "eth0";

/// Keeps this process in the container's network namespace until dropped.
#[derive(Debug)]
pub struct Inside<'a>(pub(super) &'a OwnedFd);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if let Err(errno) = setns(self.0, CloneFlags::CLONE_NEWNET) {
            log::error!("setns(the host's network): {errno}");
        }
    }
}

/// Whether the packet filter processes packets that stay on a bridge (br_netfilter). A published port of a neighbour is
/// then bridged instead of routed, from one isolated port to another, which drops it. Other programs may rely on the
/// setting.
fn filters_bridges() -> bool {
    ["iptables", "ip6tables"]
        .iter()
        .any(|what| sysctl::get(&format!("bridge/bridge-nf-call-{what}")).as_deref() == Some("1"))
}

/// The bridge of a network; `None` for routed links, if the kernel has no bridges or filters on them.
pub(super) fn bridge(
    route: &Netlink,
    tag: &Tag,
    network: &Network,
    name: &Name,
    ipv6: bool,
    mtu: u32,
    others: &[Member],
) -> Result<Option<Link>> {
    let alias = tag.bridge(name);
    let links = route.links()?;
    if others.iter().any(|member| member.network == *name && member.bridge.is_none()) || filters_bridges() {
        return Ok(None);
    }
    let bridge = match links.iter().find(|link| link.alias == alias) {
        Some(bridge) => bridge.clone(),
        None => {
            let free = |name: &String| !links.iter().any(|link| link.name == *name);
            let free = (0..=1000).map(|number| format!("{OWN}br{number}")).find(free);
            let interface = free.context("every name for a bridge is in use")?;
            // The first three octets belong to no manufacturer.
            let [_, _, third, _] = network.subnet.first().octets();
            let mac = [0x02, 0x64, 0x73, 0, third, 1];
            match route.add_bridge(&interface, mac, mtu) {
                Err(Errno::EOPNOTSUPP | Errno::ENODEV | Errno::ENOENT) => return Ok(None),
                other => step(other, "create a bridge")?,
            }
            let link = route.link(&interface)?.context("the new bridge has vanished")?;
            step(route.set_alias(link.index, &alias), "name the bridge")?;
            link
        }
    };
    host_side(route, &bridge, ipv6)?;
    let gateway = network.subnet.gateway();
    step(route.add_address(bridge.index, gateway.into(), Subnet::LENGTH), "add the address of the bridge")?;
    // Ports are isolated from each other: the host answers for all and forwards permitted packets.
    sysctl::set(&format!("ipv4/conf/{}/proxy_arp_pvlan", bridge.name), "1")?;
    // It need not wait for duplicate addresses.
    sysctl::set(&format!("ipv4/neigh/{}/proxy_delay", bridge.name), "0")?;
    if ipv6 {
        step(
            route.add_address(bridge.index, network.gateway6().into(), 64),
            "add the IPv6 address of the bridge",
        )?;
    }
    Ok(Some(bridge))
}

/// The host's interface towards containers: a bridge or one end of a link.
fn host_side(route: &Netlink, link: &Link, ipv6: bool) -> Result<()> {
    let name = &link.name;
    for (setting, value) in [
        ("rp_filter", "1"),
        ("accept_redirects", "0"),
        ("send_redirects", "0"),
        // The host's own connections to published ports come from 127.0.0.1. Packets of containers to it are dropped.
        ("route_localnet", "1"),
    ] {
        sysctl::set(&format!("ipv4/conf/{name}/{setting}"), value)?;
    }
    sysctl::try_set(&format!("ipv6/conf/{name}/accept_ra"), "0");
    sysctl::try_set(&format!("ipv6/conf/{name}/disable_ipv6"), if ipv6 { "0" } else { "1" });
    step(route.bring_up(link.index), "bring the host's interface up")?;
    if ipv6 {
        step(route.add_address(link.index, ROUTER.into(), 64), "add the address of a router")?;
    }
    Ok(())
}

/// Creates the namespace with `eth0`; also opens the caller's own, and returns the other end, which is here. On a phone,
/// checksums are computed here: some of its drivers send packets of others with wrong ones.
pub(super) fn pair(
    route: &Netlink,
    tag: &Tag,
    member: &Member,
    mtu: u32,
    phone: bool,
) -> Result<(OwnedFd, OwnedFd, Link)> {
    // A link of the previous boot, whose namespace still exists.
    if let Some(link) = route.link(&member.interface)?.filter(|link| tag.owns(link)) {
        let _ = route.delete_link(link.index);
    }
    let (new, own) = pair_with(member, None, mtu, phone)?;
    if phone {
        compute_checksums(&member.interface);
    }
    let link = route.link(&member.interface)?.context("the new link has vanished")?;
    step(route.set_alias(link.index, &tag.member(&member.name)), "name the link")?;
    Ok((new, own, link))
}

/// The same with the other end in the namespace `outside`.
pub(super) fn pair_with(
    member: &Member,
    outside: Option<&OwnedFd>,
    mtu: u32,
    phone: bool,
) -> Result<(OwnedFd, OwnedFd)> {
    let own = namespace_of_this_process()?;
    call!(unshare(CloneFlags::CLONE_NEWNET), "unshare(CLONE_NEWNET)")?;
    let inside = Inside(&own);
    let new = namespace_of_this_process()?;
    let made = furnish(member, outside.unwrap_or(&own), mtu);
    if phone {
        compute_checksums(INSIDE);
    }
    drop(inside);
    made?;
    Ok((new, own))
}

fn compute_checksums(name: &str) {
    if let Err(errno) = network::compute_checksums(name) {
        log::warn!("{name}: checksums are left to drivers: {errno}");
    }
}

/// Creates `eth0` in the current namespace.
fn furnish(member: &Member, host: &OwnedFd, mtu: u32) -> Result<()> {
    let route = Netlink::route()?;
    let (here, there) = (
        End { name: INSIDE, mac: Some(member.mac), index: 0 },
        End { name: &member.interface, ..End::default() },
    );
    let made = route.add_pair(here, (there, host.as_fd()), mtu);
    match made {
        Err(Errno::EOPNOTSUPP) => {
            bail!("kernel has no CONFIG_VETH, which network.mode = nat and gateway need; use host or none")
        }
        other => step(other, "create the link to the container")?,
    }
    sysctl::try_set(
        &format!("ipv6/conf/{INSIDE}/disable_ipv6"),
        // A gateway may advertise addresses.
        if member.address6.is_some() || member.gateway.is_some() { "0" } else { "1" },
    );
    let link = route.link(INSIDE)?.context("the new eth0 has vanished")?;
    step(route.bring_up(link.index), "bring eth0 up")?;
    let length = if member.bridge.is_some() { Subnet::LENGTH } else { 32 };
    step(route.add_address(link.index, member.address.into(), length), "add the address of eth0")?;
    step(route.add_default_route(link.index, member.subnet.gateway().into()), "add the route of eth0")?;
    if let Some(address) = member.address6 {
        step(route.add_address(link.index, address.into(), 128), "add the IPv6 address of eth0")?;
        step(route.add_default_route(link.index, ROUTER.into()), "add the IPv6 route of eth0")?;
    }
    Ok(())
}

/// Connects the host's end.
pub(super) fn connect(
    route: &Netlink,
    (member, link): (&Member, &Link),
    bridge: Option<&Link>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let Some(bridge) = bridge else {
        host_side(route, link, member.address6.is_some())?;
        step(
            route.add_address(link.index, member.subnet.gateway().into(), 32),
            "add the address of the link",
        )?;
        let own = member.address;
        step(route.add_host_route(link.index, own.into()), "route the container's address")?;
        return know(route, link.index, member);
    };
    sysctl::try_set(&format!("ipv6/conf/{}/disable_ipv6", member.interface), "1");
    step(route.set_master(link.index, bridge.index), "connect the link to the bridge")?;
    if !call!(route.confine_port(link.index, member.mac, true), "isolate the link")? {
        warnings.push("kernel does not isolate ports of a bridge (5.18): other containers of its network can impersonate this one".into());
    }
    step(route.bring_up(link.index), "switch the link on")?;
    know(route, bridge.index, member)
}

/// Has the host know where its addresses are. It learns none, because a neighbour could claim it. All IPv6 addresses of
/// its prefix, whichever it has made, are behind one address of the link.
fn know(route: &Netlink, index: u32, member: &Member) -> Result<()> {
    const KNOW: &str = "add the container's neighbour entry";
    let own = member.address;
    step(route.add_neighbour(index, own.into(), member.mac), KNOW)?;
    let Some(prefix) = member.prefix6() else { return Ok(()) };
    let link = member.link_local().into();
    step(route.add_neighbour(index, link, member.mac), KNOW)?;
    step(route.add_route(index, (prefix.into(), 64), link), "route the container's prefix")
}

/// Sets the MTU of `eth0` in a running container.
///
/// # Errors
/// If the container has ended.
pub(super) fn fit_inside(member: &Member, mtu: u32) -> Result<()> {
    within(&member.open_namespace()?, |route| {
        let link = route.link(INSIDE)?.context("it has no eth0")?;
        step(route.set_mtu(link.index, mtu), "set the MTU of eth0")
    })
}

/// Runs a function in another network namespace, with a socket there.
pub(super) fn within<T>(namespace: &OwnedFd, what: impl FnOnce(&Netlink) -> Result<T>) -> Result<T> {
    let own = namespace_of_this_process()?;
    call!(setns(namespace, CloneFlags::CLONE_NEWNET), "setns(a network)")?;
    let inside = Inside(&own);
    let done = Netlink::route().and_then(|route| what(&route));
    drop(inside);
    done
}

pub(super) fn namespace_of_this_process() -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    Ok(call!(open("/proc/self/ns/net", flags, Mode::empty()), "open(/proc/self/ns/net)")?)
}
