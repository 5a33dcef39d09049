//! Access control for the sockets of the supervisor and of monitors: root, and only from the same PID namespace.
//!
//! Owns that check. Root of a container also has uid 0; if it reaches the socket by mistake, its PID namespace differs
//! from the host's. On a kernel without PID namespaces, its UTS namespace does. If the check itself fails, access is
//! refused. unix(7) SO_PEERCRED, pid_namespaces(7), uts_namespaces(7), namespaces(7).

use std::os::fd::BorrowedFd;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::stat::stat;

use crate::call;
use crate::sys::errno_of;
use crate::sys::socket::peer;

/// A PID namespace, identified by device and inode of its file in /proc. On a kernel without PID namespaces, a UTS
/// namespace, which every container has as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PidNamespace(u64, u64);

impl PidNamespace {
    /// The namespace of a process according to /proc; `self` for this process.
    ///
    /// # Errors
    /// If the process has ended, access is denied, or the kernel has neither kind.
    pub fn of(process: &str) -> Result<Self> {
        match Self::of_kind(process, "pid") {
            Err(error) if errno_of(&error) == Some(Errno::ENOENT) => Self::of_kind(process, "uts"),
            other => other,
        }
    }

    /// By the name of its file.
    fn of_kind(process: &str, kind: &str) -> Result<Self> {
        let path = format!("/proc/{process}/ns/{kind}");
        let status = call!(stat(path.as_str()), "stat({path})")?;
        Ok(Self(status.st_dev, status.st_ino))
    }
}

/// Checks the process at the other end of a connection.
///
/// # Errors
/// One line with the reason for the refusal.
pub fn check(connection: BorrowedFd<'_>, own: PidNamespace) -> Result<()> {
    let credentials = call!(peer(connection), "getsockopt(SO_PEERCRED)")?;
    ensure!(credentials.uid() == 0, "must be root");
    // A process outside this PID namespace has no process id in it.
    ensure!(credentials.pid() > 0, "asked from another PID namespace");
    let theirs = PidNamespace::of(&credentials.pid().to_string()).context("cannot tell who asks")?;
    ensure!(theirs == own, "asked from another PID namespace");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket;
    use std::os::fd::AsFd;

    #[test]
    fn a_peer_of_the_same_namespace_passes_and_any_other_does_not() {
        let (left, _right) = socket::pair().unwrap();
        let own = PidNamespace::of("self").unwrap();
        check(left.as_fd(), own).unwrap();
        let other = PidNamespace(own.0, own.1 + 1);
        assert_eq!(check(left.as_fd(), other).unwrap_err().to_string(), "asked from another PID namespace");
    }

    #[test]
    fn a_kernel_without_the_kind_has_no_file_of_it() {
        let error = PidNamespace::of_kind("self", "no-such-kind").unwrap_err();
        assert_eq!(errno_of(&error), Some(Errno::ENOENT));
        assert_ne!(PidNamespace::of_kind("self", "uts").unwrap(), PidNamespace::of("self").unwrap());
    }
}
