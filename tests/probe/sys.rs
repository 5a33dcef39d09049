//! The few system calls that have no safe wrapper: fork(2), prctl(2), ioctl(2), sigwait(3), seccomp(2).
//!
//! Owns every `unsafe` of this program.

#![allow(
    unsafe_code,
    reason = "system calls without a safe wrapper live here and nowhere else in this program"
)]

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::unistd::{ForkResult, Pid};
use std::os::fd::{AsRawFd, BorrowedFd};

/// A copy of this process; `None` in the copy. This program never has a second thread.
pub fn fork() -> Result<Option<Pid>> {
    // SAFETY: single-threaded, so the child may go on like any program.
    match unsafe { nix::unistd::fork() }.context("fork")? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Ends this process without running anything of it.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(code) }
}

/// Makes the terminal on descriptor 0 the controlling terminal of this session: TIOCSCTTY.
pub fn take_terminal() -> Result<()> {
    // SAFETY: plain integers.
    Errno::result(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) }).context("ioctl(TIOCSCTTY)")?;
    Ok(())
}

/// Rows and columns of a terminal: TIOCGWINSZ.
pub fn window_size(terminal: BorrowedFd<'_>) -> Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel fills the structure, which lives across the call.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })
        .context("ioctl(TIOCGWINSZ)")?;
    Ok((size.ws_row, size.ws_col))
}

/// Blocks every signal, so that [`next_signal`] gets them all.
pub fn block_all_signals() {
    // SAFETY: an all-zero set is valid and then filled.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

/// Lets every signal through again.
pub fn unblock_all_signals() {
    // SAFETY: an all-zero set is valid and then emptied.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Waits for any blocked signal.
pub fn next_signal() -> i32 {
    let mut number = 0;
    // SAFETY: as above; the kernel writes one integer.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigwait(&raw const all, &raw mut number);
    }
    number
}

/// Ignores a signal, by number.
pub fn ignore(number: i32) {
    // SAFETY: SIG_IGN is a valid disposition of every signal that can be caught.
    unsafe { libc::signal(number, libc::SIG_IGN) };
}

/// Sends a signal by number; real-time signals included.
pub fn kill(pid: i32, number: i32) -> Result<()> {
    // SAFETY: plain integers.
    Errno::result(unsafe { libc::kill(pid, number) }).context("kill")?;
    Ok(())
}

/// The first real-time signal that the C library leaves to programs.
pub fn realtime_minimum() -> i32 {
    libc::SIGRTMIN()
}

/// reboot(2) with a command word.
pub fn reboot(command: i32) -> Result<()> {
    // SAFETY: plain integer.
    Errno::result(unsafe { libc::reboot(command) }).context("reboot")?;
    Ok(())
}

/// Whether a capability is in the bounding set: PR_CAPBSET_READ; none beyond the last one the kernel knows.
pub fn bounding(capability: u32) -> Option<bool> {
    // SAFETY: plain integers.
    match unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(capability), 0, 0, 0) } {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// The signal that this process gets when its parent ends: PR_GET_PDEATHSIG.
pub fn parent_death_signal() -> i32 {
    let mut number = 0;
    // SAFETY: the kernel writes one integer.
    unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut number, 0, 0, 0) };
    number
}

/// Installs a system call filter for this process and all it will start: seccomp(2), SECCOMP_SET_MODE_FILTER.
pub fn install_filter(program: &[libc::sock_filter]) -> Result<()> {
    let length = u16::try_from(program.len()).context("a filter of this length")?;
    let handed = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions from a slice that has as many.
    let done =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const handed) };
    Errno::result(done).context("seccomp")?;
    Ok(())
}

/// Tries to load an empty kernel module: what the kernel or a filter answers.
pub fn init_module() -> Errno {
    // SAFETY: no image and no parameters: there is nothing that could be loaded.
    match Errno::result(unsafe { libc::syscall(libc::SYS_init_module, 0, 0, c"".as_ptr()) }) {
        Ok(_) => Errno::UnknownErrno,
        Err(errno) => errno,
    }
}

/// A real fault, which ends even a PID 1 that ignores every signal: SIGSEGV.
pub fn fault() {
    // SAFETY: none; this is what it is for. A volatile access is not optimised away.
    unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(0) };
}
