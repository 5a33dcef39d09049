//! Router advertisements for images that configure IPv6 by themselves: RFC 4861, RFC 4862, RFC 8106.
//!
//! Owns the message format. A container has a prefix of its own, so that every address it makes up is one of those it
//! may send with. Keeps no state.

use std::net::Ipv6Addr;

use super::link::Mac;

/// The host's address on the link.
pub const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// All hosts of the link.
const ALL: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// How long the default route is valid, in seconds: the maximum of RFC 8319. It is renewed after a third of it.
pub const LIFETIME: u16 = 65_535;
/// The lifetime of addresses and name servers: without end.
const FOREVER: [u8; 4] = [0xff; 4];
/// Length of the headers of Ethernet and IPv6.
const ETHERNET: usize = 14;
const IP: usize = 40;
/// `IPPROTO_ICMPV6`; types of its messages; the hop limit that proves that a message is from this link.
const ICMP: u8 = 58;
const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
const HOPS: u8 = 255;

/// The settings for a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    /// The link-layer address of the container.
    pub mac: Mac,
    /// The first address of its prefix of 64 bits.
    pub prefix: Ipv6Addr,
    /// Name servers.
    pub servers: Vec<Ipv6Addr>,
    /// The MTU.
    pub mtu: u16,
}

/// The advertisement for a frame that asks for one.
#[must_use]
pub fn answer(frame: &[u8], prefix: &Prefix) -> Option<Vec<u8>> {
    let packet = frame.get(ETHERNET..)?;
    let message = packet.get(IP..)?;
    let is_valid = frame.get(6..12)? == prefix.mac
        && packet.get(6..8)? == [ICMP, HOPS]
        && message.get(..2)? == [SOLICITATION, 0]
        && message.len() >= 8;
    let sender = Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(8..24)?).ok()?);
    is_valid.then(|| advertisement(prefix, if sender.is_unicast_link_local() { sender } else { ALL }))
}

/// The advertisement for everybody behind the link, unasked.
#[must_use]
pub fn renewal(prefix: &Prefix) -> Vec<u8> {
    advertisement(prefix, ALL)
}

fn advertisement(prefix: &Prefix, to: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, 64, 0];
    message.extend(LIFETIME.to_be_bytes());
    // Reachable time and retransmission timer: not specified.
    message.extend([0; 8]);
    // Prefix information: addresses may be made from it; its other addresses are behind the router.
    message.extend([3, 4, 64, 0x40]);
    message.extend([FOREVER, FOREVER, [0; 4]].concat());
    message.extend(prefix.prefix.octets());
    message.extend([5, 1, 0, 0]);
    message.extend(u32::from(prefix.mtu).to_be_bytes());
    // More servers than a resolver uses would only make the message longer.
    let servers = prefix.servers.get(..3).unwrap_or(&prefix.servers);
    if !servers.is_empty() {
        message.extend([25, u8::try_from(1 + 2 * servers.len()).unwrap_or_default(), 0, 0]);
        message.extend(FOREVER);
        servers.iter().for_each(|server| message.extend(server.octets()));
    }
    let length = u16::try_from(message.len()).unwrap_or_default().to_be_bytes();
    let addresses = [ROUTER.octets(), to.octets()].concat();
    let sum = checksum(&[&addresses[..], &[0, 0], &length, &[0, 0, 0, ICMP], &message].concat());
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    // To the container's own link-layer address even for all hosts, RFC 6085.
    let ethernet = [&prefix.mac[..], &HOST, &[0x86, 0xdd]].concat();
    [&ethernet[..], &[0x60, 0, 0, 0], &length, &[ICMP, HOPS], &addresses, &message].concat()
}

/// The host's link-layer address in answers.
pub const HOST: Mac = [0x02, 0x64, 0x73, 0, 0, 1];

/// RFC 1071.
pub fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix() -> Prefix {
        Prefix {
            mac: [2, 1, 2, 3, 4, 5],
            prefix: "fd00:1:2:3::".parse().unwrap(),
            servers: vec!["fd00:9::9".parse().unwrap()],
            mtu: 1400,
        }
    }

    fn solicitation(sender: &str, hops: u8) -> Vec<u8> {
        let sender: Ipv6Addr = sender.parse().unwrap();
        let start =
            [&[0x33, 0x33, 0, 0, 0, 2][..], &prefix().mac, &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 58, hops]];
        [&start.concat()[..], &sender.octets(), &[0xff; 16], &[SOLICITATION, 0, 0, 0, 0, 0, 0, 0]].concat()
    }

    #[test]
    fn a_solicitation_has_an_answer() {
        let frame = answer(&solicitation("fe80::5", 255), &prefix()).unwrap();
        let packet = &frame[ETHERNET..];
        assert_eq!((&frame[..6], &frame[12..14]), (&prefix().mac[..], &[0x86, 0xdd][..]));
        assert_eq!(
            (&packet[8..24], &packet[24..40]),
            (&ROUTER.octets()[..], &"fe80::5".parse::<Ipv6Addr>().unwrap().octets()[..])
        );
        let message = &packet[IP..];
        assert_eq!(usize::from(packet[5]), message.len());
        let pseudo = [&packet[8..40], &[0, 0, 0, packet[5], 0, 0, 0, 58], message].concat();
        assert_eq!(checksum(&pseudo), 0);
        // The lifetime; the prefix without "on link"; MTU; name server.
        assert_eq!((&message[..2], &message[6..8]), (&[134, 0][..], &[0xff, 0xff][..]));
        assert_eq!(
            (&message[16..20], &message[32..40]),
            (&[3, 4, 64, 0x40][..], &[0xfd, 0, 0, 1, 0, 2, 0, 3][..])
        );
        assert_eq!(&message[48..56], &[5, 1, 0, 0, 0, 0, 5, 120]);
        assert_eq!((&message[56..58], message[72..].len()), (&[25, 3][..], 8));
        let all = answer(&solicitation("::", 255), &prefix()).unwrap();
        assert_eq!(all[ETHERNET + 24..ETHERNET + 40], ALL.octets());
        assert_eq!(all, renewal(&prefix()));
    }

    #[test]
    fn what_is_no_solicitation_of_the_container_has_none() {
        assert_eq!(answer(&solicitation("fe80::5", 254), &prefix()), None, "forwarded");
        let mut foreign = solicitation("fe80::5", 255);
        foreign[11] = 9;
        assert_eq!(answer(&foreign, &prefix()), None);
        let mut other = solicitation("fe80::5", 255);
        other[ETHERNET + IP] = ADVERTISEMENT;
        assert_eq!(answer(&other, &prefix()), None);
    }

    proptest! {
        #[test]
        fn any_frame_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = answer(&bytes, &prefix());
        }
    }
}
