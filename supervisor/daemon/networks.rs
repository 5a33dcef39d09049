//! Detects changes of the machine's network while containers are in networks of ds, and decides when to update these.
//!
//! A worker does the work: it may wait for a lock or run iptables-restore. The descriptors for changes are open only
//! while there is such a container. If the supervisor is killed, the rules that bind a container to its uplink remain
//! in the kernel, and the next supervisor catches up with the changes. inotify(7), rtnetlink(7).

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::Result;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::monitors::Monitors;
use crate::call;
use crate::clock::now;
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
    /// Reports changes of the list of members.
    directory: Option<Inotify>,
    /// Reports changes of the machine's network; open while there are members.
    events: Option<Events>,
    /// When a worker must update the networks next.
    due: Option<Duration>,
    /// No worker begins before this time.
    next: Duration,
    /// Monitors have to read the list of neighbours again.
    renamed: bool,
    /// Inode and time of the list of neighbours; only without `directory`.
    list: Option<(u64, i64, i64)>,
    again: Option<Duration>,
}

impl Networks {
    /// Begins to follow changes; the first update also covers earlier ones.
    #[must_use]
    pub fn new(paths: Paths) -> Self {
        let directory = watch(&paths)
            .map_err(|error| log::warn!("networks: {error:#}; raise fs.inotify.max_user_instances"))
            .ok();
        let (due, again, next) = (None, None, Duration::ZERO);
        let mut networks =
            Self { paths, directory, events: None, due, next, renamed: true, list: None, again };
        networks.look();
        // What has changed without a supervisor is handled at once.
        networks.due = networks.again.take().map(|_| Duration::ZERO);
        networks
    }

    /// Readable after a change.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let events = self.events.iter().flat_map(Events::fds);
        self.directory.iter().map(AsFd::as_fd).chain(events)
    }

    /// The latest time for a call of [`Networks::is_work_due`].
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.due.into_iter().chain(self.again).min()
    }

    /// A descriptor has reported a change.
    pub fn heard(&mut self) {
        // Non-blocking: an error means that nothing can be read.
        if let Some(directory) = &self.directory
            && let Ok(events) = directory.read_events()
        {
            self.renamed |=
                events.iter().any(|event| event.name.as_ref().is_none_or(|name| name == NEIGHBOURS));
            self.look();
        }
        if self.events.as_mut().is_some_and(Events::drain) {
            (self.due, self.again) = (Some(self.next), Some(now() + DELAY));
        }
    }

    /// Has the monitors read the list of neighbours again after a change. Must be called after each event of the
    /// supervisor: without an inotify instance, changes are noticed here.
    pub fn report_neighbours(&mut self, monitors: &Monitors) {
        if self.directory.is_none() {
            let file = fs::metadata(self.paths.network_members().join(NEIGHBOURS)).ok();
            let identity = file.map(|file| (file.ino(), file.mtime(), file.mtime_nsec()));
            if identity != self.list {
                (self.list, self.renamed) = (identity, true);
                self.look();
            }
        }
        if std::mem::take(&mut self.renamed) {
            monitors.report_neighbours();
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

fn watch(paths: &Paths) -> Result<Inotify> {
    let path = paths.network_members();
    create_private(&path)?;
    let inotify = call!(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK), "inotify_init1")?;
    let events = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_ONLYDIR;
    call!(inotify.add_watch(&path, events), "inotify_add_watch({})", path.display())?;
    Ok(inotify)
}
