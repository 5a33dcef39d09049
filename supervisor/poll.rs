//! Waits for descriptors: a set in which each descriptor has a name, with deadlines as timeouts. poll(2).
//!
//! Owns the handling of interrupted calls, expired deadlines and errors of a descriptor. Makes no decisions.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::Result;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys::memory::sleep;

/// The descriptors to wait for, each with its name.
#[derive(Debug)]
pub struct PollSet<'a, T> {
    names: Vec<T>,
    polled: Vec<PollFd<'a>>,
}

impl<T> Default for PollSet<'_, T> {
    fn default() -> Self {
        Self { names: Vec::new(), polled: Vec::new() }
    }
}

impl<'a, T> PollSet<'a, T> {
    /// Adds a descriptor to wait for input.
    pub fn input(&mut self, name: T, descriptor: BorrowedFd<'a>) {
        self.add(name, descriptor, PollFlags::POLLIN);
    }

    /// Adds a descriptor to wait for these events, and always for errors and hangups.
    pub fn add(&mut self, name: T, descriptor: BorrowedFd<'a>, events: PollFlags) {
        self.names.push(name);
        self.polled.push(PollFd::new(descriptor, events));
    }

    /// Waits; returns the names of the ready descriptors in the order of their addition. Empty after a signal or the
    /// timeout.
    ///
    /// # Errors
    /// If poll(2) fails with anything but EINTR.
    pub fn wait(self, timeout: PollTimeout) -> Result<Vec<T>> {
        self.wait_with(poll::<PollTimeout>, timeout)
    }

    /// The same for a wait that is probably long: first returns unused memory to the kernel.
    ///
    /// # Errors
    /// As for [`PollSet::wait`].
    pub fn sleep(self, timeout: PollTimeout) -> Result<Vec<T>> {
        self.wait_with(sleep, timeout)
    }

    fn wait_with(
        mut self,
        call: impl Fn(&mut [PollFd<'a>], PollTimeout) -> Result<libc::c_int>,
        timeout: PollTimeout,
    ) -> Result<Vec<T>> {
        match call(&mut self.polled, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        }
        let ready = self.polled.iter().map(|entry| entry.any().unwrap_or(false));
        Ok(ready.zip(self.names).filter_map(|(ready, name)| ready.then_some(name)).collect())
    }
}

/// The timeout for a duration, or infinite: rounded up, so that it has passed when poll(2) returns.
#[must_use]
pub fn timeout(left: Option<Duration>) -> PollTimeout {
    left.map_or(PollTimeout::NONE, |left| {
        PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
    })
}

/// Waits until `descriptor` has input, an error or end-of-file; `false` after the timeout.
///
/// # Errors
/// If poll(2) fails, including EINTR.
pub fn wait_for_input(descriptor: BorrowedFd<'_>, timeout: PollTimeout) -> Result<bool> {
    Ok(poll(&mut [PollFd::new(descriptor, PollFlags::POLLIN)], timeout)? > 0)
}

/// The timeout until a point in time, or infinite.
#[must_use]
pub fn timeout_until(deadline: Option<Instant>) -> PollTimeout {
    timeout(deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())))
}

/// Waits until `descriptor` has input, an error or end-of-file, and ignores signals; `false` after the deadline.
///
/// # Errors
/// If poll(2) fails.
pub fn wait_until(descriptor: BorrowedFd<'_>, deadline: Instant) -> Result<bool> {
    loop {
        match wait_for_input(descriptor, timeout_until(Some(deadline))) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Whether one of these events, an error or a hangup is pending.
#[must_use]
pub fn is_ready(descriptor: BorrowedFd<'_>, events: PollFlags) -> bool {
    poll(&mut [PollFd::new(descriptor, events)], PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

/// Whether input, an error or end-of-file is pending.
#[must_use]
pub fn is_readable(descriptor: BorrowedFd<'_>) -> bool {
    is_ready(descriptor, PollFlags::POLLIN)
}

/// Whether the other end is closed.
#[must_use]
pub fn is_hung_up(descriptor: BorrowedFd<'_>) -> bool {
    is_ready(descriptor, PollFlags::empty())
}

#[cfg(test)]
mod tests {
    use std::io::pipe;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn those_that_are_ready_come_in_order() {
        let ((quiet, _writer), (ended, writer)) = (pipe().unwrap(), pipe().unwrap());
        drop(writer);
        let mut set = PollSet::default();
        set.input("quiet", quiet.as_fd());
        set.input("ended", ended.as_fd());
        set.input("again", ended.as_fd());
        assert_eq!(set.wait(PollTimeout::NONE).unwrap(), ["ended", "again"]);
        assert!(is_readable(ended.as_fd()) && is_hung_up(ended.as_fd()) && !is_readable(quiet.as_fd()));
        assert!(!wait_for_input(quiet.as_fd(), PollTimeout::ZERO).unwrap());
    }

    #[test]
    fn a_deadline_has_passed_when_the_timeout_is_over() {
        assert_eq!(timeout(None), PollTimeout::NONE);
        assert_eq!(timeout(Some(Duration::ZERO)).as_millis(), Some(1));
        assert_eq!(timeout(Some(Duration::from_secs(u64::from(u32::MAX)))), PollTimeout::MAX);
    }
}
