//! System calls: the only module of this crate with `unsafe`.
//!
//! Owns thin wrappers for calls that nix lacks or marks unsafe; each one names its man page and the first kernel
//! version with the call. A wrapper makes one call and no decisions; the caller interprets a failure.

pub mod bpf;
pub mod capability;
pub mod clone;
pub mod descriptor;
pub mod inherited;
pub mod loop_device;
pub mod memory;
pub mod mount;
pub mod network;
pub mod notification;
pub mod packet;
pub mod process;
pub mod rename;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod spawn;
pub mod terminal;
pub mod xattr;

use std::fmt;

use nix::errno::Errno;

/// The number of an ioctl(2) request: musl and glibc differ in its type.
fn request(number: u32) -> libc::Ioctl {
    number as libc::Ioctl
}

/// A failed system call with its arguments, such as `mount(proc, /proc, proc, nosuid): EPERM: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// The call, as written in [`call!`].
    pub call: String,
    /// The kernel's error.
    pub errno: Errno,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, describe(self.errno))
    }
}

impl std::error::Error for CallError {}

/// An error of another process, in its own words, and the error number at its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteError {
    /// The words.
    pub text: String,
    /// The number.
    pub errno: Errno,
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for RemoteError {}

/// `EPERM (Operation not permitted)`.
#[must_use]
pub fn describe(errno: Errno) -> String {
    format!("{} ({errno:?})", errno.desc())
}

/// A type with an error number: nix's own type and `std::io::Error`.
pub trait AsErrno {
    /// The error number, or `EIO` without one.
    fn as_errno(&self) -> Errno;
}

impl AsErrno for Errno {
    fn as_errno(&self) -> Errno {
        *self
    }
}

impl AsErrno for std::io::Error {
    fn as_errno(&self) -> Errno {
        self.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
    }
}

/// Evaluates an expression and adds the text of the call to its error: `call!(open(p), "open({p})")`.
#[macro_export]
macro_rules! call {
    ($expression:expr, $($text:tt)+) => {
        $expression.map_err(|error| $crate::sys::CallError {
            call: format!($($text)+),
            errno: $crate::sys::AsErrno::as_errno(&error),
        })
    };
}

/// The only check for "this kernel does not support the call", after which the caller uses its fallback.
#[must_use]
pub fn unsupported(errno: Errno) -> bool {
    matches!(errno, Errno::ENOSYS | Errno::EOPNOTSUPP)
}

/// The error number of the system call at the root of an error chain, if any.
#[must_use]
pub fn errno_of(error: &anyhow::Error) -> Option<Errno> {
    error.chain().find_map(|cause| {
        cause
            .downcast_ref::<CallError>()
            .map(|call| call.errno)
            .or_else(|| cause.downcast_ref::<RemoteError>().map(|remote| remote.errno))
            .or_else(|| cause.downcast_ref::<Errno>().copied())
            .or_else(|| cause.downcast_ref::<std::io::Error>().map(AsErrno::as_errno))
    })
}

/// Converts the return value of a raw system call into a result.
fn check(value: libc::c_long) -> Result<libc::c_long, Errno> {
    if value < 0 { Err(Errno::last()) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_call_names_itself_and_its_errno() {
        let result: Result<(), CallError> = call!(Err(Errno::EPERM), "mount({}, {})", "proc", "/proc");
        let error = anyhow::Error::from(result.unwrap_err()).context("prepare /proc");
        assert_eq!(
            format!("{error:#}"),
            "prepare /proc: mount(proc, /proc): Operation not permitted (EPERM)"
        );
        assert_eq!(errno_of(&error), Some(Errno::EPERM));
    }
}
