//! The shutdown request of each init system. Owns the table; `monitor::stopping` sends the request.

use crate::rootfs::guest::{FirstProcess, Guest};

/// The shutdown request of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopRequest {
    /// A signal to PID 1.
    Signal(Stop),
    /// sysvinit's request for runlevel 0 through its FIFO (initctl.h of sysvinit); fallback: SIGPWR.
    RunlevelZero,
    /// runit's flag files, then SIGCONT: runit(8), "Signals".
    RunitFlags {
        /// The files are in /run instead of /etc/runit.
        in_run: bool,
    },
}

/// Signals with a meaning for init programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGRTMIN+3: systemd(1), "Signals".
    RealtimePlus3,
    /// An ordinary signal by number.
    Number(i32),
}

/// The request for an init system.
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
