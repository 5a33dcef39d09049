//! The messages of the child that becomes PID 1, or of a session, to its parent. Owns their types and the child's end
//! of the socket.
//!
//! | message | meaning |
//! |---|---|
//! | Begun | the child runs, so it was not killed at its creation; sessions only |
//! | Console, with descriptors | both sides of /dev/console; the descriptor that blocks readers of silent files |
//! | Listener, with a descriptor | its calls about processes wait for answers from now on; without PID namespaces only |
//! | Warning | a setting has no effect; the start continues |
//! | Ready | everything is prepared; execve(2) is next |
//! | Failed | the start failed: the child's error |
//! | end-of-file | after Ready: the program runs; before: the child died |
//!
//! The socket closes on exec, so end-of-file after Ready proves that the program was executed.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Error, Result};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::poll;
use crate::pty::Pty;
use crate::socket;
use crate::sys::{RemoteError, errno_of};

/// A message of the child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromChild {
    /// The child runs.
    Begun,
    /// With the console, and the descriptor from [`crate::mount::perform::Performer::take_silent`].
    Console,
    /// With the descriptor on which its calls are answered.
    Listener,
    /// A message of one line.
    Warning(String),
    /// The next step is execve.
    Ready,
    /// Why it ends.
    Failed(Failed),
}

/// An error of the child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The chain of errors, outermost first.
    chain: Vec<String>,
    /// The error number at its root.
    errno: Option<i32>,
}

impl From<&Error> for Failed {
    fn from(error: &Error) -> Self {
        let chain = error.chain().map(ToString::to_string).collect();
        Self { chain, errno: errno_of(error).map(|errno| errno as i32) }
    }
}

impl From<Failed> for Error {
    /// The error as if it had happened here.
    fn from(failed: Failed) -> Self {
        let mut causes = failed.chain.into_iter().rev();
        let text = causes.next().unwrap_or_else(|| "no reason was given".into());
        let root = match failed.errno {
            Some(number) => Self::new(RemoteError { text, errno: Errno::from_raw(number) }),
            None => Self::msg(text),
        };
        causes.fold(root, Self::context)
    }
}

/// The child's end.
#[derive(Debug)]
pub struct Wire(OwnedFd);

impl Wire {
    /// Takes the child's end of a pair.
    #[must_use]
    pub fn new(end: OwnedFd) -> Self {
        Self(end)
    }

    /// Sends a message. If the monitor has ended, the start fails.
    ///
    /// # Errors
    /// EPIPE if the monitor has ended.
    pub fn send(&self, message: &FromChild) -> Result<()> {
        socket::send(&self.0, message, &[])
    }

    /// Sends both sides of a terminal: of /dev/console, or of a session. The descriptor to keep follows them.
    ///
    /// # Errors
    /// EPIPE if the parent has ended.
    pub fn send_terminal(&self, terminal: &Pty, kept: Option<&OwnedFd>) -> Result<()> {
        let sides = [terminal.master.as_fd(), terminal.peer.as_fd()];
        let descriptors: Vec<_> = sides.into_iter().chain(kept.map(AsFd::as_fd)).collect();
        socket::send(&self.0, &FromChild::Console, &descriptors)
    }

    /// Sends the descriptor on which the child's calls are answered.
    ///
    /// # Errors
    /// EPIPE if the parent has ended.
    pub fn send_listener(&self, listener: &OwnedFd) -> Result<()> {
        socket::send(&self.0, &FromChild::Listener, &[listener.as_fd()])
    }

    /// Whether the monitor has ended. getppid(2) cannot tell, because the parent is outside the child's PID namespace.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        poll::is_hung_up(self.0.as_fd())
    }

    /// Sends a complete error, which is the last message.
    pub fn fail(&self, error: &Error) {
        // If the monitor has ended, there is no recipient.
        let _ = self.send(&FromChild::Failed(error.into()));
    }
}
