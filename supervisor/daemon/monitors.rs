//! The monitors that the supervisor watches: one connection to each, which ends when the monitor does.
//!
//! Owns the connections and what was said on them last; what it hears comes out as a [`MonitorEvent`]. A monitor is alive exactly while its control socket
//! answers; there is no number of a process to trust.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::watch::RunDirectories;
use crate::clock::{now, unix_s};
use crate::config::value::Name;
use crate::monitor::last_exit;
use crate::monitor::protocol::{Answer, ControlRequest, Exit, ExitReason, State, Status};
use crate::paths::{Paths, names_in};
use crate::socket;
use crate::sys::errno_of;

/// All monitors that answer.
#[derive(Debug)]
pub struct Monitors {
    paths: Paths,
    watched: BTreeMap<Name, Watched>,
    directories: Option<RunDirectories>,
}

#[derive(Debug)]
struct Watched {
    connection: OwnedFd,
    status: Option<Box<Status>>,
}

/// What a monitor said, or that one came or went.
#[derive(Debug, PartialEq, Eq)]
pub enum MonitorEvent {
    /// It answers, and was not watched before.
    Watched(Name),
    /// It answers, as it did for the program before this one.
    Resumed(Name),
    /// A state, and whether it differs from the one before.
    State(Name, State, bool),
    /// It is gone, and its container ended this way.
    Gone(Name, Exit),
}

impl Monitors {
    /// None yet.
    #[must_use]
    pub fn new(paths: Paths) -> Self {
        let directories = RunDirectories::watch(&paths.run_containers());
        if let Err(error) = &directories {
            log::warn!("{error:#}; containers started without this supervisor are noticed late");
        }
        Self { paths, watched: BTreeMap::new(), directories: directories.ok() }
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

    /// Connects to the monitors that may have come to life.
    #[must_use]
    pub fn directories_changed(&mut self) -> Vec<MonitorEvent> {
        let changes = self.directories.as_mut().map(RunDirectories::changed).unwrap_or_default();
        let names = if changes.lost { names_in(&self.paths.run_containers()) } else { changes.names };
        names.iter().filter_map(|name| self.watch(name)).collect()
    }

    /// Whether the monitor of this container is watched.
    #[must_use]
    pub fn has(&self, name: &Name) -> bool {
        self.watched.contains_key(name)
    }

    /// Connects to a monitor that is not watched yet, if it answers.
    pub fn watch(&mut self, name: &Name) -> Option<MonitorEvent> {
        if self.has(name) {
            return None;
        }
        match socket::connect_now(&self.paths.control(name)) {
            Ok(connection) => {
                let connection = connection?;
                socket::send(&connection, &ControlRequest::Watch, &[]).ok()?;
                self.watched.insert(name.clone(), Watched { connection, status: None });
                Some(MonitorEvent::Watched(name.clone()))
            }
            Err(error) => {
                log::error!("{name}: {error:#}");
                None
            }
        }
    }

    /// A worker has forked a monitor. One that was killed before it could be watched has left its socket behind: one
    /// that ends in order takes it away first.
    pub fn started(&mut self, name: &Name) -> Option<MonitorEvent> {
        let watched = self.watch(name);
        if self.has(name) || !self.paths.control(name).exists() {
            return watched;
        }
        Some(self.gone(name, None))
    }

    /// Takes the end of a monitor, unless the next one of the same container is there already.
    #[must_use]
    pub fn gone(&mut self, name: &Name, last: Option<&Status>) -> MonitorEvent {
        self.watch(name).unwrap_or_else(|| MonitorEvent::Gone(name.clone(), self.exit(name, last)))
    }

    /// How a container ended: what its monitor wrote down before it took its socket away, or that it is lost.
    fn exit(&self, name: &Name, last: Option<&Status>) -> Exit {
        if !self.paths.control(name).exists()
            && let Some(exit) = last_exit::read(&self.paths, name)
        {
            return exit;
        }
        let started = last.and_then(|status| status.started_s);
        let exit = Exit {
            reason: ExitReason::Lost,
            code: None,
            signal: None,
            message: None,
            at: unix_s(),
            uptime_s: started.map_or(0, |started| now().as_secs().saturating_sub(started)),
        };
        // Without a run directory the container was deleted meanwhile.
        if let Err(error) = last_exit::write(&self.paths, name, &exit)
            && errno_of(&error) != Some(Errno::ENOENT)
        {
            log::error!("{error:#}");
        }
        exit
    }

    /// Takes what a monitor said.
    pub fn hear(&mut self, name: &Name) -> Option<MonitorEvent> {
        let watched = self.watched.get_mut(name)?;
        let received = socket::receive::<Answer>(&watched.connection);
        if let Err(error) = &received
            && error.downcast_ref::<serde_json::Error>().is_some()
        {
            // A monitor of another version says something new. It lives.
            log::warn!("{name}: {error:#}");
            return None;
        }
        match received {
            Ok(Some(received)) => {
                let Answer::Status(status) = received.message else { return None };
                let state = status.state;
                let before = watched.status.replace(status);
                let changed = before.is_none_or(|before| before.state != state);
                return Some(MonitorEvent::State(name.clone(), state, changed));
            }
            Ok(None) => {}
            Err(error) => log::error!("{name}: {error:#}"),
        }
        let last = self.watched.remove(name).and_then(|watched| watched.status);
        Some(self.gone(name, last.as_deref()))
    }
}
