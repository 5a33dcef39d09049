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

/// The target of a redirect. RFC 3986, 5.2.
pub(super) fn join(base: &Uri, location: &str) -> Option<Uri> {
    let authority = base.authority()?;
    let scheme = base.scheme_str()?;
    let location = location.split('#').next()?;
    let (path, query) = location.find('?').map_or((location, ""), |at| location.split_at(at));
    let text = if path.contains("://") {
        location.to_owned()
    } else if path.starts_with("//") {
        format!("{scheme}:{location}")
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        let path = match path {
            "" => base.path().to_owned(),
            path if path.starts_with('/') => without_dots(path),
            path => without_dots(&format!("{directory}/{path}")),
        };
        format!("{scheme}://{authority}{path}{query}")
    };
    text.parse().ok().filter(|uri: &Uri| uri.authority().is_some())
}

/// An absolute path without dot segments. RFC 3986, 5.2.4.
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                kept.extend(is_last.then_some(""));
            }
            part => kept.push(part),
        }
    }
    format!("/{}", kept.join("/"))
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
            ("/q?next=https://c.example/", "https://a.example/q?next=https://c.example/"),
            ("q?next=//c.example/../r#s", "https://a.example/x/q?next=//c.example/../r"),
            ("?q", "https://a.example/x/y?q"),
            ("../q", "https://a.example/q"),
            ("../../.././q/./r/..", "https://a.example/q/"),
            ("./", "https://a.example/x/"),
            ("/x/../q//r", "https://a.example/q//r"),
            ("//b.example?q", "https://b.example/?q"),
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
