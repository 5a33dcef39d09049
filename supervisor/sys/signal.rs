//! Signal dispositions: sigaction(2), sigprocmask(2).

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};

/// Puts every signal back to its default action and unblocks all: what a new program expects to find.
///
/// # Errors
/// What sigprocmask(2) answers.
pub fn reset_all() -> Result<(), Errno> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator() {
        if matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
            continue;
        }
        // SAFETY: the default action runs no code of ours.
        unsafe { sigaction(signal, &default) }?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// Ignores a signal, for processes that must outlive their terminal.
///
/// # Errors
/// What sigaction(2) answers.
pub fn ignore(signal: Signal) -> Result<(), Errno> {
    let ignored = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring runs no code of ours.
    unsafe { sigaction(signal, &ignored) }.map(drop)
}

/// SIGRTMIN as the C library counts it; systemd's requests are numbered from it (systemd(1), "Signals").
#[must_use]
pub fn realtime_minimum() -> libc::c_int {
    libc::SIGRTMIN()
}
