//! Checks that published ports are not used by other containers or by programs of the host.

use std::net::IpAddr;

use anyhow::{Result, bail};

use super::listeners::{self, Listener};
use super::store::Member;
use super::sysctl;
use crate::config::value::{Protocol, Publication};

/// The kernel's default range of ephemeral ports.
const EPHEMERAL: (u16, u16) = (32_768, 60_999);

/// Refuses ports that are in use.
///
/// # Errors
/// One line that names the port and its user.
pub(super) fn check(wanted: &[Publication], others: &[Member]) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    for port in wanted {
        for member in others {
            if let Some(taken) = member.ports.iter().find(|other| other.collides(port)) {
                bail!(
                    "network.ports: {port}: container {} publishes {taken}; use a different port",
                    member.name
                );
            }
        }
    }
    let ephemeral = ephemeral();
    for listener in listeners::all() {
        if let Some(port) = wanted.iter().find(|port| is_taken(port, &listener, ephemeral)) {
            let by = listeners::program(&listener).map(|program| format!(" ({program})")).unwrap_or_default();
            let (number, protocol) = (listener.port, listener.protocol);
            bail!(
                "network.ports: {port}: a program of the host{by} uses port {number}/{protocol}; stop it or use a different port"
            );
        }
    }
    Ok(())
}

fn is_taken(port: &Publication, listener: &Listener, ephemeral: (u16, u16)) -> bool {
    let passing = listener.protocol == Protocol::Udp
        && port.host.first() != port.host.last()
        && (ephemeral.0..=ephemeral.1).contains(&listener.port);
    // An IPv6 socket for all addresses also receives IPv4.
    let address = match (port.address, listener.address) {
        (None, _) => true,
        (Some(bound), theirs) => {
            bound == theirs
                || bound.is_ipv4() == theirs.is_ipv4() && (bound.is_unspecified() || theirs.is_unspecified())
                || bound.is_ipv4() && theirs == IpAddr::from([0_u16; 8])
        }
    };
    address && port.protocol == listener.protocol && port.host.contains(listener.port) && !passing
}

fn ephemeral() -> (u16, u16) {
    let text = sysctl::get("ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    numbers.next().zip(numbers.next()).unwrap_or(EPHEMERAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_takes_what_it_would_hear() {
        let listens = |address: &str, port, protocol| Listener {
            address: address.parse().unwrap(),
            port,
            protocol,
            inode: 0,
        };
        let taken = |port: &str, listener: &Listener| is_taken(&port.parse().unwrap(), listener, EPHEMERAL);
        let any = listens("0.0.0.0", 22, Protocol::Tcp);
        assert!(taken("22:22", &any) && taken("20-30:20-30", &any) && taken("127.0.0.1:22:22", &any));
        assert!(!taken("22:22/udp", &any) && !taken("[::]:22:22", &any) && !taken("23:22", &any));
        let local = listens("127.0.0.1", 22, Protocol::Tcp);
        assert!(taken("22:22", &local) && !taken("192.0.2.1:22:22", &local));
        let six = listens("::", 22, Protocol::Tcp);
        assert!(taken("22:22", &six) && taken("192.0.2.1:22:22", &six) && taken("[::1]:22:22", &six));
        let passing = listens("0.0.0.0", 40_000, Protocol::Udp);
        assert!(taken("40000:1/udp", &passing) && !taken("40000-40001:1-2/udp", &passing));
    }
}
