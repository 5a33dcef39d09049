//! Network features, queried from the kernel: rtnetlink(7), netfilter's netlink, /proc/net.
//!
//! The messages change the network namespace of the caller, which must be temporary.

use anyhow::Result;

use crate::netlink::{CREATE, EXCLUSIVE, Message, Netlink};

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
/// If the kernel does not support the kind, or any other error of its answer.
pub fn create(kind: &str) -> Result<()> {
    // struct ifinfomsg: all zeroes is any family, no index, no flags.
    let message = Message::new(NEW_LINK, CREATE | EXCLUSIVE, &[0; 16]);
    Ok(Netlink::route()?.request(message.with_nested(LINK_INFO, |info| info.with_text(INFO_KIND, kind)))?)
}

/// Adds a routing rule.
///
/// # Errors
/// If the kernel has no routing rules, or any other error of its answer.
pub fn rules() -> Result<()> {
    // struct fib_rule_hdr: IPv4, the main table, FR_ACT_TO_TBL.
    let body = [u8::try_from(libc::AF_INET)?, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0];
    Ok(Netlink::route()?.request(Message::new(NEW_RULE, CREATE, &body))?)
}

/// Queries the generation of the nftables rules.
///
/// # Errors
/// If the kernel has no nftables, or any other error of its answer.
pub fn nftables() -> Result<()> {
    // struct nfgenmsg: any family, version 0.
    Netlink::netfilter()?.ask(Message::new(GET_GENERATION, 0, &[0; 4]))?;
    Ok(())
}

/// Whether iptables can translate addresses: its list of targets contains MASQUERADE.
#[must_use]
pub fn iptables() -> bool {
    let targets = std::fs::read_to_string("/proc/net/ip_tables_targets").unwrap_or_default();
    targets.lines().any(|target| target == "MASQUERADE")
}
