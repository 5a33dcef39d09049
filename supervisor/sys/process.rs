//! Processes: fork(2), clone(2), clone3(2), pidfd_open(2), pidfd_send_signal(2).
//!
//! The program has one thread by design. [`fork`] and [`clone`] are safe functions because they check that and
//! refuse otherwise: the child of a single-threaded process may run ordinary Rust (fork(2), "Notes").

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::stat;
use nix::unistd::Pid;

use super::{check, descriptor, unsupported};

/// The parent or the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The child.
    Child,
    /// The parent, with the child's id.
    Parent(Pid),
}

/// Number of threads of this process: the links of /proc/self/task without `.` and `..`; 1 if /proc is not available.
fn threads() -> libc::nlink_t {
    stat("/proc/self/task").map_or(1, |status| status.st_nlink.saturating_sub(2))
}

fn refuse_threads() -> Result<(), Errno> {
    if threads() > 1 { Err(Errno::EDEADLK) } else { Ok(()) }
}

/// A copy of this process, fork(2).
///
/// # Errors
/// EDEADLK when this process has more than one thread, or if fork(2) fails.
pub fn fork() -> Result<Fork, Errno> {
    refuse_threads()?;
    // SAFETY: there is no second thread that could hold a lock in the child.
    match check(libc::c_long::from(unsafe { libc::fork() }))? {
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(Pid::from_raw(libc::pid_t::try_from(pid).map_err(|_| Errno::EINVAL)?))),
    }
}

#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// `CLONE_INTO_CGROUP`, since 5.7.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A new process in new namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cloned {
    /// The parent or the child.
    pub side: Fork,
    /// Whether the child was created in the requested cgroup; otherwise it must join it.
    pub in_cgroup: bool,
}

/// A copy of this process in new namespaces (`flags`: `CLONE_NEW*` only), created in a version 2 cgroup if one is
/// given: clone3(2) (5.3, CLONE_INTO_CGROUP 5.7), else clone(2).
///
/// # Errors
/// EDEADLK if this process has more than one thread, EOPNOTSUPP or EBUSY for a group that accepts no processes; if the
/// call fails.
pub fn clone(flags: libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned, Errno> {
    refuse_threads()?;
    let namespaces = u64::from(flags.unsigned_abs());
    let exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    if let Some(directory) = cgroup {
        let arguments = CloneArguments {
            flags: namespaces | CLONE_INTO_CGROUP,
            exit_signal,
            cgroup: u64::from(directory.as_raw_fd().unsigned_abs()),
            ..CloneArguments::default()
        };
        match clone3(&arguments) {
            Ok(side) => return Ok(Cloned { side, in_cgroup: true }),
            // E2BIG: the kernel's structure ends before `cgroup`; EINVAL: it lacks the flag. EOPNOTSUPP is about the
            // group.
            Err(Errno::ENOSYS | Errno::E2BIG | Errno::EINVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    let arguments = CloneArguments { flags: namespaces, exit_signal, ..CloneArguments::default() };
    let side = match clone3(&arguments) {
        Err(errno) if unsupported(errno) => clone2(flags)?,
        other => other?,
    };
    Ok(Cloned { side, in_cgroup: false })
}

fn clone3(arguments: &CloneArguments) -> Result<Fork, Errno> {
    // SAFETY: no CLONE_VM and no stack: the child gets a copy of everything, as with fork(2); the structure
    // lives across the call and its true size is passed.
    let pid = check(unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_ref(arguments), size_of::<CloneArguments>())
    })?;
    side(pid)
}

fn clone2(flags: libc::c_int) -> Result<Fork, Errno> {
    let flags = libc::c_long::from(flags | libc::SIGCHLD);
    // SAFETY: a null stack without CLONE_VM means a copy, as with fork(2); all pointers are null.
    side(check(unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) })?)
}

fn side(pid: libc::c_long) -> Result<Fork, Errno> {
    match pid {
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(Pid::from_raw(libc::pid_t::try_from(pid).map_err(|_| Errno::EINVAL)?))),
    }
}

/// A descriptor of a process that never refers to another one, pidfd_open(2) (5.3). Readable once the process has
/// ended.
///
/// # Errors
/// ESRCH when there is no such process, ENOSYS before 5.3.
pub fn pidfd_open(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: plain integers.
    let number = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    Ok(descriptor::adopt(RawFd::try_from(number).map_err(|_| Errno::EBADF)?))
}

/// Joins the namespaces `flags` of a process: setns(2), with a pidfd as `target` since 5.8.
///
/// # Errors
/// What setns(2) answers; EINVAL for a pidfd before 5.8.
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

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this code.
    Exited(u8),
    /// This signal killed it; includes real-time signals.
    Signalled(u8),
}

/// Reaps a child, or any child for `None`, if it has ended: waitpid(2) with WNOHANG.
///
/// nix's own function returns an error for a child that a real-time signal killed, and its status would be lost.
///
/// # Errors
/// ECHILD when there is no such child.
pub fn reap(child: Option<Pid>) -> Result<Option<(Pid, Ended)>, Errno> {
    let mut status: libc::c_int = 0;
    let wanted = child.map_or(-1, Pid::as_raw);
    let number = loop {
        // SAFETY: the status is a valid integer that outlives the call, which fills it in.
        match check(libc::c_long::from(unsafe { libc::waitpid(wanted, &raw mut status, libc::WNOHANG) })) {
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
/// ENOENT when the directory was deleted, or another error.
pub fn working_directory_is_inside() -> Result<bool, Errno> {
    // PATH_MAX; on the stack, because this is called between fork and execve.
    let mut path = [0_u8; 4096];
    // SAFETY: the buffer is valid for its whole length, which is passed.
    check(unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) })?;
    Ok(path[0] == b'/')
}

/// Requests `signal` when the parent ends, PR_SET_PDEATHSIG. The caller must check afterwards that the parent is alive.
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
/// What `work` returns, or that it panicked.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threaded_process_may_not_fork() {
        // The test harness itself always runs threads.
        let handle = std::thread::spawn(|| (fork(), clone(0, None)));
        let (forked, cloned) = handle.join().unwrap();
        assert_eq!(forked, Err(Errno::EDEADLK));
        assert_eq!(cloned, Err(Errno::EDEADLK));
    }
}
