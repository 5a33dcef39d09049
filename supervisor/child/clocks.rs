//! The clocks of a container: CLOCK_MONOTONIC and CLOCK_BOOTTIME begin at zero with its first process.
//!
//! Owns the time namespace that the next child is born into. The kernel takes offsets only as long as no process is
//! inside, so they are written before the child is cloned, by the process that clones it; that process itself keeps the
//! clocks of the host. time_namespaces(7), unshare(2), setns(2).

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, openat};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::time::{ClockId, clock_gettime};

use crate::call;
use crate::host::namespace::NEW_TIME;
use crate::sys::process;

/// A namespace for the next children, until [`Clocks::end`].
#[derive(Debug)]
pub struct Clocks {
    own: OwnedFd,
}

impl Clocks {
    /// From now on children are born into a new time namespace, whose clocks begin now. `None` if `namespaces` has none, or
    /// this process may not set clocks.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn begin(proc: BorrowedFd<'_>, namespaces: libc::c_int) -> Result<Option<Self>> {
        if namespaces & NEW_TIME == 0 {
            return Ok(None);
        }
        let open = |file: &str, access: OFlag| {
            call!(openat(proc, file, access | OFlag::O_CLOEXEC, Mode::empty()), "open(/proc/{file})")
        };
        let clocks = Self { own: open("self/ns/time", OFlag::O_RDONLY)? };
        call!(unshare(CloneFlags::from_bits_retain(NEW_TIME)), "unshare(CLONE_NEWTIME)")?;
        let mut offsets = String::new();
        for (name, clock) in [("monotonic", ClockId::CLOCK_MONOTONIC), ("boottime", ClockId::CLOCK_BOOTTIME)]
        {
            let now = call!(clock_gettime(clock), "clock_gettime({name})")?;
            // Nanoseconds are counted upwards from whole seconds, also of what is negative.
            let (seconds, nanoseconds) = match now.tv_nsec() {
                0 => (-now.tv_sec(), 0),
                nanoseconds => (-now.tv_sec() - 1, 1_000_000_000 - nanoseconds),
            };
            offsets.push_str(&format!("{name} {seconds} {nanoseconds}\n"));
        }
        let mut file = File::from(open("self/timens_offsets", OFlag::O_WRONLY)?);
        match file.write_all(offsets.as_bytes()) {
            Ok(()) => Ok(Some(clocks)),
            // Without CAP_SYS_TIME, as in a container of ds, containers have the clocks of their host.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                clocks.end()?;
                Ok(None)
            }
            Err(error) => Err(error).context("write /proc/self/timens_offsets"),
        }
    }

    /// From now on children have the clocks of this process again.
    ///
    /// # Errors
    /// What setns(2) answers.
    pub fn end(self) -> Result<()> {
        Ok(call!(process::setns(self.own.as_fd(), NEW_TIME), "setns(self/ns/time)")?)
    }
}
