//! Sends the shutdown request of each init system. `plan::stop` selects the request; this module only sends it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::unistd::Pid;

use crate::plan::stop::{Stop, StopRequest};
use crate::proc_stat;
use crate::rootfs::deadline::within;
use crate::rootfs::files;
use crate::rootfs::root::Root;
use crate::sys::{process, signal};

/// The timeout for writing files of the container.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The first and the last delay before the request is repeated; each delay is twice as long as the previous one.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A request that PID 1 may not have handled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    /// When it is repeated.
    at: Instant,
    /// The delay so far.
    wait: Duration,
}

impl Asking {
    pub(super) fn due(&self) -> Instant {
        self.at
    }

    /// The repetition after `before`, or the first one; `None` after the last one.
    pub(super) fn after(before: Option<Self>) -> Option<Self> {
        let wait = before.map_or(SHORTEST_WAIT, |asking| asking.wait * 2);
        (wait <= LONGEST_WAIT).then(|| Self { at: Instant::now() + wait, wait })
    }
}

/// Requests the shutdown from PID 1.
pub(super) fn request(stop: StopRequest, init: Pid) -> Result<()> {
    // Its files may be on a file system that the guest itself has mounted.
    let inside = |work: fn(&Root, bool) -> Result<()>, choice: bool| {
        within(TIMEOUT, || {
            let root = Root::open(Path::new(&format!("/proc/{init}/root/")))?;
            work(&root, choice).map(|()| Vec::new())
        })
    };
    match stop {
        StopRequest::RunlevelZero => {
            if let Err(error) = inside(|root, _| request_runlevel_zero(root), false) {
                log::debug!("using SIGPWR instead of the request: {error:#}");
            } else {
                return Ok(());
            }
        }
        StopRequest::RunitFlags { in_run } => drop(inside(set_runit_flags, in_run)?),
        StopRequest::Signal(_) => {}
    }
    Ok(process::kill(init, signal_of(stop))?)
}

/// The signal for the request, or the fallback signal.
fn signal_of(stop: StopRequest) -> libc::c_int {
    match stop {
        StopRequest::Signal(Stop::RealtimePlus3) => signal::realtime_minimum() + 3,
        StopRequest::Signal(Stop::Number(number)) => number,
        StopRequest::RunlevelZero => libc::SIGPWR,
        StopRequest::RunitFlags { .. } => libc::SIGCONT,
    }
}

/// Whether a process is stopped by a signal or a tracer, see proc_pid_stat(5).
#[must_use]
pub fn is_stopped(pid: Pid) -> bool {
    proc_stat::read(&format!("/proc/{pid}/stat")).is_ok_and(|stat| proc_stat::is_stopped(&stat))
}

/// Whether PID 1 handles the signal: it has a handler, or has blocked it, as for signalfd(2). A process in
/// sigwaitinfo(2) also handles it, but this is not visible: proc_pid_status(5).
pub(super) fn hears(stop: StopRequest, init: Pid) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{init}/status")) else { return true };
    let heard = |field: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix(field));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(u64::MAX)
    };
    (heard("SigCgt:") | heard("SigBlk:")) & 1 << (signal_of(stop) - 1) != 0
}

/// sysvinit's `struct init_request`, 384 bytes: magic, command (1: change the runlevel), runlevel, seconds between
/// SIGTERM and SIGKILL, padding.
fn request_runlevel_zero(root: &Root) -> Result<()> {
    const LENGTH: usize = 384;
    const MAGIC: i32 = 0x0309_1969;
    const CHANGE_RUNLEVEL: i32 = 1;
    const SECONDS: i32 = 3;
    let mut message = Vec::with_capacity(LENGTH);
    for field in [MAGIC, CHANGE_RUNLEVEL, i32::from(b'0'), SECONDS] {
        message.extend_from_slice(&field.to_ne_bytes());
    }
    message.resize(LENGTH, 0);
    root.write_to_fifo(files::INITCTL, &message).or_else(|_| root.write_to_fifo(files::INITCTL_OLD, &message))
}

/// runit stops when its file `stopit` is executable by its owner; it then halts unless `reboot` is executable. The
/// directory depends on how runit was built: /run on Debian, /etc/runit elsewhere, often with links into /run.
fn set_runit_flags(root: &Root, in_run: bool) -> Result<()> {
    let files = if in_run {
        [files::RUNIT_REBOOT, files::RUNIT_STOPIT]
    } else {
        [files::RUNIT_REBOOT_OLD, files::RUNIT_STOPIT_OLD]
    };
    for (file, mode) in files.into_iter().zip([0o000, 0o100]) {
        // The targets of such links are created and removed with /run.
        let target = root.read_link(file.path()).map(|target| Path::new("/etc/runit").join(target));
        root.set_mode(target.as_deref().unwrap_or(file.path()), mode)?;
    }
    Ok(())
}
