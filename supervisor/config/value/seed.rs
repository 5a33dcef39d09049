//! Values for seeding: its parts, and the subsystems whose events udev may replay.

use std::fmt;
use std::str::FromStr;

use super::choice::Switch;
use super::invalid::{Invalid, quoted};
use crate::nearest::nearest;

/// The maximum length of a subsystem's name.
const LONGEST_SUBSYSTEM: usize = 32;

/// A part of seeding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeedItem {
    /// The safe udev trigger.
    Udev = 1,
    /// Network managers: priorities of interfaces in an own network, no management of the host's.
    Network = 2,
    /// The container's own name.
    Hosts = 4,
    /// journald without the kernel log and audit, and with a limited size.
    Journal = 8,
    /// logind without power keys, and no login prompt on terminals that do not exist.
    Login = 16,
    /// Android's network groups.
    Groups = 32,
}

impl SeedItem {
    /// All parts with their words, in display order.
    pub const ALL: [(&'static str, Self); 6] = [
        ("udev", Self::Udev),
        ("network", Self::Network),
        ("hosts", Self::Hosts),
        ("journal", Self::Journal),
        ("login", Self::Login),
        ("groups", Self::Groups),
    ];
}

/// The parts of seeding for a container: `yes` for all, `no` for none, or a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(u8);

impl Seed {
    /// Everything.
    pub const ALL: Self = Self(0b11_1111);
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The permitted words, for help and completion.
    pub const WORDS: &'static [&'static str] =
        &["yes", "no", "udev", "network", "hosts", "journal", "login", "groups"];

    /// Whether it contains a part.
    #[must_use]
    pub const fn has(self, item: SeedItem) -> bool {
        self.0 & item as u8 != 0
    }
}

impl FromStr for Seed {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let whole = text.to_ascii_lowercase();
        if let Ok(Switch(on)) = whole.parse() {
            return Ok(if on { Self::ALL } else { Self::NONE });
        }
        let (mut bits, mut offset) = (0, 0);
        for item in whole.split(',') {
            let word = item.trim();
            let Some((_, found)) = SeedItem::ALL.iter().find(|(known, _)| *known == word) else {
                let words = Self::WORDS;
                let hint = match nearest(word, words.iter().copied()) {
                    Some(found) if found.is_typo_of(word) => format!("did you mean '{}'?", found.word),
                    _ => format!("use one of {}", words.join(", ")),
                };
                return Err(Invalid::new(format!("{} is not a known word", quoted(word)), hint).at(offset));
            };
            bits |= *found as u8;
            offset += item.len() + 1;
        }
        Ok(Self(bits))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = SeedItem::ALL.iter().filter(|(_, item)| self.has(*item)).map(|(word, _)| *word);
        match *self {
            Self::NONE => formatter.pad("no"),
            Self::ALL => formatter.pad("yes"),
            _ => formatter.pad(&words.collect::<Vec<_>>().join(",")),
        }
    }
}

/// Names of kernel subsystems, as in /sys/class and /sys/bus; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subsystems(Vec<String>);

impl Subsystems {
    /// Subsystems that are safe on phones, including those of pluggable devices.
    pub const DEFAULT: &'static str = "usb,block,input,tty";

    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl Default for Subsystems {
    fn default() -> Self {
        Self(Self::DEFAULT.split(',').map(str::to_owned).collect())
    }
}

impl FromStr for Subsystems {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (mut names, mut offset) = (Vec::new(), 0);
        for item in text.split(',') {
            let name = item.trim();
            // The names are written to unit files and scripts, so special characters are refused.
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            if name.is_empty()
                || name.len() > LONGEST_SUBSYSTEM
                || name.starts_with('-')
                || !name.chars().all(is_name)
            {
                let hint = "use names from /sys/class and /sys/bus with commas between them";
                return Err(
                    Invalid::new(format!("{} is not a name of a subsystem", quoted(name)), hint).at(offset)
                );
            }
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
            offset += item.len() + 1;
        }
        Ok(Self(names))
    }
}

impl fmt::Display for Subsystems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_are_a_switch_or_a_list() {
        for (text, shown) in [
            ("yes", "yes"),
            ("off", "no"),
            ("hosts, UDEV", "udev,hosts"),
            ("udev,network,hosts,journal,login,groups", "yes"),
        ] {
            assert_eq!(text.parse::<Seed>().unwrap().to_string(), shown);
        }
        assert!("udev".parse::<Seed>().unwrap().has(SeedItem::Udev));
        assert!(!"udev".parse::<Seed>().unwrap().has(SeedItem::Hosts));
        let fault = "udev,host".parse::<Seed>().unwrap_err();
        assert_eq!(fault.to_string(), "'host' is not a known word; did you mean 'hosts'?");
        for bad in ["", "udev,", "yes,udev", "all the things"] {
            assert!(bad.parse::<Seed>().is_err(), "{bad}");
        }
    }

    #[test]
    fn subsystems_are_names() {
        assert_eq!("usb, tty,usb".parse::<Subsystems>().unwrap().to_string(), "usb,tty");
        for bad in ["", "usb,", "a b", "usb;reboot", "../x", "-x", "%n", "$x", "*"] {
            assert!(bad.parse::<Subsystems>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn displayed_values_are_parsed_to_the_same_value(text in "[a-z,_ ]{0,40}") {
            if let Ok(seed) = text.parse::<Seed>() {
                prop_assert_eq!(seed.to_string().parse::<Seed>().unwrap(), seed);
            }
            if let Ok(names) = text.parse::<Subsystems>() {
                prop_assert_eq!(names.to_string().parse::<Subsystems>().unwrap(), names);
            }
        }
    }
}
