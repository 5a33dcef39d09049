//! Ctrl-C while something must be put away first.
//!
//! Owns the signal handlers of xtask: SIGINT, SIGTERM and SIGHUP only set a flag. The commands in the foreground get the
//! signal from the terminal as well and end by themselves; what waits must ask [`Interrupt::check`] now and then.

use anyhow::{Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Records that an end was requested.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From here on the signals no longer end xtask by themselves.
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
    /// If a signal came.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }
}
