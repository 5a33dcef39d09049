//! What the child that is to become PID 1 tells its monitor.
//!
//! | message | meaning |
//! |---|---|
//! | Begun | the child runs: nothing killed it at its birth; sessions only |
//! | Console, with descriptors | both sides of /dev/console; what keeps the readers of silent files waiting |
//! | Warning | something is not as asked for, and the start goes on |
//! | Ready | everything is prepared, execve(2) comes next |
//! | Failed | it did not work: the child's own words |
//! | end | after Ready: the program runs; before: the child died |
//!
//! The socket closes on exec, so its end after Ready is the proof that the program was executed.

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
    /// It runs.
    Begun,
    /// The console comes along, and what [`crate::mount::perform::Performer::take_silent`] gives.
    Console,
    /// One line for people.
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

    /// Sends a message. A monitor that is gone fails the start.
    ///
    /// # Errors
    /// EPIPE when the monitor is gone.
    pub fn send(&self, message: &FromChild) -> Result<()> {
        socket::send(&self.0, message, &[])
    }

    /// Sends both sides of a terminal: of /dev/console, or of a session. A descriptor to be kept follows them.
    ///
    /// # Errors
    /// EPIPE when nobody waits any more.
    pub fn send_terminal(&self, terminal: &Pty, kept: Option<&OwnedFd>) -> Result<()> {
        let sides = [terminal.master.as_fd(), terminal.peer.as_fd()];
        let descriptors: Vec<_> = sides.into_iter().chain(kept.map(AsFd::as_fd)).collect();
        socket::send(&self.0, &FromChild::Console, &descriptors)
    }

    /// Whether the monitor is gone. A parent outside of the child's PID namespace cannot be asked for by getppid(2).
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        poll::is_hung_up(self.0.as_fd())
    }

    /// Sends a whole error, which ends the conversation.
    pub fn fail(&self, error: &Error) {
        // A monitor that is gone has nobody to tell.
        let _ = self.send(&FromChild::Failed(error.into()));
    }
}
