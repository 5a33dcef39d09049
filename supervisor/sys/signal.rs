//! Signal dispositions: sigaction(2), sigprocmask(2), and signal-driven input: fcntl(2), "Managing signals".

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};

/// The first real-time signal of the kernel, signal(7).
const FIRST_REAL_TIME: libc::c_int = 32;

/// Resets every signal to its default action and unblocks all, as a new program expects.
///
/// # Errors
/// If sigprocmask(2) fails.
pub fn reset_all() -> Result<(), Errno> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator() {
        if matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
            continue;
        }
        // SAFETY: the default action runs no code of ours.
        unsafe { sigaction(signal, &default) }?;
    }
    // The C library refuses signals that it reserves, but a process may still ignore them.
    for number in FIRST_REAL_TIME..=libc::SIGRTMAX() {
        let default = [0 as libc::c_ulong; 8];
        let (old, length) = (std::ptr::null_mut::<libc::c_ulong>(), size_of::<u64>());
        // SAFETY: a kernel_sigaction of zeroes, whatever its layout: the default action, no flag, nothing blocked.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), old, length) };
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// The saved disposition of a signal; it can only be restored.
#[derive(Debug, Clone, Copy)]
pub struct Disposition {
    signal: Signal,
    action: SigAction,
}

/// Resets one signal to its default action and returns the previous one.
///
/// # Errors
/// If sigaction(2) fails.
pub fn set_default(signal: Signal) -> Result<Disposition, Errno> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of ours.
    let action = unsafe { sigaction(signal, &default) }?;
    Ok(Disposition { signal, action })
}

/// Restores the disposition that [`set_default`] replaced.
///
/// # Errors
/// If sigaction(2) fails.
pub fn restore(disposition: &Disposition) -> Result<(), Errno> {
    // SAFETY: the action was in effect for the same signal before, and code is never unloaded.
    unsafe { sigaction(disposition.signal, &disposition.action) }.map(drop)
}

/// Makes input and end-of-file on a socket raise SIGIO in this process, whose default action ends it: F_SETOWN and
/// O_ASYNC.
///
/// # Errors
/// If fcntl(2) fails.
pub fn raise_on_input(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: plain integers.
    let done = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETOWN, libc::getpid()) };
    super::check(libc::c_long::from(done))?;
    let flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
    fcntl(socket, FcntlArg::F_SETFL(flags | OFlag::O_ASYNC)).map(drop)
}

/// Ignores a signal, for processes that must outlive their terminal.
///
/// # Errors
/// If sigaction(2) fails.
pub fn ignore(signal: Signal) -> Result<(), Errno> {
    let ignored = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring runs no code of ours.
    unsafe { sigaction(signal, &ignored) }.map(drop)
}

/// SIGRTMIN of the C library; systemd's requests are numbered from it (systemd(1), "Signals").
#[must_use]
pub fn realtime_minimum() -> libc::c_int {
    libc::SIGRTMIN()
}
