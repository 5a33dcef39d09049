//! New processes: fork(2), clone3(2), clone(2).
//!
//! The program has one thread by design. [`fork`] and [`clone`] are safe functions because they check that and
//! refuse otherwise: the child of a single-threaded process may run ordinary Rust (fork(2), "Notes").

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::stat::stat;
use nix::unistd::Pid;

use super::{check, unsupported};

/// The side of a fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The new process.
    Child,
    /// The old process, with the new one's id.
    Parent(Pid),
}

/// Number of threads of this process: the links of /proc/self/task less `.` and `..`; 1 if /proc is not available.
fn threads() -> libc::nlink_t {
    stat("/proc/self/task").map_or(1, |status| status.st_nlink.saturating_sub(2))
}

fn refuse_threads() -> Result<(), Errno> {
    if threads() > 1 { Err(Errno::EDEADLK) } else { Ok(()) }
}

/// Copies this process, fork(2).
///
/// # Errors
/// EDEADLK if this process has more than one thread; otherwise the error of fork(2).
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
    /// The side of the clone.
    pub side: Fork,
    /// Whether the child was created in the requested cgroup; otherwise it must move itself.
    pub in_cgroup: bool,
}

/// Copies this process into new namespaces (`flags`: only `CLONE_NEW*`) and, if given, into a version 2 cgroup:
/// clone3(2) (5.3, CLONE_INTO_CGROUP 5.7), else clone(2).
///
/// # Errors
/// EDEADLK when this process has more than one thread, EOPNOTSUPP or EBUSY for a group that accepts no processes,
/// otherwise the error of the call.
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
            // E2BIG: a kernel whose structure ends before `cgroup`; EINVAL: it has no such flag. EOPNOTSUPP refers to
            // the group.
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
