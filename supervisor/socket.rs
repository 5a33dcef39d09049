//! The control sockets: SOCK_SEQPACKET with one JSON document in each packet.
//!
//! Owns the transfer of messages and descriptors. Packets keep their boundaries, and the end of the peer is an empty
//! packet. Paths longer than the 107 bytes of unix(7) are reached through the descriptor of their directory.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, listen, socket, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call;
use crate::sys::descriptor;
use crate::sys::descriptor::set_blocking;
use crate::sys::socket as packets;

/// Maximum length of a packet: the kernel's default send buffer is larger, and messages are much shorter.
pub const LONGEST_PACKET: usize = 128 * 1024;

/// Delays between attempts to connect: 5 s in total.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const PAUSES: usize = 10;

/// A message with its descriptors.
#[derive(Debug)]
pub struct Received<T> {
    /// The message.
    pub message: T,
    /// Its descriptors, in order.
    pub descriptors: Vec<OwnedFd>,
}

fn new_socket(flags: SockFlag) -> Result<OwnedFd> {
    let flags = flags | SockFlag::SOCK_CLOEXEC;
    Ok(call!(socket(AddressFamily::Unix, SockType::SeqPacket, flags, None), "socket(unix, seqpacket)")?)
}

/// Creates two connected sockets.
///
/// # Errors
/// If socketpair(2) fails.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(call!(
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags),
        "socketpair(unix, seqpacket)"
    )?)
}

/// An address for a path of any length; the file keeps the directory reachable while the address is in use.
fn address(path: &Path) -> Result<(UnixAddr, Option<File>)> {
    if let Ok(address) = UnixAddr::new(path) {
        return Ok((address, None));
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("{}: not a socket path", path.display());
    };
    let directory = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(directory)
        .with_context(|| format!("open {}", directory.display()))?;
    let short = PathBuf::from(descriptor::path(directory.as_fd())).join(name);
    Ok((call!(UnixAddr::new(&short), "socket address {}", path.display())?, Some(directory)))
}

/// Listens at `path`, mode 0600; replaces the socket of a dead process.
///
/// The caller holds the lock that makes it the only listener.
///
/// # Errors
/// If the directory does not exist or is not writable.
pub fn listen_at(path: &Path) -> Result<OwnedFd> {
    remove_stale(path)?;
    let listener = new_socket(SockFlag::empty())?;
    bind_at(&listener, path)?;
    call!(listen(&listener, Backlog::MAXCONN), "listen({})", path.display())?;
    Ok(listener)
}

/// Creates a non-blocking datagram socket at `path`, mode 0600.
///
/// # Errors
/// If the directory does not exist or is not writable.
pub fn datagrams_at(path: &Path) -> Result<OwnedFd> {
    remove_stale(path)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let receiver =
        call!(socket(AddressFamily::Unix, SockType::Datagram, flags, None), "socket(unix, dgram)")?;
    bind_at(&receiver, path)?;
    Ok(receiver)
}

fn remove_stale(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn bind_at(socket: &OwnedFd, path: &Path) -> Result<()> {
    let (address, _directory) = address(path)?;
    call!(bind(socket.as_raw_fd(), &address), "bind({})", path.display())?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))
        .with_context(|| format!("chmod {}", path.display()))
}

/// Connects to the process that listens at `path`; `None` if no process does. If its queue is full, retries for a
/// while.
///
/// # Errors
/// Any error except a missing or dead listener; EAGAIN if the queue stays full.
pub fn connect_to(path: &Path) -> Result<Option<OwnedFd>> {
    let mut pauses = std::iter::successors(Some(FIRST_PAUSE), |pause| Some(*pause * 2)).take(PAUSES);
    loop {
        match connect_now(path) {
            Err(error) if crate::sys::errno_of(&error) == Some(Errno::EAGAIN) => match pauses.next() {
                Some(pause) => std::thread::sleep(pause),
                None => return Err(error.context("it accepts no connection")),
            },
            other => return other,
        }
    }
}

/// The same, but returns EAGAIN immediately if the queue is full.
///
/// # Errors
/// As for [`connect_to`].
pub fn connect_now(path: &Path) -> Result<Option<OwnedFd>> {
    let connection = new_socket(SockFlag::SOCK_NONBLOCK)?;
    let (address, _directory) = match address(path) {
        Ok(parts) => parts,
        Err(error) if crate::sys::errno_of(&error) == Some(Errno::ENOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    match connect(connection.as_raw_fd(), &address) {
        Ok(()) => {
            call!(set_blocking(connection.as_fd()), "fcntl(O_NONBLOCK)")?;
            Ok(Some(connection))
        }
        Err(Errno::ENOENT | Errno::ECONNREFUSED | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Ok(Some(call!(Err(errno), "connect({})", path.display())?)),
    }
}

/// Accepts one connection.
///
/// # Errors
/// If accept4(2) fails.
pub fn accept_from(listener: BorrowedFd<'_>) -> Result<OwnedFd> {
    let number = call!(accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC), "accept4")?;
    Ok(crate::sys::descriptor::adopt(number))
}

/// Sends one message.
///
/// # Errors
/// EPIPE if the peer has closed the connection.
pub fn send<T: Serialize>(socket: impl AsFd, message: &T, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    let bytes = serde_json::to_vec(message).context("encode a message")?;
    send_packet(socket.as_fd(), &bytes, descriptors)
}

// The part that does not depend on the type is compiled once.
fn send_packet(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    if bytes.len() > LONGEST_PACKET {
        bail!("a message of {} bytes is longer than the {LONGEST_PACKET} allowed", bytes.len());
    }
    call!(packets::send(socket, bytes, descriptors), "sendmsg")?;
    Ok(())
}

/// Receives one message; `None` at the end of the connection.
///
/// # Errors
/// If a message is too long or invalid, or recvmsg(2) fails; a peer that died counts as the end of the connection.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd) -> Result<Option<Received<T>>> {
    let Some((bytes, descriptors)) = receive_packet(socket.as_fd())? else { return Ok(None) };
    let message = serde_json::from_slice(&bytes).context("decode a message")?;
    Ok(Some(Received { message, descriptors }))
}

fn receive_packet(socket: BorrowedFd<'_>) -> Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let length = match packets::next_length(socket) {
        // The peer closed with unread data. The kernel reports this once and first; the peer's last messages follow.
        Err(Errno::ECONNRESET) => packets::next_length(socket),
        other => other,
    };
    let length = match length {
        Err(Errno::ECONNRESET | Errno::EPIPE) => return Ok(None),
        other => call!(other, "recvmsg(peek)")?,
    };
    // The buffer has the size of the packet: a fixed large buffer would stay in the heap of every monitor.
    let mut buffer = vec![0_u8; length.clamp(1, LONGEST_PACKET)];
    let packet = match packets::receive(socket, &mut buffer) {
        Err(Errno::ECONNRESET | Errno::EPIPE) => return Ok(None),
        other => call!(other, "recvmsg")?,
    };
    if packet.length == 0 {
        return Ok(None);
    }
    if packet.truncated {
        bail!("a message is longer than {LONGEST_PACKET} bytes, or has too many descriptors");
    }
    buffer.truncate(packet.length);
    Ok(Some((buffer, packet.descriptors)))
}

/// Whether sending has failed because the peer has closed the connection.
#[must_use]
pub fn is_end(error: &anyhow::Error) -> bool {
    matches!(crate::sys::errno_of(error), Some(Errno::EPIPE | Errno::ECONNRESET))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_descriptors_arrive_whole() {
        let (left, right) = pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        send(&left, &("hello", 7), &[null.as_fd()]).unwrap();
        drop(left);
        let received: Received<(String, i32)> = receive(&right).unwrap().unwrap();
        assert_eq!(received.message, ("hello".to_owned(), 7));
        assert_eq!(received.descriptors.len(), 1);
        assert!(receive::<(String, i32)>(&right).unwrap().is_none());
    }

    #[test]
    fn too_many_descriptors_are_refused_and_none_is_kept() {
        let (left, right) = pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        send(&left, &"warm", &[]).unwrap();
        receive::<String>(&right).unwrap();
        for many in [5, 6, 20, 100] {
            send(&left, &"many", &vec![null.as_fd(); many]).unwrap();
            // Other tests open and close descriptors at the same time, but only a few and only briefly.
            assert!(receive::<String>(&right).unwrap_err().to_string().contains("descriptors"));
        }
        let before = count();
        for _ in 0..50 {
            send(&left, &"many", &[null.as_fd(); 100]).unwrap();
            receive::<String>(&right).unwrap_err();
        }
        assert!(count() < before + 1000, "{before} became {}", count());
    }

    #[test]
    fn the_last_message_of_a_peer_that_did_not_read_is_received() {
        let (left, right) = pair().unwrap();
        send(&left, &"unread", &[]).unwrap();
        send(&right, &"the last word", &[]).unwrap();
        drop(right);
        assert_eq!(receive::<String>(&left).unwrap().unwrap().message, "the last word");
        assert!(receive::<String>(&left).unwrap().is_none());
    }

    #[test]
    fn a_path_longer_than_an_address_works() {
        let directory =
            std::env::temp_dir().join(format!("ds-socket-{}-{}", std::process::id(), "x".repeat(100)));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("control");
        assert!(connect_to(&path).unwrap().is_none());
        let listener = listen_at(&path).unwrap();
        let client = connect_to(&path).unwrap().unwrap();
        let server = accept_from(listener.as_fd()).unwrap();
        send(&client, &1, &[]).unwrap();
        assert_eq!(receive::<i32>(&server).unwrap().unwrap().message, 1);
        drop(listener);
        assert!(connect_to(&path).unwrap().is_none(), "a dead listener does not count");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
