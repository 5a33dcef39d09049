//! The context of a worker: the command line, the client, the supervisor, and the properties of the machine.
//!
//! Owns [`Env`], which every verb receives, and the worker's two connections with their protocols. It never forks a
//! worker (`daemon` does) and knows no verb (`command` does).

pub mod client;
pub mod protocol;
pub mod stopped;
pub mod supervisor;
pub mod waiting;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, bail};

use self::client::Client;
use self::supervisor::Supervisor;
use crate::config::Supervisor as Settings;
use crate::config::value::Name;
use crate::host::Host;
use crate::monitor::protocol::Status;
use crate::paths::Paths;

/// The context of a command.
#[derive(Debug)]
pub struct Env {
    /// The name by which the program was called, then its arguments.
    pub argv: Vec<String>,
    /// The paths of ds.
    pub paths: Paths,
    /// The properties of this machine; the supervisor probed them at its start.
    pub host: Rc<Host>,
    /// The client, if there is one.
    pub client: Client,
    /// The supervisor that forked this worker.
    pub supervisor: Supervisor,
    /// The supervisor's state at the fork of this worker.
    pub knowledge: Knowledge,
    /// The environment variables that the client sent, such as `TERM`.
    pub environment: BTreeMap<String, String>,
    /// The client's working directory, if the supervisor can reach it.
    pub directory: Option<PathBuf>,
}

/// The supervisor's state at the fork of this worker.
#[derive(Debug, Clone)]
pub struct Knowledge {
    /// Its process id.
    pub pid: i32,
    /// The time of its start, on the clock of [`now`](crate::clock::now).
    pub since: Duration,
    /// The last status of each monitor. It may be outdated; verify it before use.
    pub statuses: BTreeMap<Name, Box<Status>>,
    /// Its configuration.
    pub settings: Settings,
}

impl Env {
    /// Cancels all planned starts of a container. If the supervisor does not answer, logs a warning: it will notice
    /// that the container was stopped.
    ///
    /// # Errors
    /// If the client interrupted.
    pub fn cancel_restart(&self, name: &Name) -> Result<()> {
        self.supervisor.cancel_restart(&self.client, name)
    }

    /// Resolves `path` relative to the client's working directory.
    ///
    /// # Errors
    /// A relative path, if the supervisor cannot reach the working directory.
    pub fn path(&self, path: &Path) -> Result<PathBuf> {
        match &self.directory {
            _ if path.is_absolute() => Ok(path.to_owned()),
            Some(directory) => Ok(directory.join(path)),
            None => bail!(
                "{}: the supervisor cannot access the working directory; use an absolute path",
                path.display()
            ),
        }
    }
}
