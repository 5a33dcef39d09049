//! System properties, read with `/system/bin/getprop`: bionic's own interface is not available to a static program.
//! Changes nothing.

use std::ffi::OsStr;
use std::net::IpAddr;

use crate::tool::{Invocation, Tool};

/// The maximum number of name servers in resolv.conf(5).
const MAX_SERVERS: usize = 3;
/// The timeout for the connectivity service's dump, in seconds.
const TIMEOUT: &str = "3";

/// The value of a property; empty if it is not set or there is no getprop.
#[must_use]
pub fn get(name: &str) -> String {
    let Some(tool) = Tool::find("getprop") else { return String::new() };
    let arguments = [OsStr::new(name)];
    match tool.run(&mut Invocation::new(&arguments)) {
        Ok(outcome) if outcome.is_success() => outcome.said.trim().to_owned(),
        _ => String::new(),
    }
}

/// Whether the storage of the first user is readable: the user has unlocked the phone since boot, or nothing is
/// encrypted.
#[must_use]
pub fn is_unlocked() -> bool {
    get("sys.user.0.ce_available") == "true" || get("ro.crypto.state") == "unencrypted"
}

/// Whether Android runs in safe mode, or will at the next boot.
#[must_use]
pub fn is_safe_mode() -> bool {
    ["ro.sys.safemode", "persist.sys.safemode"].iter().any(|name| get(name) == "1")
}

/// Whether the user requested the last reboot in Android's menu.
#[must_use]
pub fn was_rebooted_by_user() -> bool {
    ["sys.boot.reason.last", "sys.boot.reason"].iter().any(|name| get(name).ends_with("userrequested"))
}

/// The name of the time zone, such as `Europe/Berlin`, if it is valid.
#[must_use]
pub fn timezone() -> Option<String> {
    let zone = get("persist.sys.timezone");
    is_zone(&zone).then_some(zone)
}

/// It is used as the value of an environment variable and as part of a path.
fn is_zone(zone: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+'))
    };
    zone.len() < 64 && zone.split('/').all(is_part)
}

/// The name servers of Android's default network, from its connectivity service; empty if that is not running yet.
#[must_use]
pub fn name_servers() -> Vec<IpAddr> {
    let Some(tool) = Tool::find("dumpsys") else { return Vec::new() };
    let arguments = ["-t", TIMEOUT, "connectivity"].map(OsStr::new);
    let mut found = Search::default();
    let mut line = |text: &str| found.take(text);
    let mut invocation = Invocation { lines: Some(&mut line), ..Invocation::new(&arguments) };
    match tool.run(&mut invocation) {
        Ok(_) => found.servers,
        Err(_) => Vec::new(),
    }
}

/// The parser for the output of `dumpsys connectivity`.
#[derive(Debug, Default)]
struct Search {
    network: Option<String>,
    servers: Vec<IpAddr>,
}

impl Search {
    fn take(&mut self, line: &str) {
        if let Some(rest) = line.trim().strip_prefix("Active default network: ") {
            self.network.get_or_insert_with(|| rest.trim().to_owned());
            return;
        }
        let Some(network) = &self.network else { return };
        // Before Android 11 "network{N}", since then "NetworkAgentInfo{network{N}".
        if !self.servers.is_empty() || !line.contains(&format!("network{{{network}}}")) {
            return;
        }
        let list = line.split_once("DnsAddresses: [").and_then(|(_, rest)| rest.split_once(']'));
        let items = list.map_or("", |(items, _)| items).split([',', ' ', '/']);
        // A link-local address is useless without the name of its interface.
        let address = |item: &str| item.split('%').next()?.parse::<IpAddr>().ok();
        let usable =
            |address: &IpAddr| !matches!(address, IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfe80);
        self.servers.extend(items.filter_map(address).filter(usable).take(MAX_SERVERS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_names_of_zones_are_zones() {
        for zone in ["Europe/Berlin", "UTC", "America/Argentina/Buenos_Aires", "Etc/GMT+3"] {
            assert!(is_zone(zone), "{zone}");
        }
        for zone in ["", "/etc/passwd", "../x", "Europe/", "Europe/../x", "a b", "A\n", "1/x"] {
            assert!(!is_zone(zone), "{zone}");
        }
    }

    #[test]
    fn the_servers_of_the_active_network_are_found() {
        let text = "NetworkProviders for:\n\
            Active default network: 101\n\
            Current Networks:\n\
              NetworkAgentInfo{network{100}  lp{{InterfaceName: rmnet0 DnsAddresses: [ /10.0.0.1 ] }}}\n\
              NetworkAgentInfo{network{101}  lp{{InterfaceName: wlan0 LinkAddresses: [ 192.168.1.7/24 ] \
            DnsAddresses: [ /192.168.1.1,/fe80::1%wlan0,/2001:db8::53 ] Domains: null MTU: 0}}}\n\
              NetworkAgentInfo{network{101}  DnsAddresses: [ /9.9.9.9 ]}\n";
        let mut search = Search::default();
        text.lines().for_each(|line| search.take(line));
        let expected: [IpAddr; 2] = ["192.168.1.1".parse().unwrap(), "2001:db8::53".parse().unwrap()];
        assert_eq!(search.servers, expected);
        let mut none = Search::default();
        "Active default network: none\nnetwork{101} DnsAddresses: [ /1.1.1.1 ]"
            .lines()
            .for_each(|l| none.take(l));
        assert!(none.servers.is_empty());
    }

    proptest! {
        #[test]
        fn any_dump_does_not_panic(lines in prop::collection::vec("(Active default network: |network\\{)?[ -~]{0,60}", 0..6)) {
            let mut search = Search::default();
            lines.iter().for_each(|line| search.take(line));
            prop_assert!(search.servers.len() <= MAX_SERVERS);
        }
    }
}
