//! The ports on which programs of the host listen: /proc/net, proc_net(5). Changes nothing.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::value::Protocol;

/// A listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listener {
    /// Its address.
    pub(super) address: IpAddr,
    /// Its port.
    pub(super) port: u16,
    /// Its protocol.
    pub(super) protocol: Protocol,
    /// The inode number of the socket, which identifies its program.
    pub(super) inode: u64,
}

/// All listening sockets of the caller's network namespace.
pub(super) fn all() -> Vec<Listener> {
    // TCP_LISTEN; an unconnected socket of UDP is in TCP_CLOSE.
    let files = [
        ("tcp", Protocol::Tcp, "0A"),
        ("tcp6", Protocol::Tcp, "0A"),
        ("udp", Protocol::Udp, "07"),
        ("udp6", Protocol::Udp, "07"),
    ];
    let read = |(name, protocol, state): (&str, Protocol, &str)| {
        let text = fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
        text.lines().skip(1).filter_map(|line| listener(line, protocol, state)).collect::<Vec<_>>()
    };
    files.into_iter().flat_map(read).collect()
}

fn listener(line: &str, protocol: Protocol, state: &str) -> Option<Listener> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if *words.get(3)? != state {
        return None;
    }
    let (address, port) = words.get(1)?.split_once(':')?;
    let inode = words.get(9)?.parse().ok()?;
    Some(Listener { address: read(address)?, port: u16::from_str_radix(port, 16).ok()?, protocol, inode })
}

/// Words of 32 bits in the machine's order, in hexadecimal digits.
fn read(text: &str) -> Option<IpAddr> {
    let octets: Vec<u8> = (0..text.len() / 8)
        .map(|index| u32::from_str_radix(text.get(index * 8..index * 8 + 8)?, 16).ok())
        .collect::<Option<Vec<u32>>>()?
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect();
    match octets.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?).into()),
        _ => None,
    }
}

/// The program with a socket: name and process ID, if visible.
pub(super) fn program(listener: &Listener) -> Option<String> {
    let wanted = format!("socket:[{}]", listener.inode);
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in numbers {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().filter_map(Result::ok);
        let mut targets = files.filter_map(|file| fs::read_link(file.path()).ok());
        if targets.any(|target| target.to_str() == Some(wanted.as_str())) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Some(format!("{}, process {pid}", crate::screen::line(name.trim())));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1";
        let found = listener(line, Protocol::Tcp, "0A").unwrap();
        assert_eq!((found.address.to_string().as_str(), found.port, found.inode), ("127.0.0.1", 8080, 4711));
        assert_eq!(listener(line, Protocol::Tcp, "07"), None);
        let six = "0: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 12 1";
        assert_eq!(listener(six, Protocol::Tcp, "0A").unwrap().address.to_string(), "::1");
        assert_eq!(listener("", Protocol::Tcp, "0A"), None);
    }
}
