//! The container's own name in /etc/hostname and /etc/hosts. Owns only its own lines there. hostname(5), hosts(5).

use std::borrow::Cow;
use std::net::IpAddr;

use super::Facts;

/// The placeholder for the name in templates of LXC.
const PLACEHOLDER: &str = "LXC_NAME";
/// The address that Debian uses for a name without an address.
const ADDRESS: &str = "127.0.1.1";
/// The same for IPv6. Without it, a program that requests only an IPv6 address (gethostbyname2(3), as exim does) waits
/// for name servers, which may be out of reach.
const ADDRESS_6: &str = "::1";
/// The mark at the end of lines from ds.
const MARK: &str = "# droidspaces";
/// The content for a system without the file.
const LOOPBACK: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// Sets the name of a system that has none.
pub(super) fn hostname(facts: &Facts, text: Option<&str>) -> Option<String> {
    let name = &facts.hostname;
    match text {
        Some(text) if !text.trim().is_empty() => {
            text.contains(PLACEHOLDER).then(|| text.replace(PLACEHOLDER, name))
        }
        _ => Some(format!("{name}\n")),
    }
}

/// A file on which the file with the name servers can be mounted.
pub(super) fn resolv_conf(_: &Facts, text: Option<&str>) -> Option<String> {
    text.is_none()
        .then(|| "# While the container runs, this file contains the name servers of network.dns.\n".into())
}

/// Adds the container's name; keeps every other line.
pub(super) fn hosts(facts: &Facts, text: Option<&str>) -> Option<String> {
    let name = facts.hostname.as_str();
    let old = text.unwrap_or(LOOPBACK);
    let filled: Cow<'_, str> =
        if old.contains(PLACEHOLDER) { old.replace(PLACEHOLDER, name).into() } else { old.into() };
    // A copy of another container may contain a line of ds with the other name.
    let mut new: String = filled.split_inclusive('\n').filter(|line| !stale(line, name)).collect();
    let known: Vec<IpAddr> = new.lines().filter_map(|line| address(line, name)).collect();
    let short = name.split_once('.').map(|(short, _)| format!(" {short}")).unwrap_or_default();
    let mut add = |address: &str| {
        if !new.is_empty() && !new.ends_with('\n') {
            new.push('\n');
        }
        new.push_str(&format!("{address}\t{name}{short}\t{MARK}\n"));
    };
    if known.is_empty() {
        add(ADDRESS);
    }
    // If the administrator gave the name the address of an interface, no other address is added.
    if known.iter().all(|address| address.is_ipv4() && address.is_loopback()) {
        add(ADDRESS_6);
    }
    (text != Some(&new)).then_some(new)
}

/// A line of ds with another name.
fn stale(line: &str, name: &str) -> bool {
    let ours = [ADDRESS, ADDRESS_6].iter().any(|address| line.split_whitespace().next() == Some(address));
    ours && line.trim_end().ends_with(MARK) && address(line, name).is_none()
}

/// The address that a line assigns to this name.
fn address(line: &str, name: &str) -> Option<IpAddr> {
    let line = line.split('#').next().unwrap_or_default();
    let mut words = line.split_whitespace();
    let address = words.next()?.parse().ok()?;
    words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(name: &str) -> Facts {
        Facts {
            hostname: name.into(),
            android: false,
            subsystems: "usb".parse().unwrap(),
            seed: "yes".parse().unwrap(),
        }
    }

    #[test]
    fn the_own_name_is_known_and_other_lines_stay() {
        let web = facts("web");
        let own = "127.0.1.1\tweb\t# droidspaces\n::1\tweb\t# droidspaces\n";
        assert_eq!(hosts(&web, None).unwrap(), format!("{LOOPBACK}{own}"));
        let mine = "127.0.0.1 localhost\n10.0.0.7 nas # mine";
        let new = hosts(&web, Some(mine)).unwrap();
        assert_eq!(new, format!("{mine}\n{own}"));
        assert_eq!(hosts(&web, Some(&new)), None);
        let other = "::1\tweb\t# droidspaces\n";
        for (kept, added) in [
            ("127.0.1.1 WEB\n", other),
            ("127.0.1.1 web\n::1 localhost web\n", ""),
            ("192.0.2.7 web\n", ""),
            ("2001:db8::7 web\n", ""),
            ("1.2.3.4 x # web\n", own),
        ] {
            let expected = Some(format!("{kept}{added}")).filter(|_| !added.is_empty());
            assert_eq!(hosts(&web, Some(kept)), expected, "{kept}");
        }
        assert_eq!(hosts(&web, Some("127.0.1.1 LXC_NAME\n")).unwrap(), format!("127.0.1.1 web\n{other}"));
        let db = own.replace("web", "db");
        assert_eq!(hosts(&facts("db"), Some(&new)).unwrap(), format!("{mine}\n{db}"));
        assert!(hosts(&facts("a.b.c"), Some("")).unwrap().contains("\ta.b.c a\t"));
    }

    #[test]
    fn a_name_is_kept_and_a_placeholder_filled() {
        let web = facts("web");
        assert_eq!(hostname(&web, Some("mine\n")), None);
        for text in [None, Some(""), Some("LXC_NAME\n")] {
            assert_eq!(hostname(&web, text).unwrap(), "web\n");
        }
    }
}
