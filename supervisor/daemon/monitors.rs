//! The monitors that the supervisor watches: one connection to each, which ends when the monitor does.
//!
//! Owns the connections and what was said on them last. A monitor is alive exactly while its control socket
//! answers; there is no number of a process to trust.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::Result;

use super::watch::{Changes, RunDirectories};
use crate::config::value::Name;
use crate::monitor::protocol::{Answer, Request, Status};
use crate::paths::Paths;
use crate::socket;

/// All monitors that answer.
#[derive(Debug)]
pub struct Monitors {
    watched: BTreeMap<Name, Watched>,
    directories: Option<RunDirectories>,
}

#[derive(Debug)]
struct Watched {
    connection: OwnedFd,
    status: Option<Box<Status>>,
}

/// What [`Monitors::hear`] heard.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A state, and whether it differs from the one before.
    Status(Box<Status>, bool),
    /// Nothing of interest.
    Nothing,
    /// The monitor is gone; what it had said last.
    Gone(Option<Box<Status>>),
}

impl Monitors {
    /// None yet; `directory` is where their run directories are.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        let directories = RunDirectories::watch(directory);
        if let Err(error) = &directories {
            log::warn!("{error:#}; containers started without this supervisor are noticed late");
        }
        Self { watched: BTreeMap::new(), directories: directories.ok() }
    }

    /// The connections to poll.
    pub fn connections(&self) -> impl Iterator<Item = (&Name, BorrowedFd<'_>)> {
        self.watched.iter().map(|(name, watched)| (name, watched.connection.as_fd()))
    }

    /// Hands over what each monitor said last, for a worker that leaves the supervisor behind.
    #[must_use]
    pub fn take_statuses(&mut self) -> BTreeMap<Name, Box<Status>> {
        let said = |(name, watched): (&Name, &mut Watched)| Some((name.clone(), watched.status.take()?));
        self.watched.iter_mut().filter_map(said).collect()
    }

    /// Readable when [`Monitors::changed`] has something; none where the kernel does not tell.
    #[must_use]
    pub fn directories(&self) -> Option<BorrowedFd<'_>> {
        self.directories.as_ref().map(RunDirectories::fd)
    }

    /// The containers whose monitor may have come to life.
    #[must_use]
    pub fn changed(&mut self) -> Changes {
        self.directories.as_mut().map(RunDirectories::changed).unwrap_or_default()
    }

    /// Whether the monitor of this container is watched.
    #[must_use]
    pub fn has(&self, name: &Name) -> bool {
        self.watched.contains_key(name)
    }

    /// Connects to a monitor, if it answers; says whether it does.
    ///
    /// # Errors
    /// When it is there but cannot be spoken to.
    pub fn watch(&mut self, paths: &Paths, name: &Name) -> Result<bool> {
        let Some(connection) = socket::connect_now(&paths.control(name))? else { return Ok(false) };
        if socket::send(&connection, &Request::Watch, &[]).is_err() {
            return Ok(false);
        }
        self.watched.insert(name.clone(), Watched { connection, status: None });
        Ok(true)
    }

    /// Takes what a monitor said.
    pub fn hear(&mut self, name: &Name) -> Heard {
        let Some(watched) = self.watched.get_mut(name) else { return Heard::Nothing };
        let received = socket::receive::<Answer>(&watched.connection);
        if let Err(error) = &received
            && error.downcast_ref::<serde_json::Error>().is_some()
        {
            // A monitor of another version says something new. It lives.
            log::warn!("{name}: {error:#}");
            return Heard::Nothing;
        }
        match received {
            Ok(Some(received)) => match received.message {
                Answer::Status(status) => {
                    let before = watched.status.replace(status.clone());
                    let changed = before.is_none_or(|before| before.state != status.state);
                    Heard::Status(status, changed)
                }
                Answer::Done | Answer::Failed(_) => Heard::Nothing,
            },
            Ok(None) => Heard::Gone(self.watched.remove(name).and_then(|watched| watched.status)),
            Err(error) => {
                log::error!("{name}: {error:#}");
                Heard::Gone(self.watched.remove(name).and_then(|watched| watched.status))
            }
        }
    }
}
