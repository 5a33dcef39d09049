//! Signals as something to poll: a self-pipe and one flag for each signal.
//!
//! Owns which signals of this process are listened to. Dropping a [`Signals`] puts their default actions back, so
//! a forked child starts clean by dropping its parent's and listening to its own. Handlers run no code of ours:
//! they are signal-hook's, which set the flag and write a byte. signal(7), pipe(7), sigaction(2).

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

/// signal-hook installs its handler once in the life of a process image and never again. What a drop replaced by
/// the default action is kept here, to be put back when somebody listens to the signal again.
static REPLACED: Mutex<BTreeMap<i32, Disposition>> = Mutex::new(BTreeMap::new());

/// Signals that wait to be taken.
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
    /// Listens to `signals` from now on.
    ///
    /// # Errors
    /// When there is no descriptor left, or for a signal that cannot be caught.
    pub fn listen(signals: &[Signal]) -> Result<Self> {
        let (input, output) = call!(pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK), "pipe2")?;
        let mut listening = Self { input, heard: Vec::with_capacity(signals.len()) };
        for signal in signals {
            listening.add(*signal, &output).with_context(|| format!("listen to {signal}"))?;
        }
        Ok(listening)
    }

    fn add(&mut self, signal: Signal, output: &OwnedFd) -> Result<()> {
        let number = signal as i32;
        if FORBIDDEN.contains(&number) {
            bail!("it cannot be caught");
        }
        let pending = Arc::new(AtomicBool::new(false));
        // The flag first: handlers run in this order, and the byte says that a flag is up.
        let flag = signal_hook::flag::register(number, Arc::clone(&pending))?;
        let byte = pipe::register(number, output.try_clone().context("dup")?)?;
        self.heard.push(Heard { signal, pending, registrations: [flag, byte] });
        if let Some(disposition) = REPLACED.lock().unwrap_or_else(PoisonError::into_inner).remove(&number) {
            call!(restore(&disposition), "sigaction({signal})")?;
        }
        Ok(())
    }

    /// Readable while a signal may be waiting.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }

    /// The numbers of the signals that came since the last call, each once, in the order they were listened to.
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
    fn a_signal_is_told_once_and_the_default_comes_back() {
        // SIGURG and SIGWINCH are ignored by default, so the rest of the test program does not mind them.
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
