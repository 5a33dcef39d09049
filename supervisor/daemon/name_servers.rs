//! Detects changes of the machine's name servers, and reports them to the monitors: one descriptor for all containers.
//!
//! Owns the descriptor of resolv.conf(5). On Android, servers belong to routes, and each monitor follows these itself.
//! Reads no servers; the monitors compare them with those in their containers.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use nix::sys::inotify::AddWatchFlags;

use super::monitors::Monitors;
use crate::child::name_servers::HOSTS_FILE;
use crate::clock::now;
use crate::host::file_watch::FileWatch;
use crate::monitor::protocol::ControlRequest;
use crate::platform::is_android;

/// A new network changes several things in a row; the delay after the last change.
const DELAY: Duration = Duration::from_secs(1);

/// The name servers of the machine, as the supervisor's loop sees them.
#[derive(Debug)]
pub struct NameServers {
    /// None on Android.
    file: Option<FileWatch>,
    due: Option<Duration>,
}

impl NameServers {
    /// Begins to follow changes. Earlier ones are reported when a running monitor is connected.
    #[must_use]
    pub fn new() -> Self {
        let events = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO;
        let file = (!is_android()).then(|| FileWatch::begin(Path::new(HOSTS_FILE), events, "name servers"));
        Self { file, due: None }
    }

    /// Readable after a change.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.file.iter().filter_map(FileWatch::fd)
    }

    /// The latest time for a call of [`NameServers::follow`].
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.due
    }

    /// Reads what has changed, and reports it after a delay. Must be called after each event of the supervisor, see
    /// [`FileWatch::changed`].
    pub fn follow(&mut self, monitors: &Monitors) {
        if self.file.as_mut().and_then(FileWatch::changed) == Some(true) {
            self.due = Some(now() + DELAY);
        }
        if self.due.take_if(|due| *due <= now()).is_some() {
            monitors.report(&ControlRequest::NameServers);
        }
    }
}
