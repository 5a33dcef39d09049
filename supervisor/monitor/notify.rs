//! The readiness notification of the init system: sd_notify(3), as systemd sends it from a container.
//!
//! Owns the socket. The datagrams come from the container and are used only for `READY=1`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::Result;
use nix::sys::socket::{MsgFlags, recv};

use crate::socket;

/// Maximum length of a datagram.
const LONGEST: usize = 4096;

/// The socket for systemd's notifications.
#[derive(Debug)]
pub(super) struct Notify(OwnedFd);

impl Notify {
    /// Listens at `path`, which is bind-mounted into the container.
    pub(super) fn listen(path: &Path) -> Result<Self> {
        Ok(Self(socket::datagrams_at(path)?))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Reads all datagrams; returns whether the init system reported that it is up.
    #[inline(never)] // Its buffer would stay on the stack of the monitor.
    pub(super) fn is_ready(&self) -> bool {
        let mut buffer = [0_u8; LONGEST];
        let mut ready = false;
        while let Ok(length) = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            ready |= says_ready(&buffer[..length]);
        }
        ready
    }
}

fn says_ready(datagram: &[u8]) -> bool {
    datagram.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_itself_counts() {
        assert!(says_ready(b"READY=1\nSTATUS=up"));
        assert!(says_ready(b"X=1\nREADY=1"));
        assert!(!says_ready(b"READY=10"));
        assert!(!says_ready(b"STATUS=READY=1"));
        assert!(!says_ready(b""));
    }
}
