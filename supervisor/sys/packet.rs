//! Sockets that receive the frames of one interface: packet(7).

use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use super::check;

/// `PACKET_IGNORE_OUTGOING`, Linux 4.20.
const IGNORE_OUTGOING: libc::c_int = 23;

/// One instruction of a filter: struct sock_filter.
pub type Instruction = (u16, u8, u8, u32);

/// Opens a socket that receives the frames of an interface that `filter` accepts, and that can send frames. Frames from
/// the host itself are excluded if the kernel supports that.
///
/// # Errors
/// If socket(2), setsockopt(2) or bind(2) fails.
pub fn listen(interface: u32, filter: &[Instruction]) -> Result<OwnedFd, Errno> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers. No protocol yet: nothing is received before the filter is attached.
    let number = check(libc::c_long::from(unsafe { libc::socket(libc::AF_PACKET, kind, 0) }))?;
    let number = libc::c_int::try_from(number).map_err(|_| Errno::EBADF)?;
    // SAFETY: the descriptor is new and has no other owner.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    attach(&socket, filter)?;
    ignore_outgoing(&socket);
    bind(&socket, interface)?;
    Ok(socket)
}

/// Has a socket receive only what `filter` lets pass: SO_ATTACH_FILTER of socket(7).
///
/// # Errors
/// If setsockopt(2) fails.
pub fn attach(socket: &OwnedFd, filter: &[Instruction]) -> Result<(), Errno> {
    let mut program: Vec<libc::sock_filter> = filter
        .iter()
        .map(|(code, jt, jf, k)| libc::sock_filter { code: *code, jt: *jt, jf: *jf, k: *k })
        .collect();
    let length = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    let pointer = (&raw const program).cast();
    // SAFETY: the program and its instructions outlive the call, which copies them.
    check(libc::c_long::from(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            pointer,
            size(mem::size_of_val(&program))?,
        )
    }))
    .map(drop)
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
