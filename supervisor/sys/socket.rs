//! Unix sockets: descriptors in control messages and the peer's identity. unix(7), cmsg(3).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, UnixCredentials, getsockopt, recv,
    recvmsg, sendmsg, sockopt,
};

use super::descriptor;

/// Most descriptors that one packet of ours carries.
pub const MOST_DESCRIPTORS: usize = 4;

/// One received packet.
#[derive(Debug)]
pub struct Packet {
    /// Bytes received; 0 is the end of the connection.
    pub length: usize,
    /// Whether the packet was longer than the buffer and lost its end.
    pub truncated: bool,
    /// Descriptors that came along, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
}

/// Sends one packet with descriptors, sendmsg(2) with SCM_RIGHTS.
///
/// # Errors
/// What sendmsg(2) answers; EPIPE instead of a signal when the peer is gone.
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

/// Receives one packet with its descriptors, recvmsg(2) with MSG_CMSG_CLOEXEC.
///
/// # Errors
/// What recvmsg(2) answers.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Packet, Errno> {
    let mut space = nix::cmsg_space!([RawFd; MOST_DESCRIPTORS]);
    let mut data = [IoSliceMut::new(buffer)];
    let message = loop {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut data, Some(&mut space), flags) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            descriptors.extend(numbers.into_iter().map(descriptor::adopt));
        }
    }
    let truncated = message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
    Ok(Packet { length: message.bytes, truncated, descriptors })
}

/// Length of the next packet, which stays where it is: recv(2) with MSG_PEEK and MSG_TRUNC. Waits for one; 0 is the
/// end of the connection.
///
/// # Errors
/// What recv(2) answers.
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
/// What getsockopt(2) answers.
pub fn peer(socket: BorrowedFd<'_>) -> Result<UnixCredentials, Errno> {
    getsockopt(&socket, sockopt::PeerCredentials)
}
