//! Asking an init system to shut down, each in its own language, and the ladder after that.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::unistd::Pid;

use super::protocol::Answer;
use super::{Monitor, Phase};
use crate::plan::stop::{Stop, StopRequest};
use crate::rootfs::deadline::within;
use crate::rootfs::files;
use crate::rootfs::root::Root;
use crate::sys::{process, signal};

/// How long files inside may take to be written.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first and the last wait before PID 1 is asked again; each is twice as long as the one before.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How long a PID 1 that was killed may take before it is thawed and killed again.
const KILLED_AGAIN: Duration = Duration::from_secs(1);

/// A request that PID 1 has perhaps not heard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    /// When it is repeated.
    pub(super) at: Instant,
    /// How long it has waited by then.
    wait: Duration,
}

/// Why nobody gets a restart any more.
pub(super) const STOPPED: &str = "the container was stopped, which cancelled the restart";

impl Monitor {
    /// Asks for the end, which nothing takes back: whoever waits for a restart is told that there will be none. Asked
    /// again, the earlier deadline counts.
    pub(super) fn stop(&mut self, timeout_s: Option<u32>, kill: bool) {
        self.answer_waiting(&Answer::Failed(STOPPED.to_owned()));
        self.end_boot(timeout_s, kill, false);
    }

    /// Asks for the end and a new boot; the number of the boot that this will be.
    ///
    /// # Errors
    /// That the container is being stopped: a stop wins over a restart.
    pub(super) fn restart(&mut self, timeout_s: Option<u32>) -> Result<u32, &'static str> {
        if self.phase == (Phase::Stopping { restart: false }) {
            return Err("it is being stopped; 'ds start' boots it again");
        }
        if self.init.is_none() {
            // The boot that is under way has read its configuration already.
            return Ok(self.boots + 2);
        }
        self.end_boot(timeout_s, false, true);
        Ok(self.boots + 1)
    }

    fn end_boot(&mut self, timeout_s: Option<u32>, kill: bool, restart: bool) {
        let again = matches!(self.phase, Phase::Stopping { .. });
        self.phase = Phase::Stopping { restart };
        if self.init.is_some() {
            let timeout = Duration::from_secs(u64::from(timeout_s.unwrap_or(self.plan.stop_timeout_s)));
            let due = Instant::now() + timeout;
            self.deadline = Some(self.deadline.map_or(due, |deadline| deadline.min(due)));
            if kill {
                self.kill();
            } else if !again {
                self.cgroup.thaw();
                self.ask();
            }
        }
        self.announce();
    }

    /// Asks PID 1 to end. One that has only just been executed cannot hear: the kernel drops what PID 1 has no handler
    /// for (pid_namespaces(7)). It is asked again, for a second or two.
    pub(super) fn ask(&mut self) {
        let Some(init) = self.init else { return };
        let wait = self.asking.take().map_or(SHORTEST_WAIT, |asking| asking.wait * 2);
        let (heard, stopped) = (hears(self.plan.stop, init), is_stopped(init));
        let asked = request(self.plan.stop, init);
        if stopped {
            // What is stopped hears nothing.
            let _ = process::kill(init, libc::SIGCONT);
        }
        if let Err(error) = asked {
            log::warn!("{}: {error:#}; it is killed", self.config.name);
            self.kill();
        } else if !heard && wait <= LONGEST_WAIT {
            self.asking = Some(Asking { at: Instant::now() + wait, wait });
        }
    }

    /// How long PID 1 may still take, when it was asked to end.
    pub(super) fn ends_within_s(&self) -> Option<u64> {
        let deadline = self.deadline.filter(|_| matches!(self.phase, Phase::Stopping { .. }))?;
        Some(deadline.saturating_duration_since(Instant::now()).as_secs() + 1)
    }

    /// SIGKILL for PID 1, with which the kernel ends every process of its namespace. It is repeated, since root inside
    /// can freeze a process that is about to die.
    pub(super) fn kill(&mut self) {
        self.deadline = Some(Instant::now() + KILLED_AGAIN);
        self.asking = None;
        if let Some(init) = self.init {
            let _ = process::kill(init, libc::SIGKILL);
        }
        // Root inside may have frozen it, and may have a process that does so again.
        self.cgroup.kill();
    }
}

fn request(stop: StopRequest, init: Pid) -> Result<()> {
    // Its files may lie on a file system that the guest itself has mounted.
    let inside = |work: fn(&Root, bool) -> Result<()>, choice: bool| {
        within(PATIENCE, || {
            let root = Root::open(Path::new(&format!("/proc/{init}/root/")))?;
            work(&root, choice).map(|()| Vec::new())
        })
    };
    match stop {
        StopRequest::RunlevelZero => {
            if let Err(error) = inside(|root, _| request_runlevel_zero(root), false) {
                log::debug!("SIGPWR takes the place of the request: {error:#}");
            } else {
                return Ok(());
            }
        }
        StopRequest::RunitFlags { in_run } => drop(inside(set_runit_flags, in_run)?),
        StopRequest::Signal(_) => {}
    }
    Ok(process::kill(init, signal_of(stop))?)
}

/// The signal that asks, or that asks where a better way fails.
fn signal_of(stop: StopRequest) -> libc::c_int {
    match stop {
        StopRequest::Signal(Stop::RealtimePlus3) => signal::realtime_minimum() + 3,
        StopRequest::Signal(Stop::Number(number)) => number,
        StopRequest::RunlevelZero => libc::SIGPWR,
        StopRequest::RunitFlags { .. } => libc::SIGCONT,
    }
}

/// Whether a process is stopped by a signal or a tracer, proc_pid_stat(5).
#[must_use]
pub fn is_stopped(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
}

/// Whether PID 1 certainly takes the signal: it has a handler, or has blocked it, as for signalfd(2). One that is in
/// sigwaitinfo(2) takes it, too, and does not show it: proc_pid_status(5).
fn hears(stop: StopRequest, init: Pid) -> bool {
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

/// runit stops when its file `stopit` may be executed by its owner, and then halts unless `reboot` may be.
/// Where the files are depends on how runit was built: Debian has them in /run, others in /etc/runit, often as
/// links into /run.
fn set_runit_flags(root: &Root, in_run: bool) -> Result<()> {
    let files = if in_run {
        [files::RUNIT_REBOOT, files::RUNIT_STOPIT]
    } else {
        [files::RUNIT_REBOOT_OLD, files::RUNIT_STOPIT_OLD]
    };
    for (file, mode) in files.into_iter().zip([0o000, 0o100]) {
        // The files behind such links come and go with /run.
        let target = root.read_link(file.path()).map(|target| Path::new("/etc/runit").join(target));
        root.set_mode(target.as_deref().unwrap_or(file.path()), mode)?;
    }
    Ok(())
}
