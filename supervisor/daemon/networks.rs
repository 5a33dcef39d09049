//! Detects changes of the machine's network while containers are in networks of ds, and decides when to update these.
//!
//! A worker does the work: it may wait for a lock or run iptables-restore. The descriptors for changes are open only
//! while there is such a container. If the supervisor is killed, the rules that bind a container to its uplink remain
//! in the kernel, and the next supervisor catches up with the changes. inotify(7), rtnetlink(7).

use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::sys::inotify::AddWatchFlags;

use super::monitors::Monitors;
use crate::clock::now;
use crate::host::file_watch::FileWatch;
use crate::monitor::protocol::ControlRequest;
use crate::network::store::NEIGHBOURS;
use crate::network::{Events, is_used};
use crate::paths::{Paths, create_private};

/// A network changes in several steps. The first one is handled at once, and all of them again after this delay.
const DELAY: Duration = Duration::from_millis(300);
/// The shortest time from one worker to the next, which then handles all steps of that time.
const INTERVAL: Duration = Duration::from_millis(20);

/// The networks of containers, as the supervisor's loop sees them.
#[derive(Debug)]
pub struct Networks {
    paths: Paths,
    /// Reports changes of the list of neighbours.
    list: FileWatch,
    /// Reports changes of the machine's network; open while there are members.
    events: Option<Events>,
    /// When a worker must update the networks next.
    due: Option<Duration>,
    /// No worker begins before this time.
    next: Duration,
    again: Option<Duration>,
}

impl Networks {
    /// Begins to follow changes; the first update also covers earlier ones.
    #[must_use]
    pub fn new(paths: Paths) -> Self {
        let members = paths.network_members();
        if let Err(error) = create_private(&members) {
            log::warn!("networks: {error:#}");
        }
        let events = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
        let list = FileWatch::begin(&members.join(NEIGHBOURS), events, "networks");
        let mut networks = Self { paths, list, events: None, due: None, next: Duration::ZERO, again: None };
        networks.look();
        // What has changed without a supervisor is handled at once.
        networks.due = networks.again.take().map(|_| Duration::ZERO);
        networks
    }

    /// Readable after a change.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let events = self.events.iter().flat_map(Events::fds);
        self.list.fd().into_iter().chain(events)
    }

    /// The latest time for a call of [`Networks::is_work_due`].
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.due.into_iter().chain(self.again).min()
    }

    /// Reads what has changed, and has the monitors read the list of neighbours again if it has. Must be called after
    /// each event of the supervisor, see [`FileWatch::changed`].
    pub fn follow(&mut self, monitors: &Monitors) {
        let listed = self.list.changed();
        if listed.is_some() {
            self.look();
        }
        if listed == Some(true) {
            monitors.report(&ControlRequest::Neighbours);
        }
        if self.events.as_mut().is_some_and(Events::drain) {
            (self.due, self.again) = (Some(self.next), Some(now() + DELAY));
        }
    }

    /// The list of members may have changed.
    fn look(&mut self) {
        if !is_used(&self.paths) {
            (self.events, self.due, self.again) = (None, None, None);
        } else if self.events.is_none() {
            let events = Events::watch(&self.paths);
            self.events = events.map_err(|error| log::warn!("networks: {error:#}")).ok();
            // The first container is just starting and sets up everything. Changes between that and the subscription
            // are handled afterwards.
            self.again = Some(now() + DELAY);
        }
    }

    /// Whether a worker must update the networks now. Must not be called while one does.
    pub fn is_work_due(&mut self) -> bool {
        let now = now();
        let is_over = |at: &mut Option<Duration>| at.take_if(|at| *at <= now).is_some();
        if !(is_over(&mut self.due) | is_over(&mut self.again)) {
            return false;
        }
        self.next = now + INTERVAL;
        true
    }
}
