//! The client's standard output, written without waiting.
//!
//! It belongs to the client's shell, too: making it non-blocking would break that. A terminal or pipe is opened a second
//! time, a socket can be asked not to wait, and a file makes nobody wait. pipe(7), send(2), proc_pid_fd(5).

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

/// What a pipe takes without waiting once poll(2) has called it writable: PIPE_BUF of pipe(7).
const ATOMIC: usize = 4096;

/// Somebody else's descriptor, to write to.
#[derive(Debug)]
pub enum Output {
    /// A file, which never makes anybody wait.
    File(OwnedFd),
    /// A second, non-blocking opening of a terminal or pipe.
    Reopened(File),
    /// A socket.
    Socket(OwnedFd),
    /// What cannot be opened again: one small piece at a time, whenever poll(2) says so.
    Piecewise(OwnedFd),
}

impl Output {
    /// Finds the way for a descriptor. Needs the host's /proc.
    ///
    /// # Errors
    /// What dup(2) answers.
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

    /// What to poll.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::File(descriptor) | Self::Socket(descriptor) | Self::Piecewise(descriptor) => {
                descriptor.as_fd()
            }
            Self::Reopened(file) => file.as_fd(),
        }
    }

    /// Writes what is taken now.
    ///
    /// # Errors
    /// EAGAIN when that is nothing, EPIPE when nobody reads any more.
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
