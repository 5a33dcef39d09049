//! Addresses: which are permitted, and where a redirect leads. Owns these rules; opens no connection. RFC 3986.

use anyhow::{Error, Result, bail};
use ureq::http::Uri;

use super::failure::Failure;
use crate::config::value::is_loopback;

/// Checks whether an address is permitted.
///
/// # Errors
/// If it is not encrypted, or is not an address.
pub fn check_address(address: &str) -> Result<()> {
    let uri: Result<Uri, _> = address.parse();
    match uri.map(|uri| check(&uri)) {
        Ok(checked) => checked.map_err(|failure| Error::msg(failure.text)),
        Err(error) => bail!("{address} is not an address: {error}"),
    }
}

/// Whether it is encrypted or on this machine.
pub(super) fn check(uri: &Uri) -> Result<(), Failure> {
    let host = uri.host().unwrap_or_default();
    match uri.scheme_str() {
        _ if host.is_empty() => Err(Failure::last(format!("{uri} contains no host name"))),
        Some("https") => Ok(()),
        Some("http") if is_loopback(host) => Ok(()),
        Some("http") => Err(Failure::last(format!("{uri} is not encrypted; use https"))),
        _ => Err(Failure::last(format!("{uri} is not an https address"))),
    }
}

/// The target of a redirect. RFC 3986, 5.2, without the removal of dot segments, which servers do themselves.
pub(super) fn join(base: &Uri, location: &str) -> Option<Uri> {
    let authority = base.authority()?;
    let scheme = base.scheme_str()?;
    let text = if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{scheme}://{authority}{directory}/{location}")
    };
    text.split('#').next()?.parse().ok().filter(|uri: &Uri| uri.authority().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn redirects_lead_where_they_say() {
        let base = uri("https://a.example/x/y?z");
        for (location, expected) in [
            ("https://b.example/q", "https://b.example/q"),
            ("//b.example/q", "https://b.example/q"),
            ("/q", "https://a.example/q"),
            ("q", "https://a.example/x/q"),
            ("http://b.example/", "http://b.example/"),
        ] {
            assert_eq!(
                join(&base, location).map(|uri| uri.to_string()).as_deref(),
                Some(expected),
                "{location}"
            );
        }
        assert!(join(&base, "https://").is_none());
    }

    #[test]
    fn plain_http_is_for_this_machine_alone() {
        for good in ["https://example.org/", "http://127.0.0.1:8080/", "http://localhost/", "http://[::1]/"] {
            assert!(check(&uri(good)).is_ok(), "{good}");
        }
        for bad in
            ["http://example.org/", "ftp://example.org/", "http://127.0.0.1.example.org/", "/etc/passwd"]
        {
            assert!(check(&uri(bad)).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_redirect_panics(text in ".{0,40}") {
            let _ = join(&uri("https://a.example/x"), &text);
            let _ = check_address(&text);
        }
    }
}
