//! Sockets that receive the frames of one interface: packet(7).

use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use super::check;
use super::socket::{attach_filter, filter};

/// `PACKET_IGNORE_OUTGOING`, Linux 4.20.
const IGNORE_OUTGOING: libc::c_int = 23;

/// Opens a socket that receives the frames of an interface that `steps` accept, and that can send frames. Frames from
/// the host itself are excluded if the kernel supports that.
///
/// # Errors
/// If socket(2), setsockopt(2) or bind(2) fails.
pub fn listen(interface: u32, steps: &[filter::Step]) -> Result<OwnedFd, Errno> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers. No protocol yet: nothing is received before the filter is attached.
    let number = check(libc::c_long::from(unsafe { libc::socket(libc::AF_PACKET, kind, 0) }))?;
    let number = libc::c_int::try_from(number).map_err(|_| Errno::EBADF)?;
    // SAFETY: the descriptor is new and has no other owner.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    attach_filter(socket.as_fd(), steps)?;
    ignore_outgoing(&socket);
    bind(&socket, interface)?;
    Ok(socket)
}

fn size(size: usize) -> Result<libc::socklen_t, Errno> {
    libc::socklen_t::try_from(size).map_err(|_| Errno::EINVAL)
}

fn ignore_outgoing(socket: &OwnedFd) {
    let one: libc::c_int = 1;
    let pointer = (&raw const one).cast();
    // SAFETY: the option is an int that outlives the call. Older kernels refuse it, which only costs time.
    let _ = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            IGNORE_OUTGOING,
            pointer,
            size(mem::size_of_val(&one)).unwrap_or_default(),
        )
    };
}

fn bind(socket: &OwnedFd, interface: u32) -> Result<(), Errno> {
    // SAFETY: sockaddr_ll is plain old data, for which all zeroes is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(|_| Errno::EINVAL)?;
    address.sll_protocol = u16::try_from(libc::ETH_P_ALL).map_err(|_| Errno::EINVAL)?.to_be();
    address.sll_ifindex = libc::c_int::try_from(interface).map_err(|_| Errno::EINVAL)?;
    let pointer = (&raw const address).cast();
    // SAFETY: the address is a valid sockaddr_ll that outlives the call.
    check(libc::c_long::from(unsafe {
        libc::bind(socket.as_raw_fd(), pointer, size(mem::size_of_val(&address))?)
    }))
    .map(drop)
}
