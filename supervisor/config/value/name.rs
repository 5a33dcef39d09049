//! Names: of containers, hosts and environment variables, and the container's UUID.
//!
//! hostname(7), RFC 1123 §2.1, environ(7), os-release(5) for the UUID form systemd calls `container_uuid`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::str::FromStr;

use super::invalid::{Invalid, quoted, refuse_control_characters};

/// The name of a container: a letter or digit, then up to 63 more letters, digits, `_`, `.` or `-` (ASCII).
///
/// Safe as a file name, a cgroup name and a word in a shell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The maximum length in bytes.
    pub const MAX: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const HINT: &str = "use a letter or digit, then up to 63 letters, digits, '_', '.' or '-'";
        let fault = |why: &str| Invalid::new(format!("name {} {why}", quoted(text)), HINT);
        if text.is_empty() {
            return Err(Invalid::new("the name is empty", HINT));
        }
        if text.len() > Self::MAX {
            return Err(fault("is longer than 64 characters"));
        }
        if !text.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            return Err(fault("does not begin with a letter or digit"));
        }
        let allowed = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
        match text.find(|character| !allowed(character)) {
            Some(offset) => Err(fault("contains a character that names do not have").at(offset)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// A host name after RFC 1123: labels of 1–63 letters, digits and inner `-`, joined by dots, 64 characters at most
/// (`HOST_NAME_MAX`, sethostname(2)).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hostname(String);

impl Hostname {
    /// The maximum length in bytes (`__NEW_UTS_LEN`, uname(2)).
    pub const MAX: usize = 64;

    /// The host name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&Name> for Hostname {
    /// The default host name of a container: its name, with characters that a host name cannot have replaced
    /// (`_` becomes `-`) or dropped (empty labels, `-` at the ends of one).
    fn from(name: &Name) -> Self {
        let text = name.as_str().replace('_', "-");
        let labels = text.split('.').map(|label| label.trim_matches('-'));
        let labels = labels.map(|label| label[..label.len().min(63)].trim_end_matches('-'));
        Self(labels.filter(|label| !label.is_empty()).collect::<Vec<_>>().join("."))
    }
}

impl FromStr for Hostname {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const HINT: &str =
            "use letters, digits and '-', with dots between labels, such as 'web' or 'web.example.org'";
        let fault = |why: &str| Invalid::new(format!("host name {} {why}", quoted(text)), HINT);
        if text.len() > Self::MAX {
            return Err(fault("is longer than 64 characters"));
        }
        let mut offset = 0;
        for label in text.split('.') {
            if label.is_empty() {
                return Err(fault("has an empty label").at(offset));
            }
            if label.len() > 63 {
                return Err(fault("has a label longer than 63 characters").at(offset));
            }
            if let Some(bad) =
                label.find(|character: char| !character.is_ascii_alphanumeric() && character != '-')
            {
                return Err(fault("contains a character that host names do not have").at(offset + bad));
            }
            if label.starts_with('-') || label.ends_with('-') {
                return Err(fault("has a label that begins or ends with '-'").at(offset));
            }
            offset += label.len() + 1;
        }
        Ok(Self(text.to_owned()))
    }
}

/// The name of an environment variable: a letter or `_`, then letters, digits and `_` (POSIX.1-2017, 8.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvironmentName(String);

impl EnvironmentName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EnvironmentName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let first = |character: char| character.is_ascii_alphabetic() || character == '_';
        let bad = text
            .char_indices()
            .find(|&(offset, character)| !(first(character) || offset > 0 && character.is_ascii_digit()));
        match bad {
            None if !text.is_empty() => Ok(Self(text.to_owned())),
            _ => Err(Invalid::new(
                format!("{} is not a name for an environment variable", quoted(text)),
                "use a letter or '_', then letters, digits and '_'",
            )
            .at(bad.map_or(0, |(offset, _)| offset))),
        }
    }
}

/// The value of an environment variable: any text without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EnvironmentValue(String);

impl EnvironmentValue {
    /// The value as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value as text, by value.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl FromStr for EnvironmentValue {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        refuse_control_characters(text)?;
        Ok(Self(text.to_owned()))
    }
}

/// A container's 128-bit identity, written as 32 lower-case hexadecimal digits; read with or without dashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(u128);

impl Uuid {
    /// A new random (version 4, RFC 9562 §5.4) UUID from the kernel's generator.
    ///
    /// # Errors
    /// If /dev/urandom cannot be read.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self::with_version(u128::from_be_bytes(bytes), 4))
    }

    /// The UUID derived from `text` (version 8, RFC 9562 §5.8): FNV-1a over its bytes.
    ///
    /// For files without a UUID: the same at every start, without protection against forgery.
    pub fn derived_from(text: &str) -> Self {
        const OFFSET_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        let hash =
            text.bytes().fold(OFFSET_BASIS, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
        Self::with_version(hash, 8)
    }

    fn with_version(bits: u128, version: u128) -> Self {
        let bits = bits & !(0xf << 76) | version << 76;
        Self(bits & !(0b11 << 62) | 0b10 << 62)
    }
}

impl FromStr for Uuid {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let dashed = text.len() == 36 && [8, 13, 18, 23].iter().all(|&place| text.as_bytes()[place] == b'-');
        let digits = if dashed { text.replace('-', "") } else { text.to_owned() };
        let hexadecimal = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if let (true, Ok(bits @ 1..)) = (hexadecimal, u128::from_str_radix(&digits, 16)) {
            return Ok(Self(bits));
        }
        Err(Invalid::new(
            format!("{} is not a UUID", quoted(text)),
            "use 32 hexadecimal digits, not all zero, as /proc/sys/kernel/random/uuid prints",
        ))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

macro_rules! display_text {
    ($($type:ty),+) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(&self.0)
            }
        }
    )+};
}

display_text!(Name, Hostname, EnvironmentName, EnvironmentValue);
text_in_serde!(Name, Hostname, EnvironmentName, EnvironmentValue, Uuid);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names() {
        for good in ["a", "0", "web", "Debian-13.1_x", "a..b", &"a".repeat(64)] {
            assert_eq!(good.parse::<Name>().unwrap().to_string(), good);
        }
        for bad in ["", ".", "..", "-a", "_a", ".a", "a/b", "a b", "é", "a\0", "a\n", &"a".repeat(65)] {
            let fault = bad.parse::<Name>().unwrap_err().to_string();
            assert!(!fault.contains('\n') && fault.contains("; "), "{fault}");
        }
        assert_eq!("web?x".parse::<Name>().unwrap_err().offset(), 3);
    }

    #[test]
    fn hostnames() {
        for good in ["a", "web", "Web-1.example.org", "1", &"a".repeat(63)] {
            assert_eq!(good.parse::<Hostname>().unwrap().to_string(), good);
        }
        for bad in ["", "-a", "a-", "a..b", ".a", "a.", "a_b", "a b", "ä", "a\u{7f}", &"a".repeat(64)] {
            assert!(bad.parse::<Hostname>().is_err(), "{bad}");
        }
    }

    #[test]
    fn environment_names() {
        for good in ["A", "_", "a1", "PATH_2"] {
            assert_eq!(good.parse::<EnvironmentName>().unwrap().to_string(), good);
        }
        for bad in ["", "1A", "A-B", "A B", "A=B", "É"] {
            assert!(bad.parse::<EnvironmentName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn uuids() {
        let text = "0123456789abcdef0123456789abcdef";
        assert_eq!(text.parse::<Uuid>().unwrap().to_string(), text);
        let dashed = "01234567-89AB-cdef-0123-456789abcdef".parse::<Uuid>().unwrap();
        assert_eq!(dashed.to_string(), text);
        for bad in
            ["", "0", &text[1..], &"0".repeat(32), "+123456789abcdef0123456789abcdef", &format!("{text}0")]
        {
            assert!(bad.parse::<Uuid>().is_err(), "{bad}");
        }
        let random = Uuid::random().unwrap();
        assert_ne!(random, Uuid::random().unwrap());
        assert_eq!(random.to_string().as_bytes()[12], b'4');
        assert!(b"89ab".contains(&random.to_string().as_bytes()[16]));
    }

    /// The published FNV-1a test vector for 128 bits, with the version and variant bits replaced.
    #[test]
    fn derived_uuids_are_fnv() {
        let a = 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964_u128;
        assert_eq!(Uuid::derived_from("a"), Uuid::with_version(a, 8));
        assert_ne!(Uuid::derived_from("a"), Uuid::derived_from("b"));
    }

    proptest! {
        #[test]
        fn every_name_gives_a_hostname(name in "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}") {
            let hostname = Hostname::from(&name.parse::<Name>().unwrap());
            prop_assert_eq!(hostname.as_str().parse::<Hostname>().unwrap(), hostname);
        }

        #[test]
        fn names_parse_exactly_their_pattern(text in "\\PC{0,70}|[a-z.-]{1,66}") {
            let rest = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
            let valid = text.starts_with(|first: char| first.is_ascii_alphanumeric())
                && text.chars().all(rest) && text.len() <= 64;
            prop_assert_eq!(text.parse::<Name>().is_ok(), valid);
        }
    }
}
