//! Child processes that perform one task for their parent: killed and reaped when their owner is dropped.
//!
//! Owns fork, the parent-death signal and the wait, and the release of inherited standard streams. Does not decide what a
//! child does. fork(2), waitpid(2), PR_SET_PDEATHSIG(2const), null(4).

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpid, getppid};

use crate::call;
use crate::sys::descriptor::make_standard;
use crate::sys::process::{self, Ended, Fork, exit_immediately};

/// Exit code of a child whose parent died before the child began.
const ORPHANED: u8 = 100;

/// Opens /dev/null for reading and writing.
///
/// # Errors
/// If open(2) fails.
pub fn null() -> Result<OwnedFd> {
    Ok(call!(open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()), "open(/dev/null)")?)
}

/// Replaces standard input, output and error with /dev/null, because other programs wait for the end of these streams.
///
/// # Errors
/// If /dev/null cannot be opened.
pub fn release_streams() -> Result<()> {
    let null = null()?;
    for number in 0..=2 {
        call!(make_standard(null.as_fd(), number), "dup2(/dev/null, {number})")?;
    }
    Ok(())
}

/// A child process. It is killed and reaped when this is dropped.
#[derive(Debug)]
pub struct Subprocess(Option<Pid>);

impl Subprocess {
    /// Takes over a child that has not been reaped.
    #[must_use]
    pub fn own(child: Pid) -> Self {
        Self(Some(child))
    }

    /// Forks a child that runs `work`, exits with the code it returns, and is killed when this process ends.
    ///
    /// # Errors
    /// EDEADLK if this process has more than one thread; otherwise the error of fork(2).
    pub fn fork(work: impl FnOnce() -> u8) -> Result<Self> {
        let parent = getpid();
        match call!(process::fork(), "fork")? {
            Fork::Parent(child) => Ok(Self::own(child)),
            Fork::Child => exit_immediately(match die_with(parent) {
                Ok(()) => work().into(),
                Err(_) => ORPHANED.into(),
            }),
        }
    }

    /// Its process id; `None` after [`Subprocess::wait`].
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        self.0
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it has already been reaped.
    pub fn wait(&mut self) -> Result<Ended> {
        let child = self.0.take().context("the child was already waited for")?;
        Ok(call!(process::wait(child), "waitpid({child})")?)
    }

    /// Kills it. Does not wait for its end.
    pub fn kill(&self) {
        if let Some(child) = self.0 {
            // It is our child and not reaped, so the number is its own.
            let _ = kill(child, Signal::SIGKILL);
        }
    }

    /// Leaves it to run; init reaps it.
    pub fn abandon(mut self) {
        self.0 = None;
    }
}

impl Drop for Subprocess {
    fn drop(&mut self) {
        self.kill();
        let _ = self.wait();
    }
}

fn die_with(parent: Pid) -> Result<(), Errno> {
    process::set_parent_death_signal(Signal::SIGKILL)?;
    // 0: the parent is in another PID namespace.
    match getppid() {
        now if now == parent || now.as_raw() == 0 => Ok(()),
        _ => Err(Errno::ESRCH),
    }
}

/// Whether `trial` succeeds in a child, which a filter may kill.
///
/// # Errors
/// If no child can be forked.
pub fn succeeds(trial: impl FnOnce() -> bool) -> Result<bool> {
    Ok(Subprocess::fork(|| u8::from(!trial()))?.wait()? == Ended::Exited(0))
}
