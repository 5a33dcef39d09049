//! The connections to the monitors: one for each, which ends when the monitor does.
//!
//! Owns the connections and the last status of each monitor; reports changes as [`MonitorEvent`]. A monitor is alive
//! exactly while its control socket answers; process ids are not used for this.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::PollFlags;

use super::watch::RunDirectories;
use crate::clock::{now, unix_s};
use crate::config::value::Name;
use crate::monitor::last_exit;
use crate::monitor::protocol::{
    Answer, ControlRequest, Exit, ExitReason, State, Status, WITH_NAME_SERVERS, WITH_NEIGHBOURS,
};
use crate::paths::{Paths, names_in};
use crate::poll;
use crate::socket;
use crate::sys::errno_of;

/// All connected monitors.
#[derive(Debug)]
pub struct Monitors {
    paths: Paths,
    watched: BTreeMap<Name, Watched>,
    directories: Option<RunDirectories>,
    /// When this supervisor began.
    since: Duration,
}

#[derive(Debug)]
struct Watched {
    connection: OwnedFd,
    status: Option<Box<Status>>,
}

impl Watched {
    /// Sends a report, unless the monitor does not know it or its container is not concerned. If its socket is full, it
    /// has not read earlier reports yet.
    fn report(&self, report: &ControlRequest) {
        let concerns = |status: &Status| match report {
            ControlRequest::NameServers => status.protocol >= WITH_NAME_SERVERS,
            _ => status.protocol >= WITH_NEIGHBOURS && ["nat", "gateway"].contains(&status.network.as_str()),
        };
        if self.status.as_deref().is_some_and(concerns)
            && poll::is_ready(self.connection.as_fd(), PollFlags::POLLOUT)
        {
            // The end of the monitor is detected elsewhere.
            let _ = socket::send(&self.connection, report, &[]);
        }
    }
}

/// A message from a monitor, or a new or ended connection.
#[derive(Debug, PartialEq, Eq)]
pub enum MonitorEvent {
    /// It answers, and was not watched before.
    Watched(Name),
    /// It answers, as it did for the previous program.
    Resumed(Name),
    /// A status, and whether it differs from the previous one.
    State(Name, State, bool),
    /// The monitor has ended; how its container exited.
    Gone(Name, Exit),
    /// Nobody listens on its socket: a start was killed before it forked a monitor.
    Stale(Name),
}

impl Monitors {
    /// Without monitors.
    #[must_use]
    pub fn new(paths: Paths) -> Self {
        let directories = RunDirectories::watch(&paths.run_containers());
        if let Err(error) = &directories {
            log::warn!("{error:#}; containers that start without this supervisor are detected late");
        }
        Self { paths, watched: BTreeMap::new(), directories: directories.ok(), since: now() }
    }

    /// The connections to poll.
    pub fn connections(&self) -> impl Iterator<Item = (&Name, BorrowedFd<'_>)> {
        self.watched.iter().map(|(name, watched)| (name, watched.connection.as_fd()))
    }

    /// Reports to the monitors that neighbours or name servers have changed.
    pub fn report(&self, report: &ControlRequest) {
        self.watched.values().for_each(|watched| watched.report(report));
    }

    /// The last status of each monitor, for a new worker.
    #[must_use]
    pub fn take_statuses(&mut self) -> BTreeMap<Name, Box<Status>> {
        let said = |(name, watched): (&Name, &mut Watched)| Some((name.clone(), watched.status.take()?));
        self.watched.iter_mut().filter_map(said).collect()
    }

    /// Readable when [`Monitors::changed`] has events; `None` if the kernel does not support it.
    #[must_use]
    pub fn directories(&self) -> Option<BorrowedFd<'_>> {
        self.directories.as_ref().map(RunDirectories::fd)
    }

    /// Connects to monitors that may have started, after a lock was released.
    #[must_use]
    pub fn directories_changed(&mut self) -> Vec<MonitorEvent> {
        let changes = self.directories.as_mut().map(RunDirectories::changed).unwrap_or_default();
        let names = if changes.lost { names_in(&self.paths.run_containers()) } else { changes.names };
        names
            .iter()
            .filter_map(|name| {
                let watched = self.watch(name);
                watched.or_else(|| self.is_stale(name).then(|| MonitorEvent::Stale(name.clone())))
            })
            .collect()
    }

    /// Whether a container has a control socket, and no monitor answers on it. Its monitor was just looked for.
    fn is_stale(&self, name: &Name) -> bool {
        !self.has(name) && self.paths.control(name).exists()
    }

    /// Whether the monitor of this container is connected.
    #[must_use]
    pub fn has(&self, name: &Name) -> bool {
        self.watched.contains_key(name)
    }

    /// Connects to a monitor that is not connected yet, if it answers.
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

    /// A worker has forked a monitor. If that was killed before it could be connected, its socket still exists: a
    /// monitor that ends cleanly removes it.
    pub fn started(&mut self, name: &Name) -> Option<MonitorEvent> {
        let watched = self.watch(name);
        if self.is_stale(name) { Some(self.gone(name, None)) } else { watched }
    }

    /// Processes the end of a monitor, unless the next one of the same container is already running.
    #[must_use]
    pub fn gone(&mut self, name: &Name, last: Option<&Status>) -> MonitorEvent {
        self.watch(name).unwrap_or_else(|| MonitorEvent::Gone(name.clone(), self.exit(name, last)))
    }

    /// How a container exited: the record that its monitor wrote before it removed its socket, or `lost`.
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
        // If there is no run directory, the container was deleted in the meantime.
        if let Err(error) = last_exit::write(&self.paths, name, &exit)
            && errno_of(&error) != Some(Errno::ENOENT)
        {
            log::error!("{error:#}");
        }
        exit
    }

    /// Processes a message from a monitor.
    pub fn hear(&mut self, name: &Name) -> Option<MonitorEvent> {
        let watched = self.watched.get_mut(name)?;
        let received = socket::receive::<Answer>(&watched.connection);
        if let Err(error) = &received
            && error.downcast_ref::<serde_json::Error>().is_some()
        {
            // A monitor of another version sent an unknown message. It is alive.
            log::warn!("{name}: {error:#}");
            return None;
        }
        match received {
            Ok(Some(received)) => {
                let Answer::Status(status) = received.message else { return None };
                let state = status.state;
                let is_older = status.started_s.is_some_and(|started| started <= self.since.as_secs());
                let before = watched.status.replace(status).map(|before| before.state);
                let changed = before != Some(state);
                if changed {
                    watched.report(&ControlRequest::Neighbours);
                }
                if before.is_none() && is_older {
                    // This supervisor does not know what changed before it.
                    watched.report(&ControlRequest::NameServers);
                }
                return Some(MonitorEvent::State(name.clone(), state, changed));
            }
            Ok(None) => {}
            Err(error) => log::error!("{name}: {error:#}"),
        }
        let last = self.watched.remove(name).and_then(|watched| watched.status);
        Some(self.gone(name, last.as_deref()))
    }
}
