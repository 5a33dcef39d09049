//! The supervisor process: one poll loop that accepts clients, forks workers and watches monitors.
//!
//! Runs no command itself: what commands do is handed in as a [`Program`]. What is decided (restarts, autostart) is
//! in `policy`; `launch`, `seal` and `detach` are the way from a shell to a clean process; `server` is the loop.

mod conditions;
mod containers;
pub mod detach;
pub mod guard;
pub mod handover;
mod late_start;
pub mod launch;
pub mod monitors;
pub mod peer;
pub mod policy;
pub mod protocol;
pub mod seal;
pub mod server;
mod succession;
pub mod waiting;
pub mod watch;
pub mod worker;
mod workers;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use nix::time::{ClockId, clock_gettime};

use crate::config::Supervisor as Settings;
use crate::config::value::Name;
use crate::monitor::protocol::Status;
use crate::paths::Paths;
use worker::{Client, Supervisor};

/// What the supervisor's workers run.
pub struct Program<'a> {
    /// Runs one command line, and returns its exit code.
    pub command: &'a dyn Fn(Work) -> u8,
    /// Removes what a dead monitor left on the host: cgroups, a stale socket. Takes the container's lock, and
    /// leaves a container alone whose monitor answers.
    pub sweep: &'a dyn Fn(&Paths, &Name) -> Result<()>,
}

impl fmt::Debug for Program<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Program")
    }
}

/// One command line to run.
#[derive(Debug)]
pub struct Work {
    /// The name that the program was called by, then its arguments.
    pub argv: Vec<String>,
    /// The client's working directory, when it exists for the supervisor, too.
    pub directory: Option<PathBuf>,
    /// The variables that the client handed on.
    pub environment: BTreeMap<String, String>,
    /// The client, if one asks.
    pub client: Client,
    /// The way to the supervisor.
    pub supervisor: Supervisor,
    /// What the supervisor knew when it forked the worker.
    pub knowledge: Knowledge,
}

/// What a worker knows of the supervisor that forked it.
#[derive(Debug, Clone)]
pub struct Knowledge {
    /// Its process id.
    pub pid: i32,
    /// When it began, on the clock of [`now`].
    pub since: Duration,
    /// What the monitors said last: perhaps not true any more, to be verified by whoever relies on it.
    pub statuses: BTreeMap<Name, Box<Status>>,
    /// How it is configured.
    pub settings: Settings,
}

/// The time since boot, suspension included: CLOCK_BOOTTIME of clock_gettime(2).
#[must_use]
pub fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}
