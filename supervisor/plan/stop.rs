//! How each init system is asked to shut down. Owns the table; `monitor::stopping` carries it out.

use crate::rootfs::guest::{FirstProcess, Guest};

/// How a container is asked to shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopRequest {
    /// A signal to PID 1.
    Signal(Stop),
    /// sysvinit's request for runlevel 0 through its FIFO (initctl.h of sysvinit), else SIGPWR.
    RunlevelZero,
    /// runit's flag files, then SIGCONT: runit(8), "Signals".
    RunitFlags {
        /// They are in /run, and not in /etc/runit.
        in_run: bool,
    },
}

/// Signals that init programs understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGRTMIN+3: systemd(1), "Signals".
    RealtimePlus3,
    /// An ordinary signal by number.
    Number(i32),
}

/// The request that an init system understands.
#[must_use]
pub fn request(guest: &Guest) -> StopRequest {
    match guest.first {
        FirstProcess::Systemd => StopRequest::Signal(Stop::RealtimePlus3),
        FirstProcess::Sysvinit => StopRequest::RunlevelZero,
        FirstProcess::OpenrcInit => StopRequest::Signal(Stop::Number(libc::SIGTERM)),
        FirstProcess::Runit => StopRequest::RunitFlags { in_run: guest.flags_in_run },
        FirstProcess::S6 | FirstProcess::Busybox | FirstProcess::Procd => {
            StopRequest::Signal(Stop::Number(libc::SIGUSR2))
        }
        FirstProcess::Other => StopRequest::Signal(Stop::Number(libc::SIGTERM)),
    }
}
