//! Addresses of servers that offer images.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::invalid::{Invalid, quoted, refuse_control_characters};

/// Servers with the layout of images.linuxcontainers.org, in order of preference, without trailing slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors(Vec<String>);

impl Mirrors {
    /// The addresses.
    #[must_use]
    pub fn into_vec(self) -> Vec<String> {
        self.0
    }
}

impl FromStr for Mirrors {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        refuse_control_characters(text)?;
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let mirrors: Vec<String> = parts.map(mirror).collect::<Result<_, _>>()?;
        if mirrors.is_empty() {
            return Err(Invalid::new(
                "no server is named",
                "write an https address, such as https://images.linuxcontainers.org",
            ));
        }
        Ok(Self(mirrors))
    }
}

fn mirror(text: &str) -> Result<String, Invalid> {
    let fault = |why: &str, remedy: &str| Invalid::new(format!("{} {why}", quoted(text)), remedy);
    let plain = text.strip_prefix("http://");
    let Some(rest) = text.strip_prefix("https://").or(plain) else {
        return Err(fault("is not an https address", "write https://SERVER"));
    };
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.is_empty() || rest.contains(|c: char| c.is_whitespace() || matches!(c, '?' | '#' | '@')) {
        return Err(fault("is not the address of a server", "write https://SERVER or https://SERVER/PATH"));
    }
    let host = match authority.split_once(']') {
        Some((host, _)) => host,
        None => authority.split(':').next().unwrap_or_default(),
    };
    if plain.is_some() && !is_loopback(host) {
        return Err(fault("is not encrypted", "use https; http is for this machine's own addresses"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Whether a host (an IPv6 address is in brackets) always refers to this machine.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for Mirrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_encrypted_or_of_this_machine() {
        let read = |text: &str| text.parse::<Mirrors>().map(Mirrors::into_vec);
        assert_eq!(
            read("https://a.example/, http://127.0.0.1:80/x").unwrap(),
            ["https://a.example", "http://127.0.0.1:80/x"]
        );
        assert_eq!(read("http://[::1]:1").unwrap(), ["http://[::1]:1"]);
        for wrong in [
            "",
            ",",
            "a.example",
            "http://a.example",
            "https://",
            "https://a?b",
            "ftp://a",
            "http://127.0.0.1.example/",
            "https://u@h",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn writing_is_the_inverse_of_reading(text in "[a-z:/.,\\[\\] ]{0,40}") {
            if let Ok(mirrors) = text.parse::<Mirrors>() {
                prop_assert_eq!(mirrors.to_string().parse::<Mirrors>(), Ok(mirrors));
            }
        }
    }
}
