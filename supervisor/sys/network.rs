//! Network interfaces of the calling process's network namespace: netdevice(7).

use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::check;

/// Requests of netdevice(7), `linux/sockios.h`; the type for ioctl(2) differs between C libraries.
const SIOCGIFFLAGS: libc::Ioctl = 0x8913;
const SIOCSIFFLAGS: libc::Ioctl = 0x8914;
const SIOCETHTOOL: libc::Ioctl = 0x8946;
/// `ETHTOOL_STXCSUM` of `linux/ethtool.h`.
const SET_TRANSMIT_CHECKSUMS: u32 = 0x17;

/// An ifreq with a name of at most 15 bytes.
fn named(name: &str) -> libc::ifreq {
    // SAFETY: ifreq is plain old data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (target, byte) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *target = libc::c_char::from_ne_bytes([byte]);
    }
    request
}

/// Has the kernel compute the checksums of packets that it sends through an interface, instead of leaving them to a
/// driver further on: SIOCETHTOOL of netdevice(7).
///
/// # Errors
/// If socket(2) or ioctl(2) fails.
pub fn compute_checksums(name: &str) -> Result<(), Errno> {
    let control = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // struct ethtool_value
    let mut value = [SET_TRANSMIT_CHECKSUMS, 0];
    let mut request = named(name);
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request and the value it points to are valid and outlive the call.
    check(libc::c_long::from(unsafe { libc::ioctl(control.as_raw_fd(), SIOCETHTOOL, &raw mut request) }))
        .map(drop)
}

/// Sets IFF_UP on the loopback interface, SIOCSIFFLAGS of netdevice(7).
///
/// # Errors
/// If socket(2) or ioctl(2) fails.
pub fn bring_loopback_up() -> Result<(), Errno> {
    let control = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut request = named("lo");
    // SAFETY: the request is a valid ifreq that outlives the call; the kernel fills in its flags.
    check(libc::c_long::from(unsafe { libc::ioctl(control.as_raw_fd(), SIOCGIFFLAGS, &raw mut request) }))?;
    // SAFETY: SIOCGIFFLAGS has just set the flags member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::c_short::try_from(libc::IFF_UP).unwrap_or(1);
    // SAFETY: as above; the kernel only reads the request.
    check(libc::c_long::from(unsafe { libc::ioctl(control.as_raw_fd(), SIOCSIFFLAGS, &raw const request) }))
        .map(drop)
}
