//! Published ports in the configuration: `[ADDRESS:]HOST:CONTAINER[/tcp|/udp]`, comma-separated.
//!
//! PORTS alone stand for PORTS:PORTS. HOST and CONTAINER are ports or ranges of the same length. An IPv6 address is in
//! brackets. Owns the grammar and the check for overlaps; opens nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use super::invalid::{Invalid, quoted};
use super::list;

/// The syntax of a published port, for errors.
const HINT: &str = "write 8080:80, 5000-5010:5000-5010/udp, 127.0.0.1:2222:22 or [::]:443:443";

/// A transport protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// tcp(7)
    Tcp,
    /// udp(7)
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(if *self == Self::Tcp { "tcp" } else { "udp" })
    }
}

/// Ports from the first to the last one, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The first port.
    #[must_use]
    pub fn first(self) -> u16 {
        self.first
    }

    /// The last port.
    #[must_use]
    pub fn last(self) -> u16 {
        self.last
    }

    /// Whether a port is in it.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    fn steps(self) -> u16 {
        self.last - self.first
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(formatter, "{}", self.first)
        } else {
            write!(formatter, "{}-{}", self.first, self.last)
        }
    }
}

/// Ports of the host that are forwarded to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Publication {
    /// The address of the host; all if `None`. An unspecified address means all of its family.
    pub address: Option<IpAddr>,
    /// The host's ports.
    pub host: PortRange,
    /// The container's ports, equally many.
    pub container: PortRange,
    /// Their protocol.
    pub protocol: Protocol,
}

impl Publication {
    /// Whether it applies to this address family.
    #[must_use]
    pub fn is_for(&self, ipv4: bool) -> bool {
        self.address.is_none_or(|address| address.is_ipv4() == ipv4)
    }

    /// The address of the host to which it is limited, if any.
    #[must_use]
    pub fn bound_to(&self) -> Option<IpAddr> {
        self.address.filter(|address| !address.is_unspecified())
    }

    /// Pairs of ports: of the host, and of the container.
    pub fn pairs(&self) -> impl Iterator<Item = (u16, u16)> + use<> {
        (self.host.first..=self.host.last).zip(self.container.first..=self.container.last)
    }

    /// Whether a packet could match both.
    #[must_use]
    pub fn collides(&self, other: &Self) -> bool {
        let addresses = match (self.address, other.address) {
            (Some(ours), Some(theirs)) => {
                ours == theirs
                    || ours.is_ipv4() == theirs.is_ipv4()
                        && (ours.is_unspecified() || theirs.is_unspecified())
            }
            _ => true,
        };
        addresses && self.protocol == other.protocol && self.host.overlaps(other.host)
    }
}

impl FromStr for Publication {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (rest, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((rest, "tcp")) => (rest, Protocol::Tcp),
            Some((rest, "udp")) => (rest, Protocol::Udp),
            Some((rest, other)) => {
                let why = format!("protocol {} is neither tcp nor udp", quoted(other));
                return Err(Invalid::new(why, HINT).at(rest.len() + 1));
            }
        };
        // Ports alone keep their numbers.
        let (rest, container) = rest.rsplit_once(':').unwrap_or((rest, rest));
        let (address, host) = match rest.rsplit_once(':') {
            Some((address, host)) => (Some(read_address(address)?), host),
            None => (None, rest),
        };
        let start = rest.len() - host.len();
        let middle = if text.contains(':') { rest.len() + 1 } else { 0 };
        let host = read_range(host).map_err(|fault| fault.moved(start))?;
        let container = read_range(container).map_err(|fault| fault.moved(middle))?;
        if host.steps() != container.steps() {
            let why = format!("{host} and {container} have different lengths");
            return Err(Invalid::new(why, "write two ranges of the same length").at(start));
        }
        Ok(Self { address, host, container, protocol })
    }
}

fn read_address(text: &str) -> Result<IpAddr, Invalid> {
    let refuse = |hint: &str| Invalid::new(format!("{} is not an address of the host", quoted(text)), hint);
    let address = match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(inside) => inside.parse().ok().map(IpAddr::V6),
        None if text.contains(':') => {
            return Err(refuse("write an IPv6 address in brackets, such as [::]:443:443"));
        }
        None => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    let address = address.ok_or_else(|| refuse(HINT))?;
    if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(refuse("use an address of one interface, or omit it for all"));
    }
    Ok(address)
}

fn read_range(text: &str) -> Result<PortRange, Invalid> {
    let port = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse().ok().filter(|number| plain && *number != 0_u16);
        number.ok_or_else(|| Invalid::new(format!("{} is not a port", quoted(digits)), "use 1 to 65535"))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last).map_err(|fault| fault.moved(first.len() + 1))?),
        None => (port(text)?, port(text)?),
    };
    if last < first {
        return Err(Invalid::new(
            format!("range {first}-{last} is in the wrong order"),
            format!("write {last}-{first}"),
        ));
    }
    Ok(PortRange { first, last })
}

impl fmt::Display for Publication {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V4(address)) => write!(formatter, "{address}:")?,
            Some(IpAddr::V6(address)) => write!(formatter, "[{address}]:")?,
            None => {}
        }
        write!(formatter, "{}:{}", self.host, self.container)?;
        if self.protocol == Protocol::Udp { formatter.write_str("/udp") } else { Ok(()) }
    }
}

/// The published ports of one container: at most [`PortList::MAX`], no two of which collide.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PortList(Vec<Publication>);

impl PortList {
    /// The maximum number of entries.
    pub const MAX: usize = 64;
    /// The maximum number of ports with a different number in the container: each needs its own rule.
    pub const MAX_MOVED: usize = 1024;

    /// The published ports, in the order of the text.
    #[must_use]
    pub fn as_slice(&self) -> &[Publication] {
        &self.0
    }
}

impl FromStr for PortList {
    type Err = Invalid;

    /// Reads a comma-separated list and ignores blanks around commas; an empty text is an empty list.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut all: Vec<Publication> = Vec::new();
        let mut moved = 0;
        for (start, item) in list::items(text) {
            let publication: Publication = item.parse().map_err(|fault: Invalid| fault.moved(start))?;
            if let Some(other) = all.iter().find(|other| other.collides(&publication)) {
                let why = format!("{publication} and {other} use the same port of the host");
                return Err(Invalid::new(why, "remove one of them").at(start));
            }
            if publication.host != publication.container {
                moved += publication.pairs().count();
            }
            if all.len() == Self::MAX || moved > Self::MAX_MOVED {
                let why = format!("more than {} entries or {} moved ports", Self::MAX, Self::MAX_MOVED);
                return Err(Invalid::new(why, "publish ranges under their own numbers").at(start));
            }
            all.push(publication);
        }
        Ok(Self(all))
    }
}

impl fmt::Display for PortList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        list::show(&self.0, formatter)
    }
}

text_in_serde!(Publication);

/// The address of a container in a network of ds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkAddress(pub Ipv4Addr);

impl FromStr for NetworkAddress {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let address = text
            .parse::<Ipv4Addr>()
            .ok()
            .filter(|address| address.is_private() && (2..=254).contains(&address.octets()[3]));
        address.map(Self).ok_or_else(|| {
            let why = format!("{} is not a private IPv4 address for a container", quoted(text));
            Invalid::new(why, "use one such as 10.89.40.10, which ends with 2 to 254")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ports_are_written_in_many_ways() {
        for (text, shown) in [
            ("", ""),
            ("8080:80", "8080:80"),
            ("8080:80/tcp", "8080:80"),
            ("80-90", "80-90:80-90"),
            ("53/udp", "53:53/udp"),
            ("5000-5010:5000-5010/udp", "5000-5010:5000-5010/udp"),
            ("5000-5000:80", "5000:80"),
            ("127.0.0.1:2222:22", "127.0.0.1:2222:22"),
            ("0.0.0.0:1:1,[::]:1:1", "0.0.0.0:1:1,[::]:1:1"),
            ("[::]:443:443", "[::]:443:443"),
            ("[fd00:0::1]:1-2:3-4/udp", "[fd00::1]:1-2:3-4/udp"),
            (" 53:53 , 53:53/udp ", "53:53,53:53/udp"),
            ("127.0.0.1:80:80,127.0.0.2:80:80", "127.0.0.1:80:80,127.0.0.2:80:80"),
            ("1-65535:1-65535", "1-65535:1-65535"),
        ] {
            assert_eq!(text.parse::<PortList>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_port_is_refused_at_its_place() {
        for (text, offset) in [
            ("x", 0),
            ("8080:80/sctp", 8),
            ("0:80", 0),
            ("80:0", 3),
            ("65536:80", 0),
            ("80:+80", 3),
            ("10-5:10-5", 0),
            ("1-2:1-3", 0),
            ("8080:80,", 8),
            ("8080:80, x:1", 9),
            ("::1:80:80", 0),
            ("[::1:80:80", 0),
            ("[127.0.0.1]:80:80", 0),
            ("host:80:80", 0),
            ("224.0.0.1:80:80", 0),
            ("8080:80,8080:81", 8),
            ("8080:80,127.0.0.1:8080:81", 8),
            ("0.0.0.0:8080:80,127.0.0.1:8080:81", 16),
            ("1-2000:10001-12000", 0),
        ] {
            let fault = text.parse::<PortList>().unwrap_err();
            assert_eq!(fault.offset(), offset, "{text}: {fault}");
        }
    }

    proptest! {
        #[test]
        fn displayed_values_are_parsed_to_the_same_value(
            address in prop::option::of(any::<IpAddr>()),
            (host, container, steps) in (1_u16..60_000, 1_u16..60_000, 0_u16..500),
            udp: bool,
        ) {
            let range = |first: u16| PortRange { first, last: first + steps };
            let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
            let address = address.filter(|address| !address.is_multicast());
            let all = Publication { address, host: range(host), container: range(container), protocol };
            prop_assume!(address != Some(IpAddr::V4(Ipv4Addr::BROADCAST)));
            prop_assert_eq!(all.to_string().parse::<Publication>().unwrap(), all);
            prop_assert!(all.collides(&all));
            prop_assert_eq!(all.pairs().count(), usize::from(steps) + 1);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-f:.,/\\[\\]\\- tcpud]{0,40}") {
            match text.parse::<PortList>() {
                Ok(list) => prop_assert_eq!(list.to_string().parse::<PortList>().unwrap(), list),
                Err(fault) => prop_assert!(fault.offset() <= text.len()),
            }
        }
    }
}
