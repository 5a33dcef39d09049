//! Calls of filtered processes that another process answers: seccomp_unotify(2) (5.0).

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::{check, request};

/// `SECCOMP_IOCTL_NOTIF_RECV`, `_SEND`, `_ID_VALID` and `_ADDFD` of linux/seccomp.h. The third is the number of kernels
/// before 5.9, which later ones accept as well.
const RECEIVE: u32 = 0xc050_2100;
const SEND: u32 = 0xc018_2101;
const ID_VALID: u32 = 0x8008_2102;
const ADD_DESCRIPTOR: u32 = 0x4018_2103;
/// `SECCOMP_ADDFD_FLAG_SEND`.
const ADD_AND_SEND: u32 = 2;
/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE` (5.5).
const CONTINUE: u32 = 1;

/// One call that is waiting for its answer: `struct seccomp_notif` with its `struct seccomp_data`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Notification {
    /// Identifies the call until it is answered or interrupted.
    pub id: u64,
    /// The calling thread, in the reader's PID namespace.
    pub thread: u32,
    flags: u32,
    /// Number of the system call.
    pub number: u32,
    /// `AUDIT_ARCH_*`: the interface of the call.
    pub audit: u32,
    instruction: u64,
    /// The arguments.
    pub arguments: [u64; 6],
}

/// The answer to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The kernel executes it as if there were no filter.
    Continue,
    /// It returns this value.
    Value(i32),
    /// It fails with this error.
    Error(Errno),
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `struct seccomp_notif_addfd`.
#[repr(C)]
struct Addition {
    id: u64,
    flags: u32,
    source: u32,
    number: u32,
    number_flags: u32,
}

/// Receives one call. Blocks if none is pending, so poll(2) must have reported the listener as readable.
///
/// # Errors
/// ENOENT if the call was interrupted in the meantime.
pub fn receive(listener: BorrowedFd<'_>) -> Result<Notification, Errno> {
    let mut notification = Notification::default();
    // SAFETY: a zeroed structure of the size in the request's number; the kernel fills it in.
    check(libc::c_long::from(unsafe {
        libc::ioctl(listener.as_raw_fd(), request(RECEIVE), &raw mut notification)
    }))?;
    Ok(notification)
}

/// Answers a call.
///
/// # Errors
/// ENOENT if the call no longer waits, EINVAL for [`Reply::Continue`] before 5.5.
pub fn send(listener: BorrowedFd<'_>, id: u64, reply: Reply) -> Result<(), Errno> {
    let response = match reply {
        Reply::Continue => Response { id, value: 0, error: 0, flags: CONTINUE },
        Reply::Value(value) => Response { id, value: value.into(), error: 0, flags: 0 },
        Reply::Error(errno) => Response { id, value: 0, error: -(errno as i32), flags: 0 },
    };
    // SAFETY: the structure has the size in the request's number and outlives the call.
    check(libc::c_long::from(unsafe {
        libc::ioctl(listener.as_raw_fd(), request(SEND), &raw const response)
    }))
    .map(drop)
}

/// Whether a call is still pending: then its thread exists, and everything read about it so far refers to that thread.
#[must_use]
pub fn is_waiting(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the number outlives the call.
    let status = unsafe { libc::ioctl(listener.as_raw_fd(), request(ID_VALID), &raw const id) };
    status == 0
}

/// Gives the caller a descriptor, closed on exec, and returns its number there: SECCOMP_IOCTL_NOTIF_ADDFD (5.9).
/// `send` also answers the call with the number (5.14).
///
/// # Errors
/// ENOENT if the call no longer waits, EMFILE if the caller has too many descriptors, EINVAL before 5.9 or 5.14.
pub fn add_descriptor(
    listener: BorrowedFd<'_>,
    id: u64,
    file: BorrowedFd<'_>,
    send: bool,
) -> Result<i32, Errno> {
    let addition = Addition {
        id,
        flags: if send { ADD_AND_SEND } else { 0 },
        source: file.as_raw_fd().unsigned_abs(),
        number: 0,
        number_flags: libc::O_CLOEXEC.unsigned_abs(),
    };
    // SAFETY: the structure has the size in the request's number and outlives the call.
    let number = check(libc::c_long::from(unsafe {
        libc::ioctl(listener.as_raw_fd(), request(ADD_DESCRIPTOR), &raw const addition)
    }))?;
    i32::try_from(number).map_err(|_| Errno::EBADF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_large_as_the_kernel_has_them() {
        assert_eq!(size_of::<Notification>(), 80);
        assert_eq!(size_of::<Response>(), 24);
        assert_eq!(size_of::<Addition>(), 24);
    }
}
