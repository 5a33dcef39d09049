//! Whether this machine has an uplink: a default route, or the rule with which Android selects its default network.
//!
//! Owns the query through rtnetlink(7), and which changes of routes and rules are reported. On Android the main
//! table is empty: netd has a table for each network, and a rule of fixed priority selects that of the default network
//! (RouteController.h of netd: 31000, and 22000 before Android 12). Changes nothing.

use anyhow::Result;
use nix::sys::socket::SockProtocol;

use crate::netlink::{Answer, Message, Netlink, Subscription, attribute, number};

/// `RTMGRP_*` of linux/rtnetlink.h: the groups of routes and rules of both address families.
const GROUPS: u32 = 1 << 6 | 1 << 10 | 1 << 7 | 1 << 18;
/// `RTM_GETROUTE`, `RTM_GETRULE`, and their answers.
const GET_ROUTE: u16 = 26;
const NEW_ROUTE: u16 = 24;
const GET_RULE: u16 = 34;
const NEW_RULE: u16 = 32;
/// Length of struct rtmsg and struct fib_rule_hdr.
const FIXED: usize = 12;
/// `RTA_OIF`, `RTA_TABLE` and `FRA_TABLE`, `FRA_PRIORITY`.
const OUTPUT: u16 = 4;
const TABLE: u16 = 15;
const PRIORITY: u16 = 6;
/// The main table, rtnetlink(7).
const MAIN: u32 = 254;
/// The interface `lo`.
const LOOPBACK: u32 = 1;
/// Priorities of netd's rule for the default network.
const DEFAULT_NETWORK: [u32; 2] = [31000, 22000];

/// Subscribes to changes of routes and rules; [`is_up`] determines the current state.
///
/// # Errors
/// If the kernel does not support rtnetlink.
pub fn watch() -> Result<Subscription> {
    Subscription::new(SockProtocol::NetlinkRoute, GROUPS, &[])
}

/// Whether there is an uplink.
///
/// # Errors
/// If the kernel does not support rtnetlink.
pub fn is_up() -> Result<bool> {
    let route = Netlink::route()?;
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut fixed = [0; FIXED];
        fixed[0] = u8::try_from(family)?;
        // A kernel without rules, or without IPv6, refuses the query.
        let query = |kind| route.dump(Message::new(kind, 0, &fixed)).unwrap_or_default();
        let leads_out = |answer: &Answer| match answer.kind {
            NEW_ROUTE => is_default_route(&answer.body),
            NEW_RULE => is_default_rule(&answer.body),
            _ => false,
        };
        if [GET_ROUTE, GET_RULE].into_iter().flat_map(query).any(|answer| leads_out(&answer)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_default_route(body: &[u8]) -> bool {
    // rtm_dst_len; rtm_table; rtm_type RTN_UNICAST.
    let (Some(0), Some(table), Some(1)) = (body.get(1), body.get(4), body.get(7)) else { return false };
    value(body, TABLE).unwrap_or(u32::from(*table)) == MAIN && value(body, OUTPUT) != Some(LOOPBACK)
}

fn is_default_rule(body: &[u8]) -> bool {
    // action FR_ACT_TO_TBL.
    body.get(7) == Some(&1)
        && value(body, PRIORITY).is_some_and(|priority| DEFAULT_NETWORK.contains(&priority))
}

/// The value of a 32-bit attribute after the fixed part of a message.
fn value(body: &[u8], wanted: u16) -> Option<u32> {
    attribute(body.get(FIXED..)?, wanted).filter(|value| value.len() == 4).map(|value| number(value, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(fixed: [u8; FIXED], attributes: &[(u16, u32)]) -> Vec<u8> {
        let mut bytes = fixed.to_vec();
        for (name, value) in attributes {
            bytes.extend(8_u16.to_ne_bytes());
            bytes.extend(name.to_ne_bytes());
            bytes.extend(value.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn a_default_route_of_the_main_table_leads_out_and_others_do_not() {
        let route = |length, table, kind, attributes: &[(u16, u32)]| {
            is_default_route(&message([2, length, 0, 0, table, 0, 0, kind, 0, 0, 0, 0], attributes))
        };
        assert!(route(0, 254, 1, &[(OUTPUT, 2)]));
        assert!(route(0, 254, 1, &[]));
        assert!(route(0, 0, 1, &[(TABLE, 254), (OUTPUT, 2)]));
        assert!(!route(0, 254, 1, &[(OUTPUT, LOOPBACK)]));
        assert!(!route(24, 254, 1, &[(OUTPUT, 2)]));
        assert!(!route(0, 254, 7, &[(OUTPUT, 2)]));
        assert!(!route(0, 0, 1, &[(TABLE, 1003), (OUTPUT, 2)]));
    }

    #[test]
    fn the_rule_of_a_default_network_leads_out() {
        let rule = |action, priority| {
            let fixed = [2, 0, 0, 0, 0, 0, 0, action, 0, 0, 0, 0];
            is_default_rule(&message(fixed, &[(PRIORITY, priority), (TABLE, 1003)]))
        };
        assert!(rule(1, 31000));
        assert!(rule(1, 22000));
        // The last rule of Android: unreachable.
        assert!(!rule(7, 32000));
        assert!(!rule(1, 32766));
    }

    #[test]
    fn the_kernel_answers() {
        is_up().unwrap();
        watch().unwrap().drain();
    }

    proptest! {
        #[test]
        fn any_answer_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            is_default_route(&bytes);
            is_default_rule(&bytes);
        }
    }
}
