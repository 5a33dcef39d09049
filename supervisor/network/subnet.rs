//! IPv4 networks: their arithmetic, and the selection of a free one.
//!
//! Owns the arithmetic and the list of candidates. Opens nothing.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address with the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Subnet {
    address: Ipv4Addr,
    length: u8,
}

impl Subnet {
    /// Prefix length of the networks of ds.
    pub const LENGTH: u8 = 24;

    /// From its text; the address need not be the first one.
    #[must_use]
    pub fn new(address: Ipv4Addr, length: u8) -> Self {
        Self { address, length: length.min(32) }
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0)
    }

    /// The network's first address.
    #[must_use]
    pub fn first(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) & self.mask())
    }

    /// The address of the text.
    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    /// Length of its prefix.
    #[must_use]
    pub fn length(self) -> u8 {
        self.length
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == u32::from(self.first())
    }

    /// Whether two networks have an address in common.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.first()) || other.contains(self.first())
    }

    /// The host's own address in a network of ds.
    #[must_use]
    pub fn gateway(self) -> Ipv4Addr {
        self.host(1)
    }

    /// The address of this number.
    #[must_use]
    pub fn host(self, number: u8) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.first()) | u32::from(number))
    }

    /// The addresses for containers.
    pub fn hosts(self) -> impl Iterator<Item = Ipv4Addr> {
        (2..=254).map(move |number| self.host(number))
    }

    /// The network of [`Subnet::LENGTH`] that an address is in.
    #[must_use]
    pub fn around(address: Ipv4Addr) -> Self {
        let whole = Self::new(address, Self::LENGTH);
        Self::new(whole.first(), Self::LENGTH)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (address, length) = text.split_once('/')?;
            let length = length.parse().ok().filter(|length| *length <= 32)?;
            Some(Self::new(address.parse().ok()?, length))
        };
        read().ok_or_else(|| format!("'{text}' is not a network"))
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl TryFrom<String> for Subnet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The candidates in order: no network that phones, providers, Docker or home routers use by default.
fn candidates() -> impl Iterator<Item = Subnet> {
    let network = |first, second, third| Subnet::new(Ipv4Addr::new(first, second, third, 0), Subnet::LENGTH);
    let tens = (40..=250).map(move |third| network(10, 89, third));
    let others = (64..=250).map(move |third| network(172, 30, third));
    tens.chain(others).chain((201..=250).map(move |third| network(192, 168, third)))
}

/// The first network that overlaps no used one.
#[must_use]
pub fn choose(taken: &[Subnet]) -> Option<Subnet> {
    candidates().find(|candidate| is_free(*candidate, taken))
}

/// Whether a network overlaps no used one.
#[must_use]
pub fn is_free(subnet: Subnet, taken: &[Subnet]) -> bool {
    !taken.iter().any(|other| other.overlaps(subnet))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn overlaps_are_numbers_and_not_texts() {
        let taken: Vec<Subnet> = ["10.0.0.0/8", "172.30.64.0/20"].map(|text| text.parse().unwrap()).into();
        assert_eq!(choose(&taken).unwrap().to_string(), "172.30.80.0/24");
        assert_eq!(choose(&[]).unwrap().to_string(), "10.89.40.0/24");
        assert_eq!(choose(&["0.0.0.0/0".parse().unwrap()]), None);
    }

    proptest! {
        #[test]
        fn overlap_is_mutual(a: u32, b: u32, long in 0_u8..=32, short in 0_u8..=32) {
            let (a, b) = (Subnet::new(a.into(), long), Subnet::new(b.into(), short));
            prop_assert_eq!(a.overlaps(b), b.overlaps(a));
            prop_assert!(a.overlaps(a));
            prop_assert_eq!(a.to_string().parse::<Subnet>().unwrap(), a);
        }
    }
}
