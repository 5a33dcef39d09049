//! Answers programs in one container that ask for their addresses: DHCP for IPv4, router solicitations for IPv6.
//!
//! Owns a socket on the host's end of the container's link, which receives only frames of this container. A container
//! that asks without end is heard a few times a second; the kernel discards the rest.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::socket::{MsgFlags, recv, send, setsockopt, sockopt};

use super::advertise::{self, Prefix};
use super::dhcp::{self, Lease};
use crate::call;
use crate::sys::packet;
use crate::sys::socket::filter::Step;

/// The maximum size of a frame, in bytes.
const ROOM: usize = 2048;
/// The number of questions that are read at once, and the pause after as many.
const AT_ONCE: usize = 8;
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes of questions that wait, about 20 of them: after a flood, a container is served within two seconds.
const BACKLOG: usize = 8192;
/// When a container that has received an advertisement receives the next one.
const RENEWAL: Duration = Duration::from_secs(advertise::LIFETIME as u64 / 3);

/// Passes UDP to port 67 over IPv4, router solicitations, and nothing else. Classic BPF,
/// Documentation/networking/filter.rst.
const FILTER: [Step; 17] = [
    (0x28, 0, 0, 12),
    (0x15, 0, 8, 0x0800),
    (0x30, 0, 0, 23),
    (0x15, 0, 12, 17),
    (0x28, 0, 0, 20),
    (0x45, 10, 0, 0x1fff),
    (0xb1, 0, 0, 14),
    (0x48, 0, 0, 16),
    (0x15, 0, 7, 67),
    (0x06, 0, 0, 0xffff),
    (0x15, 0, 5, 0x86dd),
    (0x30, 0, 0, 20),
    (0x15, 0, 3, 58),
    (0x30, 0, 0, 54),
    (0x15, 0, 1, 133),
    (0x06, 0, 0, 0xffff),
    (0x06, 0, 0, 0),
];

/// Serves the link of one container.
#[derive(Debug)]
pub struct Server {
    socket: OwnedFd,
    lease: Lease,
    prefix: Option<Prefix>,
    /// Until then, no question is read.
    paused: Option<Instant>,
    /// When the next advertisement is due without a question.
    renewal: Option<Instant>,
}

impl Server {
    /// Listens on the host's end of a link, whether it is a port of a bridge or not.
    ///
    /// # Errors
    /// If the kernel has no packet sockets.
    pub fn listen(interface: u32, lease: Lease, prefix: Option<Prefix>) -> Result<Self> {
        let socket = call!(packet::listen(interface, &FILTER), "listen for DHCP")?;
        call!(setsockopt(&socket, sockopt::RcvBuf, &BACKLOG), "setsockopt(SO_RCVBUF)")?;
        Ok(Self { socket, lease, prefix, paused: None, renewal: None })
    }

    /// Readable when a question is pending; none during a pause.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.paused.is_none().then(|| self.socket.as_fd())
    }

    /// Answers pending questions.
    pub fn serve(&mut self) {
        let mut buffer = [0; ROOM];
        for _ in 0..AT_ONCE {
            let Ok(length) = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) else {
                return;
            };
            let frame = buffer.get(..length).unwrap_or_default();
            if let Some(advertisement) = self.prefix.as_ref().and_then(|own| advertise::answer(frame, own)) {
                self.send(&advertisement);
                self.renewal = Some(Instant::now() + RENEWAL);
            } else if let Some(reply) = dhcp::answer(frame, &self.lease) {
                self.send(&reply);
            }
        }
        self.paused = Some(Instant::now() + PAUSE);
    }

    /// When [`Server::resume`] has something to do.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        [self.paused, self.renewal].into_iter().flatten().min()
    }

    /// Ends a pause and renews the default route of a container that has asked for it, if it is time.
    pub fn resume(&mut self) {
        let now = Instant::now();
        self.paused = self.paused.filter(|until| *until > now);
        if let (Some(prefix), true) = (&self.prefix, self.renewal.is_some_and(|due| due <= now)) {
            self.send(&advertise::renewal(prefix));
            self.renewal = Some(now + RENEWAL);
        }
    }

    fn send(&self, frame: &[u8]) {
        // A link that is down has no client.
        let _ = send(self.socket.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT);
    }
}
