//! Interfaces, addresses, routes and neighbours: rtnetlink(7).
//!
//! Owns the requests. Decides nothing and keeps no state: the kernel owns the created objects.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::Result;
use nix::errno::Errno;

use super::subnet::Subnet;
use crate::call;
use crate::netlink::{APPEND, CREATE, EXCLUSIVE, Message, Netlink, REPLACE, attribute, number};

/// `RTM_*` of linux/rtnetlink.h.
const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
const NEW_NEIGHBOUR: u16 = 28;
const DELETE_NEIGHBOUR: u16 = 29;
/// `IFLA_*` of linux/if_link.h.
const LINK_ADDRESS: u16 = 1;
const LINK_NAME: u16 = 3;
const LINK_MTU: u16 = 4;
const LINK_MASTER: u16 = 10;
const LINK_PROTOCOL: u16 = 12;
const LINK_INFO: u16 = 18;
const LINK_ALIAS: u16 = 20;
const LINK_NAMESPACE: u16 = 28;
const LINK_DETAIL: u16 = 29;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;
/// `IFLA_BRPORT_*`: restrictions of a port of a bridge. `ISOLATED` came with 4.18, `LOCKED` with 5.18.
const PORT_LEARNING: u16 = 8;
const PORT_ISOLATED: u16 = 33;
const PORT_LOCKED: u16 = 39;
/// `RTEXT_FILTER_SKIP_STATS`.
const NO_STATISTICS: u32 = 8;
/// `IFA_*`.
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
/// `RTA_*`.
const ROUTE_TO: u16 = 1;
const ROUTE_OUT: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const ROUTE_TABLE: u16 = 15;
/// `NDA_*`, `NUD_PERMANENT`, `NUD_NOARP`, `NTF_MASTER`.
const NEIGHBOUR: u16 = 1;
const NEIGHBOUR_LINK: u16 = 2;
const PERMANENT: u16 = 0x80;
const STATIC: u16 = 0x40;
const OF_MASTER: u8 = 4;
/// `RTPROT_STATIC`, `RTN_UNICAST`, `RT_TABLE_MAIN`, `RTNH_F_ONLINK`, `IFA_F_NODAD`.
const BY_ADMINISTRATOR: u8 = 4;
const UNICAST: u8 = 1;
const MAIN: u8 = 254;
const ON_LINK: u32 = 4;
const NO_DETECTION: u8 = 2;

/// `IFF_UP`, `IFF_BROADCAST`.
const UP: u32 = 1;
const BROADCASTS: u32 = 2;

/// A link-layer address.
pub type Mac = [u8; 6];

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The MTU in bytes.
    pub mtu: u32,
    /// The alias of interfaces of ds.
    pub alias: String,
    /// Its kind, such as `tun`.
    pub kind: String,
    /// It is up.
    pub is_up: bool,
    /// It supports broadcasts, as Ethernet does.
    pub broadcasts: bool,
}

/// One end of a new pair of interfaces.
#[derive(Debug, Clone, Copy, Default)]
pub struct End<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its link-layer address; random if `None`.
    pub mac: Option<Mac>,
    /// Its number; the next free one if 0.
    pub index: u32,
}

impl Link {
    /// Whether it leads into a virtual private network. CLAT's interface is of the same kind, but is not one.
    #[must_use]
    pub fn is_vpn(&self) -> bool {
        match self.kind.as_str() {
            "tun" => !self.broadcasts && !self.name.starts_with("v4-"),
            kind => ["wireguard", "xfrm", "vti", "vti6"].contains(&kind),
        }
    }
}

/// A route out of the machine or to a neighbouring network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its destination; all addresses if its length is 0. IPv4 only.
    pub to: Subnet,
    /// Its interface.
    pub out: Option<u32>,
    /// Its table.
    pub table: u32,
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    u8::try_from(family).unwrap_or_default()
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// struct ifinfomsg.
fn about_link(family: u8, index: u32, up: bool) -> Vec<u8> {
    let flag = u32::from(up).to_ne_bytes();
    [&[family, 0, 0, 0][..], &index.to_ne_bytes(), &flag, &flag].concat()
}

/// struct ndmsg.
fn about_neighbour(family: u8, index: u32, state: u16, flags: u8) -> Vec<u8> {
    [&[family, 0, 0, 0][..], &index.to_ne_bytes(), &state.to_ne_bytes(), &[flags, 0]].concat()
}

/// struct rtmsg.
fn about_route(family: u8, length: u8, flags: u32, scope: u8) -> Vec<u8> {
    let fixed = [family, length, 0, 0, MAIN, BY_ADMINISTRATOR, scope, UNICAST];
    [&fixed[..], &flags.to_ne_bytes()].concat()
}

impl Netlink {
    /// All interfaces.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn links(&self) -> Result<Vec<Link>> {
        let message = Message::new(GET_LINK, 0, &about_link(0, 0, false));
        // Statistics are most of an answer.
        let answers = self.dump(message.with(LINK_DETAIL, &NO_STATISTICS.to_ne_bytes()))?;
        Ok(answers
            .iter()
            .filter(|answer| answer.kind == NEW_LINK)
            .filter_map(|answer| link(&answer.body))
            .collect())
    }

    /// One interface.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn link(&self, name: &str) -> Result<Option<Link>> {
        let message = Message::new(GET_LINK, 0, &about_link(0, 0, false)).with_text(LINK_NAME, name);
        match self.ask(message.with(LINK_DETAIL, &NO_STATISTICS.to_ne_bytes())) {
            Ok(answer) => Ok(link(&answer.body)),
            Err(Errno::ENODEV) => Ok(None),
            Err(errno) => Ok(call!(Err(errno), "look for the interface {name}")?),
        }
    }

    /// Creates a bridge; EOPNOTSUPP if the kernel does not support bridges.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn add_bridge(&self, name: &str, mac: Mac, mtu: u32) -> Result<(), Errno> {
        let message = Message::new(NEW_LINK, CREATE | EXCLUSIVE, &about_link(0, 0, false))
            .with_text(LINK_NAME, name)
            .with(LINK_ADDRESS, &mac)
            .with(LINK_MTU, &mtu.to_ne_bytes())
            .with_nested(LINK_INFO, |info| info.with_text(INFO_KIND, "bridge"));
        self.request(message)
    }

    /// Creates a pair of interfaces: `here` in this socket's namespace, `there` in another.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn add_pair(
        &self,
        here: End<'_>,
        (there, namespace): (End<'_>, BorrowedFd<'_>),
        mtu: u32,
    ) -> Result<(), Errno> {
        let namespace = namespace.as_raw_fd().to_ne_bytes();
        let end = |message: Message, end: End<'_>| {
            let message = message.with_text(LINK_NAME, end.name).with(LINK_MTU, &mtu.to_ne_bytes());
            if let Some(mac) = end.mac { message.with(LINK_ADDRESS, &mac) } else { message }
        };
        let peer = |data: Message| {
            data.with_nested(VETH_PEER, |peer| {
                let peer = peer.with_bytes(&about_link(0, there.index, false));
                end(peer, there).with(LINK_NAMESPACE, &namespace)
            })
        };
        let message = Message::new(NEW_LINK, CREATE | EXCLUSIVE, &about_link(0, here.index, false));
        let message = end(message, here)
            .with_nested(LINK_INFO, |info| info.with_text(INFO_KIND, "veth").with_nested(INFO_DATA, peer));
        self.request(message)
    }

    /// Deletes an interface, by its number.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn delete_link(&self, index: u32) -> Result<(), Errno> {
        self.request(Message::new(DELETE_LINK, 0, &about_link(0, index, false)))
    }

    /// Brings an interface up.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn bring_up(&self, index: u32) -> Result<(), Errno> {
        self.request(Message::new(SET_LINK, 0, &about_link(0, index, true)))
    }

    /// Sets the MTU of an interface.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn set_mtu(&self, index: u32, mtu: u32) -> Result<(), Errno> {
        let message = Message::new(SET_LINK, 0, &about_link(0, index, false));
        self.request(message.with(LINK_MTU, &mtu.to_ne_bytes()))
    }

    /// Sets the alias by which ds recognises an interface.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn set_alias(&self, index: u32, alias: &str) -> Result<(), Errno> {
        let message = Message::new(SET_LINK, 0, &about_link(0, index, false));
        self.request(message.with(LINK_ALIAS, alias.as_bytes()))
    }

    /// Makes an interface a port of a bridge.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn set_master(&self, index: u32, bridge: u32) -> Result<(), Errno> {
        let message = Message::new(SET_LINK, 0, &about_link(0, index, false));
        self.request(message.with(LINK_MASTER, &bridge.to_ne_bytes()))
    }

    /// Restricts a port of a bridge to one sender: only frames from `mac` pass; if it is isolated, only to the host and
    /// to ports that are not. Returns whether the kernel supports this.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn confine_port(&self, index: u32, mac: Mac, isolated: bool) -> Result<bool, Errno> {
        let bridge = u8::try_from(libc::AF_BRIDGE).unwrap_or_default();
        let set = |kind: u16, value: u8| {
            let message = Message::new(SET_LINK, 0, &about_link(bridge, index, false));
            self.request(message.with_nested(LINK_PROTOCOL, |port| port.with(kind, &[value])))
        };
        set(PORT_LEARNING, 0)?;
        let entry =
            Message::new(NEW_NEIGHBOUR, CREATE | REPLACE, &about_neighbour(bridge, index, STATIC, OF_MASTER));
        self.request(entry.with(NEIGHBOUR_LINK, &mac))?;
        // Kernels before these two ignore them or refuse them.
        let settings = [(PORT_ISOLATED, isolated.into()), (PORT_LOCKED, 1)];
        let confined = settings.map(|(kind, value)| set(kind, value).is_ok());
        Ok(confined == [true, true])
    }

    /// Adds an address; does nothing if it exists.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn add_address(&self, index: u32, address: IpAddr, length: u8) -> Result<(), Errno> {
        let fixed = [family(address), length, NO_DETECTION, 0];
        let message =
            Message::new(NEW_ADDRESS, CREATE | REPLACE, &[&fixed[..], &index.to_ne_bytes()].concat())
                .with(LOCAL, &bytes(address))
                .with(ADDRESS, &bytes(address));
        match self.request(message) {
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Adds the default route.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn add_default_route(&self, index: u32, gateway: IpAddr) -> Result<(), Errno> {
        let message = Message::new(NEW_ROUTE, CREATE | APPEND, &about_route(family(gateway), 0, ON_LINK, 0))
            .with(ROUTE_GATEWAY, &bytes(gateway))
            .with(ROUTE_OUT, &index.to_ne_bytes());
        self.request(message)
    }

    /// Adds a route to one address that is behind an interface.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn add_host_route(&self, index: u32, address: IpAddr) -> Result<(), Errno> {
        /// `RT_SCOPE_LINK`.
        const LINK: u8 = 253;
        let length = if address.is_ipv4() { 32 } else { 128 };
        let message =
            Message::new(NEW_ROUTE, CREATE | REPLACE, &about_route(family(address), length, 0, LINK))
                .with(ROUTE_TO, &bytes(address))
                .with(ROUTE_OUT, &index.to_ne_bytes());
        self.request(message)
    }

    /// Adds a route to a prefix behind a neighbour.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn add_route(&self, index: u32, (to, length): (IpAddr, u8), gateway: IpAddr) -> Result<(), Errno> {
        let message = Message::new(NEW_ROUTE, CREATE | REPLACE, &about_route(family(to), length, ON_LINK, 0))
            .with(ROUTE_TO, &bytes(to))
            .with(ROUTE_GATEWAY, &bytes(gateway))
            .with(ROUTE_OUT, &index.to_ne_bytes());
        self.request(message)
    }

    /// Removes such a route.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn delete_route(&self, index: u32, to: IpAddr, length: u8) -> Result<(), Errno> {
        let message = Message::new(DELETE_ROUTE, 0, &about_route(family(to), length, 0, 0));
        self.request(message.with(ROUTE_TO, &bytes(to)).with(ROUTE_OUT, &index.to_ne_bytes()))
    }

    /// Adds a permanent neighbour entry.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn add_neighbour(&self, index: u32, address: IpAddr, mac: Mac) -> Result<(), Errno> {
        let fixed = about_neighbour(family(address), index, PERMANENT, 0);
        let message = Message::new(NEW_NEIGHBOUR, CREATE | REPLACE, &fixed);
        self.request(message.with(NEIGHBOUR, &bytes(address)).with(NEIGHBOUR_LINK, &mac))
    }

    /// Removes a permanent neighbour entry.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn delete_neighbour(&self, index: u32, address: IpAddr) -> Result<(), Errno> {
        let message = Message::new(DELETE_NEIGHBOUR, 0, &about_neighbour(family(address), index, 0, 0));
        self.request(message.with(NEIGHBOUR, &bytes(address)))
    }

    /// The IPv4 routes of all tables.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn routes(&self) -> Result<Vec<Route>> {
        let inet = u8::try_from(libc::AF_INET)?;
        let mut fixed = [0; 12];
        fixed[0] = inet;
        let answers = self.dump(Message::new(GET_ROUTE, 0, &fixed))?;
        Ok(answers
            .iter()
            .filter(|answer| answer.kind == NEW_ROUTE)
            .filter_map(|answer| route(&answer.body))
            .collect())
    }

    /// The IPv4 addresses of all interfaces, and the numbers of these.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn addresses(&self) -> Result<Vec<(u32, Subnet)>> {
        let inet = u8::try_from(libc::AF_INET)?;
        let answers = self.dump(Message::new(GET_ADDRESS, 0, &[inet, 0, 0, 0, 0, 0, 0, 0]))?;
        let read = |body: &[u8]| {
            let length = *body.get(1)?;
            let attributes = body.get(8..)?;
            let value = attribute(attributes, LOCAL).or_else(|| attribute(attributes, ADDRESS))?;
            Some((number(body, 4), Subnet::new(octets(value)?, length)))
        };
        Ok(answers
            .iter()
            .filter(|answer| answer.kind == NEW_ADDRESS)
            .filter_map(|answer| read(&answer.body))
            .collect())
    }
}

fn octets(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}

fn link(body: &[u8]) -> Option<Link> {
    let attributes = body.get(16..)?;
    let text = |kind| {
        let value = attribute(attributes, kind).unwrap_or_default();
        String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
    };
    let kind =
        attribute(attributes, LINK_INFO).and_then(|info| attribute(info, INFO_KIND)).unwrap_or_default();
    let flags = number(body, 8);
    Some(Link {
        index: number(body, 4),
        name: text(LINK_NAME),
        mtu: attribute(attributes, LINK_MTU).map_or(0, |value| number(value, 0)),
        alias: text(LINK_ALIAS),
        kind: String::from_utf8_lossy(kind).trim_end_matches('\0').to_owned(),
        is_up: flags & UP != 0,
        broadcasts: flags & BROADCASTS != 0,
    })
}

fn route(body: &[u8]) -> Option<Route> {
    let attributes = body.get(12..)?;
    let to = attribute(attributes, ROUTE_TO).and_then(octets).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let table = attribute(attributes, ROUTE_TABLE).map_or(u32::from(*body.get(4)?), |value| number(value, 0));
    // Other types (local, broadcast, unreachable) do not lead to a neighbouring network.
    (*body.get(7)? == UNICAST).then_some(())?;
    let out = attribute(attributes, ROUTE_OUT).map(|value| number(value, 0));
    Some(Route { to: Subnet::new(to, *body.get(1)?), out, table })
}

/// A setup step, with the error message for its failure.
///
/// # Errors
/// The kernel's error, explained.
pub fn step(done: Result<(), Errno>, what: &str) -> Result<()> {
    Ok(call!(done, "{what}")?)
}
