//! Writes to the client's standard output without blocking.
//!
//! Owns a second open file description of it where necessary. The first belongs to the client's shell as well, so it
//! must stay blocking. A terminal or pipe is reopened, a socket is written with MSG_DONTWAIT, and a file never blocks.
//! pipe(7), send(2), proc_pid_fd(5).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{isatty, write};

use crate::poll::is_ready;
use crate::rootfs::root::{file_type, reopen};

/// The size that a pipe accepts without blocking after poll(2) reported it writable: PIPE_BUF of pipe(7).
const ATOMIC: usize = 4096;

/// A descriptor of another process, to write to.
#[derive(Debug)]
pub enum Output {
    /// A file, which never blocks.
    File(OwnedFd),
    /// A second, non-blocking open of a terminal or pipe.
    Reopened(File),
    /// A socket.
    Socket(OwnedFd),
    /// A descriptor that cannot be reopened: one small piece at a time, after poll(2).
    Piecewise(OwnedFd),
}

impl Output {
    /// Selects the method for a descriptor. Needs the host's /proc.
    ///
    /// # Errors
    /// If dup(2) fails.
    pub fn new(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        let kind = fstat(descriptor).map_or(SFlag::S_IFIFO, |status| file_type(&status));
        let waits = match kind {
            SFlag::S_IFSOCK => return Ok(Self::Socket(descriptor.try_clone_to_owned()?)),
            SFlag::S_IFIFO => true,
            SFlag::S_IFCHR => isatty(descriptor).unwrap_or(false),
            _ => false,
        };
        if !waits {
            return Ok(Self::File(descriptor.try_clone_to_owned()?));
        }
        match reopen(descriptor, OFlag::O_WRONLY | OFlag::O_NONBLOCK) {
            Ok(file) => Ok(Self::Reopened(file)),
            Err(_) => Ok(Self::Piecewise(descriptor.try_clone_to_owned()?)),
        }
    }

    /// The descriptor to poll.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::File(descriptor) | Self::Socket(descriptor) | Self::Piecewise(descriptor) => {
                descriptor.as_fd()
            }
            Self::Reopened(file) => file.as_fd(),
        }
    }

    /// Writes as much as possible without blocking.
    ///
    /// # Errors
    /// EAGAIN if that is nothing, EPIPE if the reader has closed it.
    pub fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match self {
            Self::File(descriptor) => write(descriptor, bytes),
            Self::Reopened(file) => write(file, bytes),
            Self::Socket(descriptor) => {
                send(descriptor.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
            }
            Self::Piecewise(descriptor) => {
                if !is_ready(descriptor.as_fd(), PollFlags::POLLOUT) {
                    return Err(Errno::EAGAIN);
                }
                write(descriptor, &bytes[..bytes.len().min(ATOMIC)])
            }
        }
    }
}
