//! What the network can do, asked of the kernel itself: rtnetlink(7), netfilter's netlink, /proc/net.
//!
//! The messages change the network namespace of the caller: call them in one that ends with it.

use std::os::fd::AsRawFd;

use anyhow::{Result, bail, ensure};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// linux/netlink.h
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const ERROR: u16 = 2;
/// `RTM_NEWLINK`, linux/rtnetlink.h.
const NEW_LINK: u16 = 16;
/// `RTM_NEWRULE`.
const NEW_RULE: u16 = 32;
/// `IFLA_LINKINFO` and in it `IFLA_INFO_KIND`, linux/if_link.h.
const LINK_INFO: u16 = 18;
const INFO_KIND: u16 = 1;
/// `NFT_MSG_GETGEN` of the subsystem `NFNL_SUBSYS_NFTABLES`, linux/netfilter/nfnetlink.h and nf_tables.h.
const GET_GENERATION: u16 = 10 << 8 | 16;

/// Creates an interface of a kind such as `veth`; the kernel names it.
///
/// # Errors
/// That the kernel does not know the kind, or what else it answers.
pub fn create(kind: &str) -> Result<()> {
    let name = attribute(INFO_KIND, &[kind.as_bytes(), b"\0"].concat());
    // struct ifinfomsg: all zeroes is any family, no index, no flags.
    let body = [vec![0; 16], attribute(LINK_INFO, &name)].concat();
    ask(SockProtocol::NetlinkRoute, NEW_LINK, REQUEST | ACKNOWLEDGE | CREATE | EXCLUSIVE, &body)
}

/// Adds a routing rule.
///
/// # Errors
/// That the kernel has none, or what else it answers.
pub fn rules() -> Result<()> {
    // struct fib_rule_hdr: IPv4, the main table, FR_ACT_TO_TBL.
    let body = [u8::try_from(libc::AF_INET)?, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0];
    ask(SockProtocol::NetlinkRoute, NEW_RULE, REQUEST | ACKNOWLEDGE | CREATE, &body)
}

/// Asks nftables which generation its rules are of.
///
/// # Errors
/// That the kernel has none, or what else it answers.
pub fn nftables() -> Result<()> {
    // struct nfgenmsg: any family, version 0.
    ask(SockProtocol::NetlinkNetFilter, GET_GENERATION, REQUEST, &[0; 4])
}

/// Whether iptables could translate addresses: its list of targets has MASQUERADE.
#[must_use]
pub fn iptables() -> bool {
    let targets = std::fs::read_to_string("/proc/net/ip_tables_targets").unwrap_or_default();
    targets.lines().any(|target| target == "MASQUERADE")
}

/// Sends one message and takes the first answer, which is there when send(2) returns.
fn ask(protocol: SockProtocol, kind: u16, flags: u16, body: &[u8]) -> Result<()> {
    let kernel = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    send(kernel.as_raw_fd(), &message(kind, flags, body)?, MsgFlags::empty())?;
    let mut answer = [0; 4096];
    let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
    verdict(&answer[..length])
}

/// struct nlmsghdr (length, type, flags, sequence, port) and its payload.
fn message(kind: u16, flags: u16, body: &[u8]) -> Result<Vec<u8>> {
    let length = u32::try_from(16 + body.len())?;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend([kind.to_ne_bytes(), flags.to_ne_bytes()].concat());
    bytes.extend([0; 8]);
    bytes.extend(body);
    Ok(bytes)
}

/// struct rtattr: length, type, value, padding to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An error message with the number 0 is an acknowledgement; any other kind of message is an answer.
fn verdict(answer: &[u8]) -> Result<()> {
    let [_, _, _, _, low, high, ..] = answer else { bail!("a short answer") };
    if u16::from_ne_bytes([*low, *high]) == ERROR {
        ensure!(answer.get(16..20) == Some(&[0; 4]), "refused");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_for_an_interface_is_what_the_kernel_expects() {
        let body = [vec![0; 16], attribute(LINK_INFO, &attribute(INFO_KIND, b"veth\0"))].concat();
        let bytes = message(NEW_LINK, REQUEST | ACKNOWLEDGE, &body).unwrap();
        let little =
            |numbers: &[u16]| numbers.iter().flat_map(|number| number.to_ne_bytes()).collect::<Vec<_>>();
        assert_eq!(bytes.len(), 48);
        assert_eq!(bytes[..4], 48_u32.to_ne_bytes());
        assert_eq!(bytes[4..8], little(&[16, 5]));
        assert_eq!(bytes[32..40], little(&[16, 18, 9, 1]));
        assert_eq!(bytes[40..], *b"veth\0\0\0\0");
    }

    #[test]
    fn an_answer_is_understood() {
        let answer = |kind: u16, errno: i32| {
            let mut bytes = vec![0; 4];
            bytes.extend(kind.to_ne_bytes());
            bytes.resize(16, 0);
            bytes.extend(errno.to_ne_bytes());
            bytes
        };
        assert!(verdict(&answer(ERROR, 0)).is_ok());
        assert!(verdict(&answer(ERROR, -libc::EOPNOTSUPP)).is_err());
        assert!(verdict(&answer(10 << 8 | 15, 7)).is_ok());
        assert!(verdict(&answer(ERROR, 0)[..17]).is_err());
        assert!(verdict(&[]).is_err());
    }
}
