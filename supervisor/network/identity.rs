//! The identity of a container's link: link-layer address, name and alias on the host, IPv6 prefix. Opens only
//! /dev/urandom.

use std::fs::File;
use std::io::Read;
use std::net::Ipv6Addr;

use anyhow::{Context, Result};

use super::link::{Link, Mac};
use crate::config::value::{Name, Uuid};
use crate::paths::Paths;

/// How the names of all interfaces of ds on the host begin.
pub(super) const OWN: &str = "ds-";

/// The link-layer address of a container: constant and locally administered (IEEE 802).
pub(super) fn mac(uuid: &Uuid) -> Mac {
    let text = uuid.to_string();
    let octets: Vec<u8> = (0..16)
        .filter_map(|index| u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok())
        .collect();
    let folded = |index: usize| {
        let octet = |at: usize| octets.get(at).copied().unwrap_or_default();
        octet(index) ^ octet(index + 8)
    };
    [0x02, folded(1), folded(2), folded(3), folded(4), folded(5)]
}

/// The name of the host's end: part of the container's name, and a unique suffix. At most 15 characters.
pub(super) fn interface_name(name: &Name, mac: &Mac) -> String {
    let plain: String = name.as_str().chars().filter(char::is_ascii_alphanumeric).take(7).collect();
    format!("{OWN}{plain}-{:02x}{:02x}", mac[4], mac[5])
}

/// A random private prefix of 64 bits, RFC 4193.
pub(super) fn random_prefix() -> Result<Ipv6Addr> {
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    let random = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut octets[1..6]));
    random.context("read /dev/urandom")?;
    Ok(octets.into())
}

/// The alias that identifies interfaces of ds.
#[derive(Debug)]
pub(super) struct Tag(String);

impl Tag {
    pub(super) fn of(paths: &Paths) -> Self {
        Self(paths.cgroup.clone())
    }

    /// The alias of a network's bridge.
    pub(super) fn bridge(&self, network: &Name) -> String {
        format!("{} network {network}", self.0)
    }

    /// The alias of a container's link.
    pub(super) fn member(&self, name: &Name) -> String {
        format!("{} container {name}", self.0)
    }

    /// Whether an interface belongs to ds.
    pub(super) fn owns(&self, link: &Link) -> bool {
        link.alias.strip_prefix(&self.0).is_some_and(|rest| rest.starts_with(' '))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_of_links_fit() {
        let uuid: Uuid = "00112233445566778899aabbccddeeff".parse().unwrap();
        let mac = mac(&uuid);
        assert_eq!(mac, [0x02, 0x88, 0x88, 0x88, 0x88, 0x88]);
        let name: Name = "a.very-long_name".parse().unwrap();
        assert_eq!(interface_name(&name, &mac), "ds-averylo-8888");
        assert_ne!(super::mac(&Uuid::derived_from("web1")), super::mac(&Uuid::derived_from("web2")));
    }
}
