//! Handles Ctrl-C in commands that must clean up.
//!
//! Owns the signal handlers of xtask: SIGINT, SIGTERM and SIGHUP only set a flag. Commands in the foreground also
//! receive the signal from the terminal and end; a loop that waits must call [`Interrupt::check`] periodically.

use anyhow::{Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Records whether a signal has arrived.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Catches the signals from now on, so that they no longer end xtask.
    ///
    /// # Errors
    /// If a handler cannot be set.
    pub fn catch() -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register(signal, Arc::clone(&interrupted))?;
        }
        Ok(Self(interrupted))
    }

    /// # Errors
    /// If a signal has arrived.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }
}
