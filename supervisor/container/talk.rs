//! Requests to a monitor, which may be stopped or frozen. Every wait for an answer has a timeout.
//!
//! Owns the detection of an unresponsive monitor, and the end of a container whose monitor cannot end it. The
//! connection itself identifies the monitor: SO_PEERCRED of unix(7) names the process that listens.

use std::error::Error;
use std::fmt;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::unistd::Pid;

use super::{Lock, monitor, sweep};
use crate::cgroup::Cgroup;
use crate::clock::unix_s;
use crate::config::value::Name;
use crate::host::Host;
use crate::monitor::protocol::{Answer, ControlRequest, Exit, ExitReason, Status};
use crate::monitor::{is_stopped, last_exit};
use crate::paths::Paths;
use crate::socket::{self, Received};
use crate::sys::process;
use crate::sys::socket::peer;
use crate::worker::client::Client;
use crate::worker::waiting::TIMEOUT;

/// The interval at which an unresponsive process is checked.
const LOOK: Duration = Duration::from_secs(2);
/// The timeout for the end of a killed monitor: the kernel first ends the system call that it is in, which may wait for a
/// slow disk, and then unmounts what was mounted for the container.
const DEATH: Duration = Duration::from_secs(20);

/// A connection to a monitor.
#[derive(Debug)]
pub struct Talk<'a> {
    client: &'a Client,
    name: &'a Name,
    /// The connection, for callers that poll it themselves.
    pub connection: OwnedFd,
}

/// A monitor that does not answer.
#[derive(Debug)]
pub struct Silent {
    monitor: Option<Pid>,
    what: &'static str,
    name: String,
}

impl fmt::Display for Silent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pid = self.monitor.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        let Self { what, name, .. } = self;
        write!(formatter, "its monitor{pid} {what}; run 'ds stop {name} --kill' to end both")
    }
}

impl Error for Silent {}

impl<'a> Talk<'a> {
    /// Connects to the monitor of a container; `None` if it is not running.
    ///
    /// # Errors
    /// If the run directory cannot be read, or the queue of the socket is full.
    pub fn open(paths: &Paths, client: &'a Client, name: &'a Name) -> Result<Option<Self>> {
        Ok(monitor(paths, name)?.map(|connection| Self { client, name, connection }))
    }

    /// Sends a request. If the monitor has ended, [`Talk::hear`] notices.
    ///
    /// # Errors
    /// If the message is too long.
    pub fn say(&self, request: &ControlRequest) -> Result<()> {
        match socket::send(&self.connection, request, &[]) {
            Err(error) if socket::is_end(&error) => Ok(()),
            other => other,
        }
    }

    /// Receives the next answer; `None` once the monitor has ended.
    ///
    /// # Errors
    /// [`Silent`] after the deadline or if the monitor is stopped; or if the client interrupted.
    pub fn hear(&self, until: Option<Instant>) -> Result<Option<Received<Answer>>> {
        loop {
            let look = Instant::now() + LOOK;
            let next = until.map_or(look, |until| until.min(look));
            if self.client.wait(Some(self.connection.as_fd()), Some(next))? {
                return socket::receive(&self.connection);
            }
            let stopped = self.monitor().is_some_and(is_stopped);
            if stopped || until.is_some_and(|until| until <= Instant::now()) {
                return Err(self.silent(if stopped { "is stopped" } else { "does not answer" }).into());
            }
        }
    }

    /// Receives the next answer; `None` once the monitor has ended.
    ///
    /// # Errors
    /// As for [`Talk::hear`].
    pub fn answer(&self, until: Option<Instant>) -> Result<Option<Answer>> {
        Ok(self.hear(until)?.map(|received| received.message))
    }

    /// The container's status; `None` once the monitor has ended.
    ///
    /// # Errors
    /// As for [`Talk::hear`]; if the start has failed.
    pub fn status(&self) -> Result<Option<Box<Status>>> {
        self.say(&ControlRequest::Status)?;
        match self.answer(Some(Instant::now() + TIMEOUT))? {
            Some(Answer::Status(status)) => Ok(Some(status)),
            Some(Answer::Failed(text)) => bail!("{text}"),
            Some(Answer::Done) => bail!("the monitor sent an unexpected answer"),
            None => Ok(None),
        }
    }

    /// The monitor's process id; `None` for a monitor of an older version, which does not reveal it.
    #[must_use]
    pub fn monitor(&self) -> Option<Pid> {
        let pid = Pid::from_raw(peer(self.connection.as_fd()).ok()?.pid());
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        // The kernel keeps 15 bytes of a name.
        let title = format!("ds:{}", self.name);
        (name.trim_end() == title.get(..15).unwrap_or(&title)).then_some(pid)
    }

    /// The error for an unresponsive monitor.
    #[must_use]
    pub fn silent(&self, what: &'static str) -> Silent {
        Silent { monitor: self.monitor(), what, name: self.name.to_string() }
    }

    /// Kills the container and its monitor, and removes their remains.
    ///
    /// # Errors
    /// If the monitor cannot be found or does not end.
    pub fn end_by_force(&self, paths: &Paths, host: &Host) -> Result<()> {
        let monitor = self.monitor().context("its monitor does not answer and cannot be found in /proc")?;
        let _lock = Lock::take_for(paths, self.client, self.name)?;
        // This comes first, so that the supervisor, when the monitor ends, finds that the end was requested.
        last_exit::write(paths, self.name, &killed())?;
        let _ = fs::remove_file(paths.control(self.name));
        match process::kill(monitor, libc::SIGKILL) {
            Err(Errno::ESRCH) | Ok(()) => {}
            Err(errno) => return Err(errno).with_context(|| format!("kill its monitor ({monitor})")),
        }
        let groups = Cgroup::existing(&host.cgroups, &paths.cgroup, self.name.as_str());
        groups.thaw();
        groups.kill();
        let deadline = Instant::now() + DEATH;
        while self.client.wait(Some(self.connection.as_fd()), Some(deadline))? {
            if socket::receive::<Answer>(&self.connection)?.is_none() {
                sweep(paths, host, self.name);
                return Ok(());
            }
        }
        bail!("its monitor (pid {monitor}) was killed but has not ended; it is blocked in the kernel")
    }
}

fn killed() -> Exit {
    Exit {
        reason: ExitReason::Stopped,
        code: None,
        signal: Some(libc::SIGKILL),
        message: None,
        at: unix_s(),
        uptime_s: 0,
    }
}
