//! The other containers of a network by name, in the container's /etc/hosts: `db`, `db.ds`, and its host name.
//!
//! Owns the descriptor that reports changes of the list of members, and which lines there are. Questions for other
//! names take the container's own way out, so that they never leave by another one than its packets do.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::unistd::Pid;

use super::store::{NEIGHBOURS, Neighbour, neighbours};
use crate::call;
use crate::config::Config;
use crate::config::value::Name;
use crate::paths::Paths;
use crate::rootfs::deadline::within;
use crate::rootfs::files::HOSTS;
use crate::rootfs::root::Root;
use crate::seed::neighbours as lines_of_ds;

/// Several containers that start together are written once.
const SETTLED: Duration = Duration::from_millis(200);
/// How long writing into the container may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keeps the names current.
#[derive(Debug)]
pub(super) struct Names {
    paths: Paths,
    name: Name,
    changes: Option<Inotify>,
    due: Option<Instant>,
    written: String,
}

impl Names {
    /// Of a container; none where the file is one of the host's. The first lines are due at once.
    pub(super) fn begin(config: &Config, paths: &Paths) -> Option<Self> {
        let binds = config.mounts.bind.iter().map(|bind| bind.target.to_string());
        let mut binds = binds.chain(config.mounts.tmpfs.iter().map(|tmpfs| tmpfs.target.to_string()));
        if binds.any(|target| HOSTS.path().starts_with(&target)) {
            return None;
        }
        let changes = watch(paths).map_err(|error| log::warn!("{}: names: {error:#}", config.name)).ok();
        let (paths, name) = (paths.clone(), config.name.clone());
        Some(Self { paths, name, changes, due: Some(Instant::now()), written: String::new() })
    }

    /// Readable when the list of members has changed.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.changes.as_ref().map(AsFd::as_fd)
    }

    /// Something may have changed.
    pub(super) fn heard(&mut self) {
        let events = self.changes.as_ref().and_then(|changes| changes.read_events().ok()).unwrap_or_default();
        if events.iter().any(|event| event.name.as_ref().is_none_or(|name| name == NEIGHBOURS)) {
            self.due = Some(Instant::now() + SETTLED);
        }
    }

    /// When [`Names::follow`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Writes what is new into the running container, if it is time.
    pub(super) fn follow(&mut self, init: Pid) {
        if self.due.is_none_or(|due| due > Instant::now()) {
            return;
        }
        self.due = None;
        let lines = lines(&neighbours(&self.paths), &self.name);
        if lines == self.written {
            return;
        }
        let done = within(PATIENCE, || {
            let root = Root::open(Path::new(&format!("/proc/{init}/root/")))?;
            lines_of_ds::write(&root, &lines).map(|()| Vec::new())
        });
        match done {
            Ok(_) => self.written = lines,
            Err(error) => log::warn!("{}: names of other containers: {error:#}", self.name),
        }
    }

    /// Removes the lines from the tree of a container that has ended.
    pub(super) fn end(&self, root: &Root) {
        if self.written.is_empty() {
            return;
        }
        if let Err(error) = within(PATIENCE, || lines_of_ds::write(root, "").map(|()| Vec::new())) {
            log::warn!("{}: names of other containers: {error:#}", self.name);
        }
    }
}

fn watch(paths: &Paths) -> Result<Inotify> {
    let changes = call!(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK), "inotify_init1")?;
    let events = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
    call!(changes.add_watch(&paths.network_members(), events), "inotify_add_watch")?;
    Ok(changes)
}

/// The lines of one container. Those that it cannot reach have none.
fn lines(members: &[Neighbour], own: &Name) -> String {
    let Some(itself) = members.iter().find(|member| member.name == *own) else { return String::new() };
    let mut text = String::new();
    for member in members.iter().filter(|member| member.network == itself.network) {
        let is_itself = member.name == *own;
        if !is_itself && (member.isolated || itself.isolated) {
            continue;
        }
        let mut names = vec![format!("{}.ds", member.name)];
        if !is_itself {
            // Its own name has an address already.
            names.insert(0, member.name.to_string());
            names.extend((member.hostname != member.name.as_str()).then(|| member.hostname.clone()));
        }
        for address in &member.addresses {
            text.push_str(&lines_of_ds::line(&address.to_string(), &names));
        }
    }
    text
}
