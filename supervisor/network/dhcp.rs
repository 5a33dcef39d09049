//! Answers to DHCP clients of images: RFC 2131, RFC 2132.
//!
//! A client receives the settings that `eth0` already has. Owns the message format. Keeps no state: leases are in the
//! store.

use std::net::Ipv4Addr;

use super::advertise::{HOST, checksum};
use super::link::Mac;
use super::subnet::Subnet;

/// The duration of a lease in seconds; long, because the address does not change.
const LEASE: u32 = 86_400;
/// Length of the headers of Ethernet, IPv4 without options, and UDP; and of the fixed part of a message.
const ETHERNET: usize = 14;
const IP: usize = 20;
const UDP: usize = 8;
const FIXED: usize = 240;
/// The minimum length of a message for old clients.
const LEAST: usize = 300;
/// The magic cookie in front of options.
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Types of messages.
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;
const INFORM: u8 = 8;

/// The settings for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its link-layer address; requests from others are ignored.
    pub mac: Mac,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its network; the gateway is the server.
    pub subnet: Subnet,
    /// Name servers.
    pub servers: Vec<Ipv4Addr>,
    /// Its host name.
    pub hostname: String,
    /// The MTU.
    pub mtu: u16,
}

/// The answer to one frame, if it is a request of this client.
#[must_use]
pub fn answer(frame: &[u8], lease: &Lease) -> Option<Vec<u8>> {
    let sender = frame.get(6..12)?;
    let packet = frame.get(ETHERNET..)?;
    let header = usize::from(packet.first()? & 0xf) * 4;
    let message = packet.get(header + UDP..)?;
    let (fixed, options) = message.split_at_checked(FIXED)?;
    // A request over Ethernet. Some clients leave the address in the message empty.
    if fixed.get(..3)? != [1, 1, 6] || fixed.get(236..)? != COOKIE || sender != lease.mac {
        return None;
    }
    let kind = *option(options, 53)?.first()?;
    let asked = option(options, 50).and_then(|value| <[u8; 4]>::try_from(value).ok()).map(Ipv4Addr::from);
    let own = Ipv4Addr::from(<[u8; 4]>::try_from(fixed.get(12..16)?).ok()?);
    let server = option(options, 54).and_then(|value| <[u8; 4]>::try_from(value).ok()).map(Ipv4Addr::from);
    let gateway = lease.subnet.gateway();
    let kind = match kind {
        DISCOVER => OFFER,
        // For another server.
        REQUEST if server.is_some_and(|server| server != gateway) => return None,
        REQUEST if asked.unwrap_or(own) == lease.address => ACK,
        REQUEST => NAK,
        INFORM => ACK,
        _ => return None,
    };
    let inform = option(options, 53) == Some(&[INFORM]);
    Some(wrapped(&reply(fixed, kind, inform, lease), lease))
}

/// The value of an option.
fn option(mut bytes: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        match bytes {
            [0, rest @ ..] => bytes = rest,
            [255, ..] | [] | [_] => return None,
            [kind, length, rest @ ..] => {
                let value = rest.get(..usize::from(*length))?;
                if *kind == wanted {
                    return Some(value);
                }
                bytes = rest.get(usize::from(*length)..)?;
            }
        }
    }
}

fn reply(question: &[u8], kind: u8, inform: bool, lease: &Lease) -> Vec<u8> {
    let gateway = lease.subnet.gateway().octets();
    let mut message = question.to_vec();
    message[0] = 2;
    message[3] = 0;
    message[8..10].fill(0);
    // Answers are broadcast, because some clients receive nothing else before they have an address.
    message[10..12].copy_from_slice(&[0x80, 0]);
    message[16..20].copy_from_slice(&if kind == NAK || inform { [0; 4] } else { lease.address.octets() });
    message[20..24].copy_from_slice(&gateway);
    message[24..28].fill(0);
    message[28..44].fill(0);
    message[28..34].copy_from_slice(&lease.mac);
    message[44..236].fill(0);
    let mut add = |kind: u8, value: &[u8]| {
        if let Ok(length) = u8::try_from(value.len()) {
            message.extend([kind, length]);
            message.extend(value);
        }
    };
    add(53, &[kind]);
    add(54, &gateway);
    if kind != NAK {
        if !inform {
            add(51, &LEASE.to_be_bytes());
            add(58, &(LEASE / 2).to_be_bytes());
            add(59, &(LEASE / 8 * 7).to_be_bytes());
        }
        let mask = u32::MAX << (32 - u32::from(Subnet::LENGTH));
        add(1, &mask.to_be_bytes());
        add(3, &gateway);
        let servers: Vec<u8> = lease.servers.iter().flat_map(|server| server.octets()).collect();
        if !servers.is_empty() {
            add(6, &servers);
        }
        add(12, lease.hostname.as_bytes());
        add(26, &lease.mtu.to_be_bytes());
    }
    message.push(255);
    message.resize(message.len().max(LEAST), 0);
    message
}

/// The frame that broadcasts the message as a UDP datagram.
fn wrapped(message: &[u8], lease: &Lease) -> Vec<u8> {
    let short = |length: usize| u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let gateway = lease.subnet.gateway().octets();
    let mut header =
        [&[0x45, 0][..], &short(IP + UDP + message.len()), &[0, 0, 0, 0, 64, 17, 0, 0], &gateway, &[255; 4]]
            .concat();
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    // The host's link-layer address. The checksum is optional in UDP over IPv4.
    let ethernet = [&[0xff; 6][..], &HOST, &[8, 0]].concat();
    let udp = [&[0, 67, 0, 68][..], &short(UDP + message.len()), &[0, 0]].concat();
    [&ethernet[..], &header, &udp, message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lease() -> Lease {
        Lease {
            mac: [2, 1, 2, 3, 4, 5],
            address: Ipv4Addr::new(10, 89, 40, 2),
            subnet: "10.89.40.0/24".parse().unwrap(),
            servers: vec![Ipv4Addr::new(9, 9, 9, 9)],
            hostname: "web".into(),
            mtu: 1400,
        }
    }

    fn question(options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; FIXED];
        message[..3].copy_from_slice(&[1, 1, 6]);
        message[4..8].copy_from_slice(b"xidx");
        message[236..].copy_from_slice(&COOKIE);
        let mut frame = vec![0xff; 6];
        frame.extend(lease().mac);
        frame.extend([8, 0, 0x45]);
        frame.extend([0; IP - 1 + UDP]);
        [frame, message, options.to_vec()].concat()
    }

    /// Type, address, and options of an answer.
    fn answered(options: &[u8]) -> Option<(u8, [u8; 4], Vec<u8>)> {
        let frame = answer(&question(options), &lease())?;
        assert_eq!(checksum(&frame[ETHERNET..ETHERNET + IP]), 0);
        let message = &frame[ETHERNET + IP + UDP..];
        assert_eq!((&message[4..8], message.len() >= LEAST), (&b"xidx"[..], true));
        let kind = option(&message[FIXED..], 53).unwrap()[0];
        Some((kind, message[16..20].try_into().unwrap(), message[FIXED..].to_vec()))
    }

    #[test]
    fn a_client_receives_its_settings() {
        let (kind, address, options) = answered(&[53, 1, DISCOVER, 255]).unwrap();
        assert_eq!((kind, address), (OFFER, [10, 89, 40, 2]));
        for (number, value) in
            [(1, &[255, 255, 255, 0][..]), (3, &[10, 89, 40, 1]), (6, &[9; 4]), (12, b"web"), (26, &[5, 120])]
        {
            assert_eq!(option(&options, number), Some(value), "{number}");
        }
        let request = |address: [u8; 4], server: u8| {
            let [a, b, c, d] = address;
            answered(&[53, 1, REQUEST, 50, 4, a, b, c, d, 54, 4, 10, 89, 40, server, 255])
                .map(|answer| answer.0)
        };
        assert_eq!(request([10, 89, 40, 2], 1), Some(ACK));
        assert_eq!(request([10, 89, 40, 3], 1), Some(NAK));
        assert_eq!(request([10, 89, 40, 2], 9), None, "another server was chosen");
        assert_eq!(answered(&[53, 1, INFORM, 255]).map(|answer| answer.0), Some(ACK));
        assert_eq!(answered(&[53, 1, 7, 255]), None, "a release needs no answer");
        let mut foreign = question(&[53, 1, DISCOVER, 255]);
        foreign[6] = 4;
        assert_eq!(answer(&foreign, &lease()), None);
    }

    proptest! {
        #[test]
        fn any_frame_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), options in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = answer(&bytes, &lease());
            let _ = answer(&question(&options), &lease());
        }
    }
}
