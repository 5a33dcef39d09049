//! Starts another program: fork(2) and execve(2), with only async-signal-safe operations in between (signal-safety(7)).
//! The caller knows its purpose.

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::null;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid, pipe2, read};

use super::{check, signal};

/// A program to start.
#[derive(Debug)]
pub struct Execution<'a> {
    /// Its path.
    pub path: &'a CStr,
    /// Its arguments, including the name.
    pub arguments: &'a [CString],
    /// Its environment, `NAME=value`.
    pub environment: &'a [CString],
    /// Its standard input, output and error.
    pub streams: [BorrowedFd<'a>; 3],
    /// Descriptors that it inherits under their numbers.
    pub inherited: &'a [BorrowedFd<'a>],
    /// The signal that it receives when this process ends.
    pub death_signal: Signal,
}

/// Starts a program as a child, with default signal actions; close-on-exec descriptors are closed.
///
/// # Errors
/// If fork(2) or execve(2) fails; there is then no child.
pub fn spawn(program: &Execution<'_>) -> Result<Pid, Errno> {
    let arguments = pointers(program.arguments);
    let environment = pointers(program.environment);
    let (input, output) = pipe2(OFlag::O_CLOEXEC)?;
    let parent = getpid();
    // SAFETY: the child calls async-signal-safe functions only, allocates nothing and never returns.
    match check(libc::c_long::from(unsafe { libc::fork() }))? {
        0 => {
            let errno = become_it(program, &arguments, &environment, parent);
            let bytes = (errno as i32).to_ne_bytes();
            // SAFETY: the bytes are valid for their length; _exit does not return.
            unsafe {
                libc::write(output.as_raw_fd(), bytes.as_ptr().cast(), bytes.len());
                libc::_exit(127)
            }
        }
        pid => {
            drop(output);
            let pid = Pid::from_raw(libc::pid_t::try_from(pid).map_err(|_| Errno::EINVAL)?);
            match refusal(&input) {
                None => Ok(pid),
                Some(errno) => {
                    let _ = nix::sys::wait::waitpid(pid, None);
                    Err(errno)
                }
            }
        }
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([null()]).collect()
}

/// Why execve failed, or nothing: the pipe closes on exec.
fn refusal(input: &OwnedFd) -> Option<Errno> {
    let mut bytes = [0_u8; 4];
    loop {
        match read(input, &mut bytes) {
            Err(Errno::EINTR) => {}
            Ok(4) => return Some(Errno::from_raw(i32::from_ne_bytes(bytes))),
            _ => return None,
        }
    }
}

fn become_it(
    program: &Execution<'_>,
    arguments: &[*const c_char],
    environment: &[*const c_char],
    parent: Pid,
) -> Errno {
    let prepared = prctl::set_pdeathsig(program.death_signal)
        .and_then(|()| if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH) })
        .and_then(|()| signal::reset_all())
        .and_then(|()| streams(program))
        .and_then(|()| program.inherited.iter().try_for_each(|kept| keep(kept.as_raw_fd())));
    if let Err(errno) = prepared {
        return errno;
    }
    // SAFETY: both lists end with a null pointer and hold pointers to strings that outlive the call.
    unsafe { libc::execve(program.path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    Errno::last()
}

/// Moves the streams to their numbers through numbers above all three, since one may occupy another's number.
fn streams(program: &Execution<'_>) -> Result<(), Errno> {
    let mut above = [-1; 3];
    for (above, stream) in above.iter_mut().zip(&program.streams) {
        // SAFETY: plain integers.
        let number = unsafe { libc::fcntl(stream.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) };
        *above = RawFd::try_from(check(libc::c_long::from(number))?).map_err(|_| Errno::EBADF)?;
    }
    for (number, above) in (0..).zip(above) {
        // SAFETY: plain integers; this process is about to become another program.
        check(libc::c_long::from(unsafe { libc::dup2(above, number) }))?;
    }
    Ok(())
}

fn keep(number: RawFd) -> Result<(), Errno> {
    // SAFETY: plain integers.
    check(libc::c_long::from(unsafe { libc::fcntl(number, libc::F_SETFD, 0) })).map(drop)
}
