//! The uplink of a container's packets: `network.uplink` and `network.vpn`.
//!
//! Owns the form. `network` decides which interface it currently refers to.

use std::fmt;
use std::str::FromStr;

use super::invalid::{Invalid, quoted};
use super::list::{items, show};

/// The syntax, for errors.
const HINT: &str = "write auto, vpn, or names of interfaces such as wlan0, rmnet*";
/// Maximum length of an interface's name, `IFNAMSIZ` without its NUL.
const LONGEST: usize = 15;

/// Whether a letter may be in the name of an interface.
fn is_allowed(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "._-:@+".contains(letter)
}

/// The name of an interface in a container, besides `lo` and `eth0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceName(String);

impl FromStr for InterfaceName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const HINT: &str = "use at most 15 letters, digits, '.', '_' or '-', such as eth1";
        let fault = |why: &str| Err(Invalid::new(format!("{} {why}", quoted(text)), HINT));
        // The kernel keeps some of these names for files of /proc/sys/net.
        let reserved = ["", ".", "..", "all", "default"].contains(&text);
        if reserved || text.len() > LONGEST || !text.chars().all(|letter| is_allowed(letter) && letter != ':')
        {
            return fault("is not the name of an interface");
        }
        if ["lo", "eth0"].contains(&text) {
            return fault("is another interface of the gateway");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// `network.uplink`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Uplink {
    /// The uplink of the machine.
    #[default]
    Auto,
    /// Only virtual private networks.
    Vpn,
    /// Only the first of these interfaces that has a route.
    These(Vec<InterfacePattern>),
}

/// The name of an interface, in which `*` stands for any characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfacePattern(String);

impl InterfacePattern {
    /// The prefix of matching names, and whether it is the whole name.
    #[must_use]
    pub fn start(&self) -> (&str, bool) {
        self.0.split_once('*').map_or((&self.0, true), |(start, _)| (start, false))
    }

    /// Whether it matches this name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
        let parts: Vec<&str> = parts.collect();
        let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
        for part in middle {
            let Some(found) = rest.find(part) else { return false };
            rest = &rest[found + part.len()..];
        }
        rest.ends_with(last)
    }
}

impl FromStr for InterfacePattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let allowed = |letter: char| is_allowed(letter) || letter == '*';
        if text.is_empty() || text.len() > LONGEST || !text.chars().all(allowed) {
            return Err(Invalid::new(format!("{} is not the name of an interface", quoted(text)), HINT));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for InterfacePattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl FromStr for Uplink {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.trim().to_ascii_lowercase().as_str() {
            "" | "auto" => return Ok(Self::Auto),
            "vpn" => return Ok(Self::Vpn),
            _ => {}
        }
        let mut patterns = Vec::new();
        for (offset, item) in items(text) {
            if ["auto", "vpn"].iter().any(|word| item.eq_ignore_ascii_case(word)) {
                let why = format!("{} cannot be combined with others", quoted(item));
                return Err(Invalid::new(why, HINT).at(offset));
            }
            patterns.push(item.parse::<InterfacePattern>().map_err(|fault| fault.moved(offset))?);
        }
        Ok(Self::These(patterns))
    }
}

impl fmt::Display for Uplink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Vpn => formatter.write_str("vpn"),
            Self::These(patterns) => show(patterns, formatter),
        }
    }
}

text_in_serde!(Uplink, InterfacePattern);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_interfaces() {
        for good in ["eth1", "lan", "br-lan.10", "123456789012345"] {
            assert_eq!(good.parse::<InterfaceName>().unwrap().to_string(), good);
        }
        for bad in ["", "eth0", "lo", "a b", "a/b", "eth*", "..", "all", "1234567890123456", "eth1:0"] {
            assert!(bad.parse::<InterfaceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn uplinks_are_read_and_written() {
        for (text, shown) in [
            ("auto", "auto"),
            ("", "auto"),
            ("VPN", "vpn"),
            ("wlan0", "wlan0"),
            (" wlan0 , rmnet* ", "wlan0,rmnet*"),
        ] {
            assert_eq!(text.parse::<Uplink>().unwrap().to_string(), shown, "{text}");
        }
        for (text, part) in [
            ("wlan0,auto", "cannot be combined"),
            ("vpn,wlan0", "cannot be combined"),
            ("a/b", "not the name of an interface"),
            ("?", "not the name of an interface"),
            ("wlan0,,eth0", "not the name of an interface"),
            ("a-name-that-is-too-long", "not the name of an interface"),
        ] {
            assert!(text.parse::<Uplink>().unwrap_err().to_string().contains(part), "{text}");
        }
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("wlan0", "wlan0", true),
            ("wlan0", "wlan01", false),
            ("rmnet*", "rmnet_data0", true),
            ("rmnet*", "v4-rmnet0", false),
            ("*", "tun0", true),
            ("*0", "tun0", true),
            ("r*a*0", "rmnet_data0", true),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(
                pattern.parse::<InterfacePattern>().unwrap().matches(name),
                expected,
                "{pattern} {name}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in "[a-z*_,]{0,20}", name in "\\PC{0,15}") {
            if let Ok(read) = text.parse::<Uplink>() {
                prop_assert_eq!(read.to_string().parse::<Uplink>().unwrap(), read.clone());
                if let Uplink::These(patterns) = read {
                    for pattern in patterns {
                        let _ = pattern.matches(&name);
                    }
                }
            }
        }
    }
}
