//! Signals as a descriptor to poll: a self-pipe and one flag for each signal.
//!
//! Owns the set of handled signals of this process. Dropping [`Signals`] restores the default actions, so that a forked
//! child drops its parent's and creates its own. The handlers are signal-hook's, which only set the flag and write a
//! byte. signal(7), pipe(7), sigaction(2).

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::unistd::{pipe2, read};
use signal_hook::SigId;
use signal_hook::consts::FORBIDDEN;
use signal_hook::low_level::{pipe, unregister};

use crate::call;
use crate::sys::signal::{Disposition, restore, set_default};

/// signal-hook installs its handler only once in the life of a process image. The handlers that a drop has replaced by
/// the default action are stored here, to be restored when the signal is handled again.
static REPLACED: Mutex<BTreeMap<i32, Disposition>> = Mutex::new(BTreeMap::new());

/// Pending signals.
#[derive(Debug)]
pub struct Signals {
    input: OwnedFd,
    heard: Vec<Heard>,
}

#[derive(Debug)]
struct Heard {
    signal: Signal,
    pending: Arc<AtomicBool>,
    registrations: [SigId; 2],
}

impl Signals {
    /// Handles `signals` from now on.
    ///
    /// # Errors
    /// If no descriptor is left, or a signal cannot be caught.
    pub fn listen(signals: &[Signal]) -> Result<Self> {
        let (input, output) = call!(pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK), "pipe2")?;
        let mut listening = Self { input, heard: Vec::with_capacity(signals.len()) };
        for signal in signals {
            listening.add(*signal, &output).with_context(|| format!("handle {signal}"))?;
        }
        Ok(listening)
    }

    fn add(&mut self, signal: Signal, output: &OwnedFd) -> Result<()> {
        let number = signal as i32;
        if FORBIDDEN.contains(&number) {
            bail!("it cannot be caught");
        }
        let pending = Arc::new(AtomicBool::new(false));
        // The flag is first: handlers run in this order, and the byte announces a set flag.
        let flag = signal_hook::flag::register(number, Arc::clone(&pending))?;
        let byte = pipe::register(number, output.try_clone().context("dup")?)?;
        self.heard.push(Heard { signal, pending, registrations: [flag, byte] });
        if let Some(disposition) = REPLACED.lock().unwrap_or_else(PoisonError::into_inner).remove(&number) {
            call!(restore(&disposition), "sigaction({signal})")?;
        }
        Ok(())
    }

    /// Readable while a signal may be pending.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }

    /// The signals since the last call, each once, in the order of registration.
    #[must_use]
    pub fn take(&self) -> Vec<i32> {
        let mut buffer = [0_u8; 64];
        loop {
            match read(&self.input, &mut buffer) {
                Ok(count) if count == buffer.len() => {}
                Err(Errno::EINTR) => {}
                Ok(_) | Err(_) => break,
            }
        }
        let taken = self.heard.iter().filter(|heard| heard.pending.swap(false, Ordering::SeqCst));
        taken.map(|heard| heard.signal as i32).collect()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let mut replaced = REPLACED.lock().unwrap_or_else(PoisonError::into_inner);
        for heard in &self.heard {
            if let Ok(disposition) = set_default(heard.signal) {
                replaced.insert(heard.signal as i32, disposition);
            }
            for registration in heard.registrations {
                unregister(registration);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::signal::raise;

    #[test]
    fn a_signal_is_reported_once_and_the_default_is_restored() {
        // SIGURG and SIGWINCH are ignored by default, so they do not affect the rest of the test program.
        for _ in 0..2 {
            let signals = Signals::listen(&[Signal::SIGURG, Signal::SIGWINCH]).unwrap();
            assert!(signals.take().is_empty());
            raise(Signal::SIGURG).unwrap();
            raise(Signal::SIGURG).unwrap();
            let mut descriptors = [PollFd::new(signals.fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut descriptors, PollTimeout::from(1000_u16)).unwrap(), 1);
            assert_eq!(signals.take(), [Signal::SIGURG as i32]);
            assert!(signals.take().is_empty());
            drop(signals);
            let now = set_default(Signal::SIGURG).unwrap();
            assert!(format!("{now:?}").contains("sa_sigaction: 0"), "the default action: {now:?}");
            raise(Signal::SIGURG).unwrap();
        }
    }

    #[test]
    fn a_signal_that_cannot_be_caught_is_refused() {
        assert!(Signals::listen(&[Signal::SIGKILL]).is_err());
    }
}
