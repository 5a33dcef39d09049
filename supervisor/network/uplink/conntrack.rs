//! Removes the tracked connections of a container: nfnetlink_conntrack.h. Does not touch other connections.

use std::net::IpAddr;

use anyhow::Result;

use crate::netlink::{Message, Netlink, attribute};
use crate::network::store::Member;

/// `NFNL_SUBSYS_CTNETLINK`, `IPCTNL_MSG_CT_*`.
const SUBSYSTEM: u16 = 1;
const NEW: u16 = SUBSYSTEM << 8;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;
/// `CTA_TUPLE_ORIG`, `CTA_ID`, `CTA_ZONE`; `CTA_TUPLE_IP`; `NLA_F_NESTED`.
const ORIGINAL: u16 = 1;
const ID: u16 = 12;
const ZONE: u16 = 18;
const ADDRESSES: u16 = 1;
const NESTED: u16 = 0x8000;

/// Removes connections that one of the member's addresses opened to other networks.
///
/// # Errors
/// If the kernel has no interface for this.
pub(super) fn forget(member: &Member) -> Result<()> {
    let netfilter = Netlink::netfilter()?;
    for own in member.all_addresses() {
        let family = u8::try_from(if own.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 })?;
        let answers = netfilter.dump(Message::new(GET, 0, &[family, 0, 0, 0]))?;
        for answer in answers.iter().filter(|answer| answer.kind == NEW) {
            let Some(attributes) = answer.body.get(4..) else { continue };
            let Some(tuple) = attribute(attributes, ORIGINAL).filter(|tuple| begins_with(tuple, own)) else {
                continue;
            };
            let message = Message::new(DELETE, 0, &[family, 0, 0, 0]).with(ORIGINAL | NESTED, tuple);
            let message =
                [ID, ZONE].iter().fold(message, |message, kind| match attribute(attributes, *kind) {
                    Some(value) => message.with(*kind, value),
                    None => message,
                });
            // It may have ended in the meantime.
            let _ = netfilter.request(message);
        }
    }
    Ok(())
}

/// Whether a tuple's source is this address.
fn begins_with(tuple: &[u8], own: IpAddr) -> bool {
    let Some(addresses) = attribute(tuple, ADDRESSES) else { return false };
    match own {
        IpAddr::V4(own) => attribute(addresses, 1) == Some(&own.octets()[..]),
        // Any address of its prefix.
        IpAddr::V6(own) => {
            attribute(addresses, 3).and_then(|address| address.get(..8)) == own.octets().get(..8)
        }
    }
}
