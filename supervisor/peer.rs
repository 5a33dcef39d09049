//! Access control for the sockets of the supervisor and of monitors: root, and only from the same PID namespace.
//!
//! Owns that check. Root of a container also has uid 0; if it reaches the socket by mistake, its PID namespace differs
//! from the host's. If the check itself fails, access is refused. unix(7) SO_PEERCRED, pid_namespaces(7),
//! namespaces(7).

use std::os::fd::BorrowedFd;

use anyhow::{Context, Result, ensure};
use nix::sys::stat::stat;

use crate::call;
use crate::sys::socket::peer;

/// A PID namespace, identified by device and inode of its file in /proc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PidNamespace(u64, u64);

impl PidNamespace {
    /// The namespace of a process according to /proc; `self` for this process.
    ///
    /// # Errors
    /// If the process has ended, or access is denied.
    pub fn of(process: &str) -> Result<Self> {
        let path = format!("/proc/{process}/ns/pid");
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
    let theirs = PidNamespace::of(&credentials.pid().to_string()).context("cannot identify the peer")?;
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
}
