//! Whether this machine has an uplink: a default route, or the rule with which Android selects its default network.
//!
//! Owns the query through rtnetlink(7), and the socket that reports changes of routes and rules. On Android the main
//! table is empty: netd has a table for each network, and a rule of fixed priority selects that of the default network
//! (RouteController.h of netd: 31000, and 22000 before Android 12). Changes nothing.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

use crate::call;

/// `RTMGRP_*` of linux/rtnetlink.h: the groups of routes and rules of both address families.
const GROUPS: u32 = 1 << 6 | 1 << 10 | 1 << 7 | 1 << 18;
/// `RTM_GETROUTE`, `RTM_GETRULE`, and their answers.
const GET_ROUTE: u16 = 26;
const NEW_ROUTE: u16 = 24;
const GET_RULE: u16 = 34;
const NEW_RULE: u16 = 32;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// `NLMSG_ERROR`, `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Length of struct nlmsghdr, and of struct rtmsg and struct fib_rule_hdr.
const HEADER: usize = 16;
const BODY: usize = 12;
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
/// Size of the buffer for an answer: the kernel sends dumps in pieces of at most 32 KiB.
const ROOM: usize = 32 << 10;

/// Reports changes.
#[derive(Debug)]
pub struct Uplink {
    socket: OwnedFd,
}

impl Uplink {
    /// Subscribes to changes.
    ///
    /// # Errors
    /// If the kernel does not support rtnetlink.
    pub fn watch() -> Result<Self> {
        Ok(Self { socket: open(SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, GROUPS)? })
    }

    /// Readable after a change.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Discards the messages so far; [`is_up`] determines the current state.
    pub fn drain(&self) {
        let mut buffer = [0; 4096];
        // An overflow (ENOBUFS) is also a change.
        while !matches!(
            recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()),
            Err(errno) if errno != Errno::ENOBUFS && errno != Errno::EINTR
        ) {}
    }
}

/// Whether there is an uplink.
///
/// # Errors
/// If the kernel does not answer.
pub fn is_up() -> Result<bool> {
    let socket = open(SockFlag::SOCK_CLOEXEC, 0)?;
    for (request, answer) in [(GET_ROUTE, NEW_ROUTE), (GET_RULE, NEW_RULE)] {
        for family in [libc::AF_INET, libc::AF_INET6] {
            if ask(&socket, request, answer, family)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn open(flags: SockFlag, groups: u32) -> Result<OwnedFd> {
    let protocol = SockProtocol::NetlinkRoute;
    let socket = call!(socket(AddressFamily::Netlink, SockType::Raw, flags, protocol), "socket(netlink)")?;
    call!(bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups)), "bind(netlink)")?;
    Ok(socket)
}

/// Requests all routes or rules; returns whether one of them is an uplink. Always reads the complete answer.
fn ask(socket: &OwnedFd, request: u16, answer: u16, family: libc::c_int) -> Result<bool> {
    let mut message = Vec::with_capacity(HEADER + BODY);
    message.extend(u32::try_from(HEADER + BODY)?.to_ne_bytes());
    message.extend(request.to_ne_bytes());
    message.extend(DUMP.to_ne_bytes());
    message.extend([0; 8]);
    message.push(u8::try_from(family)?);
    message.resize(HEADER + BODY, 0);
    call!(send(socket.as_raw_fd(), &message, MsgFlags::empty()), "send(netlink)")?;
    let mut buffer = vec![0; ROOM];
    let mut found = false;
    loop {
        let length = call!(recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()), "recv(netlink)")?;
        if length == 0 {
            bail!("rtnetlink closed the connection");
        }
        let (leads_out, ended) = look(&buffer[..length], answer);
        found |= leads_out;
        if ended {
            return Ok(found);
        }
    }
}

/// Parses one piece of an answer: whether it contains an uplink, and whether it is the last piece.
fn look(mut bytes: &[u8], answer: u16) -> (bool, bool) {
    let mut found = false;
    while let Some((header, rest)) = bytes.split_at_checked(HEADER) {
        let length = usize::try_from(number(header, 0)).unwrap_or(0);
        let Some(body) = length.checked_sub(HEADER).and_then(|length| rest.get(..length)) else {
            // Truncated: the rest is lost.
            return (found, true);
        };
        match short(header, 4) {
            ERROR | DONE => return (found, true),
            kind if kind == answer && answer == NEW_ROUTE => found |= is_default_route(body),
            kind if kind == answer => found |= is_default_rule(body),
            _ => {}
        }
        bytes = rest.get(length.next_multiple_of(4) - HEADER..).unwrap_or(&[]);
    }
    (found, false)
}

fn is_default_route(body: &[u8]) -> bool {
    // rtm_dst_len; rtm_table; rtm_type RTN_UNICAST.
    let (Some(0), Some(table), Some(1)) = (body.get(1), body.get(4), body.get(7)) else { return false };
    attribute(body, TABLE).unwrap_or(u32::from(*table)) == MAIN && attribute(body, OUTPUT) != Some(LOOPBACK)
}

fn is_default_rule(body: &[u8]) -> bool {
    // action FR_ACT_TO_TBL.
    body.get(7) == Some(&1)
        && attribute(body, PRIORITY).is_some_and(|priority| DEFAULT_NETWORK.contains(&priority))
}

/// The value of a 32-bit attribute after the fixed part of a message.
fn attribute(body: &[u8], wanted: u16) -> Option<u32> {
    let mut rest = body.get(BODY..)?;
    while rest.len() >= 4 {
        let length = usize::from(short(rest, 0));
        let value = rest.get(4..length)?;
        if short(rest, 2) & 0x3fff == wanted && value.len() == 4 {
            return Some(number(value, 0));
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn short(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|two| two.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u16, body: [u8; BODY], attributes: &[(u16, u32)]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes.extend(body);
        for (name, value) in attributes {
            bytes.extend(8_u16.to_ne_bytes());
            bytes.extend(name.to_ne_bytes());
            bytes.extend(value.to_ne_bytes());
        }
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes
    }

    fn route(length: u8, table: u8, kind: u8, attributes: &[(u16, u32)]) -> Vec<u8> {
        message(NEW_ROUTE, [2, length, 0, 0, table, 0, 0, kind, 0, 0, 0, 0], attributes)
    }

    #[test]
    fn a_default_route_of_the_main_table_leads_out_and_others_do_not() {
        for (bytes, expected) in [
            (route(0, 254, 1, &[(OUTPUT, 2)]), true),
            (route(0, 254, 1, &[]), true),
            (route(0, 0, 1, &[(TABLE, 254), (OUTPUT, 2)]), true),
            (route(0, 254, 1, &[(OUTPUT, LOOPBACK)]), false),
            (route(24, 254, 1, &[(OUTPUT, 2)]), false),
            (route(0, 254, 7, &[(OUTPUT, 2)]), false),
            (route(0, 0, 1, &[(TABLE, 1003), (OUTPUT, 2)]), false),
        ] {
            assert_eq!(look(&bytes, NEW_ROUTE), (expected, false), "{bytes:?}");
        }
        let both = [route(24, 254, 1, &[]), route(0, 254, 1, &[(OUTPUT, 3)]), message(DONE, [0; BODY], &[])];
        assert_eq!(look(&both.concat(), NEW_ROUTE), (true, true));
    }

    #[test]
    fn the_rule_of_a_default_network_leads_out() {
        let rule = |action, priority| {
            let body = [2, 0, 0, 0, 0, 0, 0, action, 0, 0, 0, 0];
            message(NEW_RULE, body, &[(PRIORITY, priority), (TABLE, 1003)])
        };
        assert_eq!(look(&rule(1, 31000), NEW_RULE), (true, false));
        assert_eq!(look(&rule(1, 22000), NEW_RULE), (true, false));
        // The last rule of Android: unreachable.
        assert_eq!(look(&rule(7, 32000), NEW_RULE), (false, false));
        assert_eq!(look(&rule(1, 32766), NEW_RULE), (false, false));
    }

    #[test]
    fn the_kernel_answers() {
        is_up().unwrap();
        Uplink::watch().unwrap().drain();
    }

    proptest! {
        #[test]
        fn any_answer_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 20_u16..40) {
            look(&bytes, kind);
            look(&[message(kind, [0; BODY], &[]), bytes].concat(), kind);
        }
    }
}
