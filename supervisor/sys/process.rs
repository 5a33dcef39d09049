//! Processes other than new ones: wait, signals, namespaces. waitpid(2), kill(2), pidfd_open(2), setns(2), prctl(2).

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

pub use super::clone::{Cloned, Fork, clone, fork};
use super::{check, descriptor};

/// A descriptor of a process that never refers to another one, pidfd_open(2) (5.3). Readable once the process has
/// ended.
///
/// # Errors
/// ESRCH if there is no such process, ENOSYS before 5.3.
pub fn pidfd_open(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: plain integers.
    let number = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    Ok(descriptor::adopt(RawFd::try_from(number).map_err(|_| Errno::EBADF)?))
}

/// The same with flags, such as PIDFD_NONBLOCK (5.10) and PIDFD_THREAD (6.9).
///
/// # Errors
/// As for [`pidfd_open`]; EINVAL for flags that the kernel does not have.
pub fn pidfd_open_with(pid: Pid, flags: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: plain integers.
    let number = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), flags) })?;
    Ok(descriptor::adopt(RawFd::try_from(number).map_err(|_| Errno::EBADF)?))
}

/// A duplicate of a descriptor of another process, pidfd_getfd(2) (5.6).
///
/// # Errors
/// EBADF if it has no such descriptor, EPERM without the permission to trace it.
pub fn pidfd_getfd(process: BorrowedFd<'_>, number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: plain integers.
    let number = check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })?;
    Ok(descriptor::adopt(RawFd::try_from(number).map_err(|_| Errno::EBADF)?))
}

/// The fields of `siginfo_t` that a process may fill in, sigaction(2).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalInfo {
    number: libc::c_int,
    error: libc::c_int,
    code: libc::c_int,
    #[cfg(target_pointer_width = "64")]
    padding: libc::c_int,
    sender: libc::pid_t,
    user: libc::uid_t,
    value: usize,
    rest: [u8; REST],
}

/// The rest of the 128 bytes of `siginfo_t`.
const REST: usize = if cfg!(target_pointer_width = "64") { 128 - 32 } else { 128 - 24 };

impl SignalInfo {
    /// The information of sigqueue(3): si_code, the sender's process and user id, and a value.
    #[must_use]
    pub fn new(signal: libc::c_int, code: libc::c_int, sender: Pid, user: libc::uid_t, value: usize) -> Self {
        Self {
            number: signal,
            error: 0,
            code,
            #[cfg(target_pointer_width = "64")]
            padding: 0,
            sender: sender.as_raw(),
            user,
            value,
            rest: [0; REST],
        }
    }
}

/// Sends a signal to exactly the process of a pidfd, pidfd_send_signal(2) (5.1; flags since 6.9).
///
/// # Errors
/// ESRCH once the process has ended, EPERM for information that only the kernel may send.
pub fn pidfd_send_signal(process: BorrowedFd<'_>, info: &SignalInfo, flags: u32) -> Result<(), Errno> {
    // SAFETY: the information has the size of the kernel's and outlives the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            info.number,
            std::ptr::from_ref(info),
            flags,
        )
    })
    .map(drop)
}

/// Sends a signal to a thread, tgkill(2).
///
/// # Errors
/// ESRCH if the process has no such thread.
pub fn tgkill(process: Pid, thread: Pid, signal: libc::c_int) -> Result<(), Errno> {
    // SAFETY: plain integers.
    check(unsafe { libc::syscall(libc::SYS_tgkill, process.as_raw(), thread.as_raw(), signal) }).map(drop)
}

/// Compares a resource of two processes, kcmp(2); KCMP_EPOLL_TFD, whose last argument is a pointer, counts as unknown.
///
/// # Errors
/// If kcmp(2) fails.
pub fn kcmp(processes: [Pid; 2], kind: libc::c_int, indices: [libc::c_ulong; 2]) -> Result<i32, Errno> {
    /// `KCMP_EPOLL_TFD`.
    const WITH_POINTER: libc::c_int = 7;
    if kind == WITH_POINTER {
        return Err(Errno::EINVAL);
    }
    let ([first, second], [one, other]) = (processes, indices);
    // SAFETY: plain integers for every other kind.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, first.as_raw(), second.as_raw(), kind, one, other) };
    check(order).map(|order| i32::try_from(order).unwrap_or_default())
}

/// Joins the namespaces `flags` of a process: setns(2), with a pidfd as `target` since 5.8.
///
/// # Errors
/// If setns(2) fails; EINVAL for a pidfd before 5.8.
pub fn setns(target: BorrowedFd<'_>, flags: libc::c_int) -> Result<(), Errno> {
    // SAFETY: plain integers.
    check(libc::c_long::from(unsafe { libc::setns(target.as_raw_fd(), flags) })).map(drop)
}

/// Sends a real-time or ordinary signal by number; nix's enumeration has no real-time signals. kill(2).
///
/// # Errors
/// If kill(2) fails.
pub fn kill(pid: Pid, signal: libc::c_int) -> Result<(), Errno> {
    // SAFETY: plain integers.
    check(libc::c_long::from(unsafe { libc::kill(pid.as_raw(), signal) })).map(drop)
}

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this code.
    Exited(u8),
    /// This signal killed it; includes real-time signals.
    Signalled(u8),
}

impl fmt::Display for Ended {
    /// `SIGKILL`, or `exit code 1`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exited(code) => write!(formatter, "exit code {code}"),
            Self::Signalled(number) => match Signal::try_from(i32::from(number)) {
                Ok(signal) => write!(formatter, "{signal}"),
                Err(_) => write!(formatter, "signal {number}"),
            },
        }
    }
}

/// Reaps a child, or any child for `None`, if it has ended: waitpid(2) with WNOHANG.
///
/// nix's own function returns an error for a child that a real-time signal killed, and its status would be lost.
///
/// # Errors
/// ECHILD if there is no such child.
pub fn reap(child: Option<Pid>) -> Result<Option<(Pid, Ended)>, Errno> {
    wait_with(child.map_or(-1, Pid::as_raw), libc::WNOHANG)
}

/// Waits for the end of a child, waitpid(2).
///
/// # Errors
/// ECHILD if there is no such child.
pub fn wait(child: Pid) -> Result<Ended, Errno> {
    wait_with(child.as_raw(), 0)?.map(|(_, ended)| ended).ok_or(Errno::ECHILD)
}

fn wait_with(wanted: libc::pid_t, options: libc::c_int) -> Result<Option<(Pid, Ended)>, Errno> {
    let mut status: libc::c_int = 0;
    let number = loop {
        // SAFETY: the status is a valid integer that outlives the call, which fills it in.
        match check(libc::c_long::from(unsafe { libc::waitpid(wanted, &raw mut status, options) })) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    let pid = Pid::from_raw(libc::pid_t::try_from(number).map_err(|_| Errno::EINVAL)?);
    let byte = |value: libc::c_int| u8::try_from(value).unwrap_or(u8::MAX);
    Ok(match number {
        0 => None,
        _ if libc::WIFEXITED(status) => Some((pid, Ended::Exited(byte(libc::WEXITSTATUS(status))))),
        _ => Some((pid, Ended::Signalled(byte(libc::WTERMSIG(status))))),
    })
}

/// Whether the working directory is inside this process's root, getcwd(2): otherwise the kernel's path begins with
/// `(unreachable)`. The C library's function hides that.
///
/// # Errors
/// ENOENT if the directory was deleted, or another error.
pub fn working_directory_is_inside() -> Result<bool, Errno> {
    // PATH_MAX; on the stack, because this is called between fork and execve.
    let mut path = [0_u8; 4096];
    // SAFETY: the buffer is valid for its whole length, which is passed.
    check(unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) })?;
    Ok(path[0] == b'/')
}

/// Requests `signal` at the end of the parent, PR_SET_PDEATHSIG. The caller must check afterwards that the parent is
/// alive.
///
/// # Errors
/// If prctl(2) fails.
pub fn set_parent_death_signal(signal: Signal) -> Result<(), Errno> {
    prctl::set_pdeathsig(signal)
}

/// Ends this process immediately: runs no destructor and flushes no inherited buffer. _exit(2).
pub fn exit_immediately(code: i32) -> ! {
    // SAFETY: _exit does not return and touches nothing.
    unsafe { libc::_exit(code) }
}

/// Runs `work` in a copy of this process with one thread, for tests that fork: libtest itself has several.
///
/// # Errors
/// The error of `work`, or that it panicked.
#[cfg(test)]
pub fn with_one_thread(work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    use std::io::{Read, Write};
    let (mut reader, mut writer) = std::io::pipe().map_err(|error| error.to_string())?;
    // SAFETY: the child runs the test alone, takes no lock of the harness and never returns; the C library leaves its
    // own locks usable in it.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let text = match done {
            Ok(Ok(())) => "ok".to_owned(),
            Ok(Err(text)) => text,
            Err(_) => "it panicked".to_owned(),
        };
        let _ = writer.write_all(text.as_bytes());
        exit_immediately(0);
    }
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).map_err(|error| error.to_string())?;
    nix::sys::wait::waitpid(Pid::from_raw(pid), None).map_err(|error| error.to_string())?;
    if text == "ok" { Ok(()) } else { Err(text) }
}
