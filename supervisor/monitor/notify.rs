//! The readiness of the init system: sd_notify(3), as systemd sends it from inside a container.
//!
//! The datagrams come from the container and are trusted for nothing but this one word.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::Result;
use nix::sys::socket::{MsgFlags, recv};

use crate::socket;

/// Longest datagram that is looked at.
const LONGEST: usize = 4096;

/// A socket that systemd tells its state to.
#[derive(Debug)]
pub(super) struct Notify(OwnedFd);

impl Notify {
    /// Listens at `path`, which is bound into the container.
    pub(super) fn listen(path: &Path) -> Result<Self> {
        Ok(Self(socket::datagrams_at(path)?))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Takes all that has come; whether the init system said that it is up.
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
