//! Unix sockets: descriptors in control messages and the peer's identity. unix(7), cmsg(3).

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, MsgFlags, SockaddrStorage, UnixCredentials, getsockopt, recv, sendmsg, sockopt,
};

use super::descriptor;

/// Maximum number of descriptors in one packet of the kernel.
const SCM_MAX_FD: usize = 253;
/// Maximum number of descriptors in one packet of ds.
pub const MAX_DESCRIPTORS: usize = 4;

/// One received packet.
#[derive(Debug)]
pub struct Packet {
    /// Number of received bytes; 0 is the end of the connection.
    pub length: usize,
    /// Whether the packet was longer than the buffer and was truncated.
    pub truncated: bool,
    /// The received descriptors, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
}

/// Sends one packet with descriptors, sendmsg(2) with SCM_RIGHTS.
///
/// # Errors
/// If sendmsg(2) fails; EPIPE instead of a signal if the peer has closed the connection.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let messages: &[ControlMessage<'_>] = if numbers.is_empty() { &[] } else { &rights };
    let data = [IoSlice::new(bytes)];
    loop {
        match sendmsg::<SockaddrStorage>(socket.as_raw_fd(), &data, messages, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Receives one packet with its descriptors, recvmsg(2) with MSG_CMSG_CLOEXEC. A packet with more descriptors than ds
/// ever sends counts as truncated, and they are closed.
///
/// # Errors
/// If recvmsg(2) fails.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Packet, Errno> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // Space for the kernel's maximum, so that no descriptor is lost or leaked.
    let mut space = nix::cmsg_space!([RawFd; SCM_MAX_FD]);
    // SAFETY: a msghdr of zeros is one without a name, data and control messages.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = space.as_mut_ptr().cast();
    header.msg_controllen = space.capacity() as _;
    let length = loop {
        // SAFETY: the header describes the buffer and the space, which outlive the call.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
        match Errno::result(received) {
            Err(Errno::EINTR) => {}
            other => break usize::try_from(other?).map_err(|_| Errno::EINVAL)?,
        }
    };
    let mut descriptors = rights(&header);
    let cut = header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
    let truncated = cut || descriptors.len() > MAX_DESCRIPTORS;
    if truncated {
        descriptors.clear();
    }
    Ok(Packet { length, truncated, descriptors })
}

/// All received descriptors, cmsg(3), including those of a truncated message.
fn rights(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut found = Vec::new();
    // SAFETY: recvmsg(2) has filled in the control messages and their length; these macros stay within that, and the
    // data of an SCM_RIGHTS message are descriptors without another owner.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while let Some(about) = control.as_ref() {
            if (about.cmsg_level, about.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let data = libc::CMSG_DATA(control);
                #[allow(clippy::unnecessary_cast, reason = "its type differs between C libraries")]
                let end = (control as usize) + about.cmsg_len as usize;
                let count = end.saturating_sub(data as usize) / size_of::<RawFd>();
                for index in 0..count {
                    found.push(descriptor::adopt(data.cast::<RawFd>().add(index).read_unaligned()));
                }
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    found
}

/// The sent data that the peer has not read, in bytes of kernel memory: SIOCOUTQ of unix(7), which equals TIOCOUTQ.
///
/// # Errors
/// If ioctl(2) fails.
pub fn unread(socket: BorrowedFd<'_>) -> Result<usize, Errno> {
    let mut count: libc::c_int = 0;
    // SAFETY: the kernel writes one int.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Waits for the next packet and returns its length without removing it: recv(2) with MSG_PEEK and MSG_TRUNC. 0 is the
/// end of the connection.
///
/// # Errors
/// If recv(2) fails.
pub fn next_length(socket: BorrowedFd<'_>) -> Result<usize, Errno> {
    loop {
        match recv(socket.as_raw_fd(), &mut [], MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// User, group and process id of the peer as the kernel saw them at connect(2), SO_PEERCRED of unix(7).
///
/// # Errors
/// If getsockopt(2) fails.
pub fn peer(socket: BorrowedFd<'_>) -> Result<UnixCredentials, Errno> {
    getsockopt(&socket, sockopt::PeerCredentials)
}

/// Steps of a packet filter, `struct sock_filter` of linux/filter.h: Documentation/networking/filter.rst of the kernel.
pub mod filter {
    /// Code, steps to skip if a condition is true, steps to skip otherwise, operand.
    pub type Step = (u16, u8, u8, u32);

    /// Loads the big-endian word at an offset; refuses a packet that is too short.
    #[must_use]
    pub const fn load_word(offset: u32) -> Step {
        (0x20, 0, 0, offset)
    }

    /// Loads the big-endian 16-bit number at an offset, likewise.
    #[must_use]
    pub const fn load_half(offset: u32) -> Step {
        (0x28, 0, 0, offset)
    }

    /// Skips this number of steps if the loaded value is this one, and another number otherwise.
    #[must_use]
    pub const fn jump_if_equal(value: u32, then: u8, otherwise: u8) -> Step {
        (0x15, then, otherwise, value)
    }

    /// Accepts the whole packet.
    #[must_use]
    pub const fn accept() -> Step {
        (0x06, 0, 0, u32::MAX)
    }

    /// Refuses the packet.
    #[must_use]
    pub const fn refuse() -> Step {
        (0x06, 0, 0, 0)
    }
}

/// Makes the kernel deliver only packets that a filter accepts, SO_ATTACH_FILTER of socket(7).
///
/// # Errors
/// EINVAL for an invalid filter; otherwise if setsockopt(2) fails.
pub fn attach_filter(socket: BorrowedFd<'_>, steps: &[filter::Step]) -> Result<(), Errno> {
    let mut steps: Vec<_> = steps
        .iter()
        .map(|(code, jt, jf, k)| libc::sock_filter { code: *code, jt: *jt, jf: *jf, k: *k })
        .collect();
    let program = libc::sock_fprog {
        len: libc::c_ushort::try_from(steps.len()).map_err(|_| Errno::EINVAL)?,
        filter: steps.as_mut_ptr(),
    };
    let length = libc::socklen_t::try_from(size_of_val(&program)).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the program and its steps outlive the call, which only reads them; the length is that of the program.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            std::ptr::from_ref(&program).cast(),
            length,
        )
    };
    Errno::result(done).map(drop)
}
