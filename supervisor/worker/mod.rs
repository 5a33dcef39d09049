//! What a worker has: the command line, the client, the supervisor, and the facts of the machine.
//!
//! Owns [`Env`], which every verb is given, and both of the worker's connections with their protocol. Makes no worker
//! (that is `daemon`) and knows no verb (that is `command`).

pub mod client;
pub mod protocol;
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

/// What a command is given.
#[derive(Debug)]
pub struct Env {
    /// The name that the program was called by, then its arguments.
    pub argv: Vec<String>,
    /// Where everything of ours is.
    pub paths: Paths,
    /// What this machine is; probed by the supervisor when it started.
    pub host: Rc<Host>,
    /// The client that asked, if one did.
    pub client: Client,
    /// The supervisor that forked this worker.
    pub supervisor: Supervisor,
    /// What the supervisor knew when it forked this worker.
    pub knowledge: Knowledge,
    /// The variables that the client handed on: `TERM` and its like.
    pub environment: BTreeMap<String, String>,
    /// The client's working directory, when it exists for the supervisor, too.
    pub directory: Option<PathBuf>,
}

/// What a worker knows of the supervisor that forked it.
#[derive(Debug, Clone)]
pub struct Knowledge {
    /// Its process id.
    pub pid: i32,
    /// When it began, on the clock of [`now`](crate::clock::now).
    pub since: Duration,
    /// What the monitors said last: perhaps not true any more, to be verified by whoever relies on it.
    pub statuses: BTreeMap<Name, Box<Status>>,
    /// How it is configured.
    pub settings: Settings,
}

impl Env {
    /// Calls off whatever the supervisor has planned to start a container. Where the supervisor does not answer, that is
    /// a warning: it finds out by itself that the container was stopped.
    ///
    /// # Errors
    /// That the client interrupted.
    pub fn cancel_restart(&self, name: &Name) -> Result<()> {
        self.supervisor.cancel_restart(&self.client, name)
    }

    /// What the user means by `path`: relative to the client's working directory.
    ///
    /// # Errors
    /// A relative path from a working directory that the supervisor cannot reach.
    pub fn path(&self, path: &Path) -> Result<PathBuf> {
        match &self.directory {
            _ if path.is_absolute() => Ok(path.to_owned()),
            Some(directory) => Ok(directory.join(path)),
            None => bail!(
                "{}: the working directory is not there for the supervisor; use an absolute path",
                path.display()
            ),
        }
    }
}
