//! The other containers of a network by name, in the container's /etc/hosts: `db`, `db.ds`, and its host name.
//!
//! Owns the content of the lines. The supervisor reports changes of the list of members, because the number of
//! descriptors that report changes of files is limited for each user (128 on many kernels). Queries for other names use
//! the container's own uplink, like its other packets.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::store::{Neighbour, neighbours};
use crate::config::Config;
use crate::config::value::Name;
use crate::paths::Paths;
use crate::rootfs::deadline::within;
use crate::rootfs::files::HOSTS;
use crate::rootfs::root::Root;
use crate::seed::neighbours as lines_of_ds;

/// The delay after a change, so that containers that start together cause one update.
const DELAY: Duration = Duration::from_millis(200);
/// The timeout for writing into the container.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Updates the names.
#[derive(Debug)]
pub(super) struct Names {
    paths: Paths,
    name: Name,
    due: Option<Instant>,
    written: String,
    /// Whether its file is one of the host's, which is not changed.
    covered: bool,
}

impl Names {
    /// For a container, which must get the [`Names::first`] lines before its first process.
    pub(super) fn begin(config: &Config, paths: &Paths) -> Self {
        let binds = config.mounts.bind.iter().map(|bind| bind.target.to_string());
        let mut binds = binds.chain(config.mounts.tmpfs.iter().map(|tmpfs| tmpfs.target.to_string()));
        let covered = binds.any(|target| HOSTS.path().starts_with(&target));
        let (paths, name) = (paths.clone(), config.name.clone());
        Self { paths, name, due: None, written: String::new(), covered }
    }

    /// The first lines, which the caller writes.
    pub(super) fn first(&mut self) -> String {
        if !self.covered {
            self.written = lines(&neighbours(&self.paths), &self.name);
        }
        self.written.clone()
    }

    /// The list of members may have changed.
    pub(super) fn changed(&mut self) {
        if !self.covered {
            let then = Instant::now() + DELAY;
            self.due = Some(self.due.map_or(then, |due| due.min(then)));
        }
    }

    /// When [`Names::follow`] must be called.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Writes the changes into the running container, if they are due.
    pub(super) fn follow(&mut self, init: Pid) {
        if self.due.is_none_or(|due| due > Instant::now()) {
            return;
        }
        self.due = None;
        let lines = lines(&neighbours(&self.paths), &self.name);
        if lines == self.written {
            return;
        }
        let done = within(TIMEOUT, || {
            let root = Root::open(Path::new(&format!("/proc/{init}/root/")))?;
            lines_of_ds::write(&root, &lines).map(|()| Vec::new())
        });
        match done {
            Ok(_) => self.written = lines,
            Err(error) => log::warn!("{}: cannot update the names of other containers: {error:#}", self.name),
        }
    }

    /// Removes the lines from the tree of a container that has ended.
    pub(super) fn end(&self, root: &Root) {
        if self.written.is_empty() {
            return;
        }
        if let Err(error) = within(TIMEOUT, || lines_of_ds::write(root, "").map(|()| Vec::new())) {
            log::warn!("{}: cannot update the names of other containers: {error:#}", self.name);
        }
    }
}

/// The lines for one container; containers that it cannot reach have none.
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
            // Its own name is already in the file.
            names.insert(0, member.name.to_string());
            names.extend((member.hostname != member.name.as_str()).then(|| member.hostname.clone()));
        }
        for address in &member.addresses {
            text.push_str(&lines_of_ds::line(&address.to_string(), &names));
        }
    }
    text
}
