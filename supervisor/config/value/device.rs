//! Devices of the host in the configuration: `KIND[:r]` or `/dev/PATTERN[:r]`, comma-separated.
//!
//! A pattern is that of glob(7) without character classes: `*` and `?` match within one component. A pattern that
//! matches a directory selects everything below it. A backslash escapes a comma, a colon or a backslash.
//! `plan::hardware` has the devices of each kind.

use std::fmt;
use std::str::FromStr;

use super::choice::DeviceKind;
use super::invalid::{Invalid, quoted};
use super::list::{Escaped, Item, read, show, split, unescape};
use crate::nearest::nearest;

/// One item of the list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeviceRequest {
    /// The selected devices.
    pub selector: Selector,
    /// Whether they are read-only.
    pub read_only: bool,
}

/// The selection of devices.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// A kind of devices.
    Kind(DeviceKind),
    /// A pattern for their names.
    Name(DevicePattern),
}

/// A pattern for names below /dev.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DevicePattern(String);

/// The devices of the host in a container, each selector only once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct DeviceList(Vec<DeviceRequest>);

impl DeviceList {
    /// The requests, by value.
    #[must_use]
    pub fn into_vec(self) -> Vec<DeviceRequest> {
        self.0
    }
}

impl DevicePattern {
    /// The pattern, without `/dev/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it matches this name below /dev.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        matches(&self.0, name)
    }
}

/// Whether a name below /dev matches a pattern, or is below a directory that does.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut components = name.split('/');
    pattern.split('/').all(|pattern| {
        components.next().is_some_and(|component| component_matches(pattern.as_bytes(), component.as_bytes()))
    })
}

/// glob(7) within a component. Backtracks only to the last `*`, so the effort is at most the product of both lengths.
fn component_matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[seen] => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((place, from)) = star else { return false };
                star = Some((place, from + 1));
                (at, seen) = (place + 1, from + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

impl FromStr for DevicePattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const HINT: &str = "write /dev/NAME, /dev/PATTERN* or one of the kinds";
        let Some(name) = text.strip_prefix("/dev/") else {
            return Err(Invalid::new(format!("{} is not below /dev", quoted(text)), HINT));
        };
        let name = name.trim_end_matches('/');
        let unusual = |part: &str| part.is_empty() || part == "." || part == "..";
        if name.split('/').any(unusual) || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(Invalid::new(format!("{} cannot be the name of a device", quoted(text)), HINT));
        }
        Ok(Self(name.to_owned()))
    }
}

impl FromStr for Selector {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.starts_with('/') {
            return text.parse().map(Self::Name);
        }
        text.parse().map(Self::Kind).map_err(|_| {
            let hint = match nearest(text, DeviceKind::WORDS.iter().copied()) {
                Some(found) => format!("did you mean '{}'? A single device is written /dev/NAME", found.word),
                None => format!("use /dev/NAME or one of {}", DeviceKind::WORDS.join(", ")),
            };
            Invalid::new(format!("{} is not a kind of device", quoted(text)), hint)
        })
    }
}

impl Item for DeviceRequest {
    const MAX: usize = 64;
    const TOO_MANY: (&str, &str) = ("devices", "use a pattern for several of them");

    fn conflict(&self, earlier: &Self) -> Option<String> {
        let selector = &self.selector;
        (*selector == earlier.selector)
            .then(|| format!("{} is in the list twice", quoted(&selector.to_string())))
    }
}

impl FromStr for DeviceRequest {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fields = split(text, ':');
        let selector = unescape(fields[0])?.parse()?;
        let read_only = match fields[1..] {
            [] | [(_, "rw")] => false,
            [(_, "r" | "ro")] => true,
            [(offset, option), ..] => {
                let why = format!("{} is not an option of a device", quoted(option));
                return Err(Invalid::new(why, "write 'r' for read-only, or nothing").at(offset));
            }
        };
        Ok(Self { selector, read_only })
    }
}

impl FromStr for DeviceList {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        read(text).map(Self)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => kind.fmt(formatter),
            Self::Name(pattern) => write!(formatter, "/dev/{}", Escaped(pattern.as_str())),
        }
    }
}

impl fmt::Display for DeviceRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.selector.fmt(formatter)?;
        if self.read_only { formatter.write_str(":r") } else { Ok(()) }
    }
}

impl fmt::Display for DeviceList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(&self.0, formatter)
    }
}

text_in_serde!(DeviceRequest, DeviceList);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms_and_faults() {
        for (text, shown) in [
            ("", ""),
            ("kvm", "kvm"),
            ("KVM:r, /dev/ttyUSB*", "kvm:r,/dev/ttyUSB*"),
            ("/dev/video0:ro,/dev/bus/usb/", "/dev/video0:r,/dev/bus/usb"),
            ("/dev/sda:rw", "/dev/sda"),
            (r"/dev/input/by-path/pci\:0", r"/dev/input/by-path/pci\:0"),
        ] {
            assert_eq!(text.parse::<DeviceList>().unwrap().to_string(), shown, "{text}");
        }
        for (text, offset) in [
            ("kwm", 0),
            ("ttyUSB0", 0),
            ("/dev/", 0),
            ("/dev", 0),
            ("/tmp/x", 0),
            ("kvm,/dev/../etc/passwd", 4),
            ("/dev//sda", 0),
            ("kvm:x", 4),
            ("kvm:r:r", 4),
            ("kvm,kvm:r", 4),
            ("kvm,", 4),
        ] {
            assert_eq!(text.parse::<DeviceList>().unwrap_err().offset(), offset, "{text}");
        }
        let fault = "kwm".parse::<DeviceList>().unwrap_err();
        assert!(fault.to_string().contains("did you mean 'kvm'?"), "{fault}");
    }

    #[test]
    fn patterns_match_names_and_what_is_below_a_directory() {
        for (pattern, name, expected) in [
            ("ttyUSB*", "ttyUSB0", true),
            ("ttyUSB*", "ttyUSB", true),
            ("ttyUSB*", "ttyACM0", false),
            ("ttyUSB?", "ttyUSB10", false),
            ("bus/usb", "bus/usb/001/002", true),
            ("bus/usb", "bus/usb2", false),
            ("snd/*", "snd/controlC0", true),
            ("*", "snd/controlC0", true),
            ("s*/c*", "snd", false),
            ("*a*b", "xaxbxb", true),
            ("*a*b", "xaxbx", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_lists_round_trip(text in "\\PC{0,40}|[/dev:,\\\\ kvm*?r]{0,24}") {
            if let Ok(list) = text.parse::<DeviceList>() {
                prop_assert_eq!(list.to_string().parse::<DeviceList>().unwrap(), list);
            }
        }

        #[test]
        fn a_component_matches_as_glob_does(pattern in "[ab*?]{0,8}", name in "[ab]{0,8}") {
            fn plainly(pattern: &[u8], name: &[u8]) -> bool {
                match (pattern.split_first(), name.split_first()) {
                    (None, _) => name.is_empty(),
                    (Some((b'*', rest)), _) => (0..=name.len()).any(|at| plainly(rest, &name[at..])),
                    (Some((byte, rest)), Some((first, after))) => {
                        (*byte == b'?' || byte == first) && plainly(rest, after)
                    }
                    (Some(_), None) => false,
                }
            }
            let expected = plainly(pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(component_matches(pattern.as_bytes(), name.as_bytes()), expected);
        }
    }
}
