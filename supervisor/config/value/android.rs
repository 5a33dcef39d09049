//! Values of the section `android`: shared storage and name servers.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::choice::Switch;
use super::invalid::{Invalid, quoted};
use super::path::HostPath;

/// The directory of the shared files of the phone's first user.
const MEDIA: &str = "/data/media/0";
/// The maximum number of name servers in resolv.conf(5).
const MAX_SERVERS: usize = 3;

/// The shared storage to mount: `no`, `yes` for that of the first user, or a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedStorage(Option<HostPath>);

impl FromStr for SharedStorage {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.parse() {
            Ok(Switch(false)) => Ok(Self(None)),
            Ok(Switch(true)) => MEDIA.parse().map(|path| Self(Some(path))),
            Err(_) => match text.parse::<HostPath>() {
                Ok(path) if !path.is_root() => Ok(Self(Some(path))),
                _ => Err(Invalid::new(
                    format!("{} is neither yes, no nor a directory", quoted(text)),
                    "use yes, no or an absolute path",
                )),
            },
        }
    }
}

impl fmt::Display for SharedStorage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => formatter.pad("no"),
            Some(path) if path.as_str() == MEDIA => formatter.pad("yes"),
            Some(path) => formatter.pad(path.as_str()),
        }
    }
}

impl From<SharedStorage> for Option<HostPath> {
    fn from(storage: SharedStorage) -> Self {
        storage.0
    }
}

impl From<Option<HostPath>> for SharedStorage {
    fn from(path: Option<HostPath>) -> Self {
        Self(path)
    }
}

/// The name servers of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameServers {
    /// Those of the host's network.
    Auto,
    /// Those of its own resolv.conf.
    No,
    /// These: one to three.
    These(Vec<IpAddr>),
}

impl FromStr for NameServers {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.to_ascii_lowercase().as_str() {
            "auto" | "yes" => return Ok(Self::Auto),
            "no" => return Ok(Self::No),
            _ => {}
        }
        let (mut servers, mut offset) = (Vec::new(), 0);
        for item in text.split(',') {
            let address = item.trim().parse().map_err(|_| {
                let hint = "use auto, no, or up to three addresses with commas between them";
                Invalid::new(format!("{} is not an IP address", quoted(item.trim())), hint).at(offset)
            })?;
            if servers.len() == MAX_SERVERS {
                return Err(Invalid::new("more than three name servers", "keep three").at(offset));
            }
            servers.push(address);
            offset += item.len() + 1;
        }
        Ok(Self::These(servers))
    }
}

impl fmt::Display for NameServers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.pad("auto"),
            Self::No => formatter.pad("no"),
            Self::These(servers) => {
                formatter.pad(&servers.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn storage_is_a_switch_or_a_directory() {
        for (text, shown) in [
            ("no", "no"),
            ("off", "no"),
            ("yes", "yes"),
            ("/data/media/0", "yes"),
            ("/storage/emulated/0", "/storage/emulated/0"),
        ] {
            assert_eq!(text.parse::<SharedStorage>().unwrap().to_string(), shown);
        }
        for bad in ["", "media", "/"] {
            assert!(bad.parse::<SharedStorage>().is_err(), "{bad}");
        }
    }

    #[test]
    fn servers_are_words_or_addresses() {
        assert_eq!("AUTO".parse::<NameServers>().unwrap(), NameServers::Auto);
        assert_eq!("no".parse::<NameServers>().unwrap(), NameServers::No);
        assert_eq!("1.1.1.1, ::1".parse::<NameServers>().unwrap().to_string(), "1.1.1.1,::1");
        for bad in ["", "1.1.1", "1.1.1.1,", "1.1.1.1,2.2.2.2,3.3.3.3,4.4.4.4", "dns.example"] {
            assert!(bad.parse::<NameServers>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn displayed_values_are_parsed_to_the_same_value(text in "[a-z0-9.:,/ ]{0,40}") {
            if let Ok(servers) = text.parse::<NameServers>() {
                prop_assert_eq!(servers.to_string().parse::<NameServers>().unwrap(), servers);
            }
            if let Ok(storage) = text.parse::<SharedStorage>() {
                prop_assert_eq!(storage.to_string().parse::<SharedStorage>().unwrap(), storage);
            }
        }
    }
}
