//! Keeps the name servers of a running container up to date with those of the machine.
//!
//! Owns the descriptor that reports a change: of routes on Android, of resolv.conf(5) elsewhere. Writes new servers
//! into the container's own /run. Checks nothing without an event.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::unistd::Pid;

use super::part::{Part, Ready};
use crate::child::name_servers::{Following, following, renew};
use crate::config::Config;
use crate::host::Host;
use crate::host::resolv_conf::{PATH, Watch};
use crate::host::uplink;
use crate::mount::op::Operation;
use crate::netlink::Subscription;
use crate::poll::PollSet;
use crate::rootfs::deadline::within;
use crate::rootfs::root::Root;

/// A new network changes several things in a row; the delay after the first change.
const DELAY: Duration = Duration::from_secs(1);
/// The timeout for the query of the machine and the writing of files of the container.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The descriptor that reports a change.
#[derive(Debug)]
enum Watcher {
    Routes(Subscription),
    File(Watch),
}

/// Updates the name servers of one boot.
#[derive(Debug)]
pub(super) struct Follower {
    watcher: Watcher,
    following: Following,
    due: Option<Instant>,
}

impl Follower {
    /// For a boot with these operations; `None` if its servers are fixed.
    pub(super) fn begin(config: &Config, host: &Host, steps: &[Operation]) -> Option<Self> {
        let following = following(config, steps)?;
        let watcher = if host.android {
            uplink::watch().map(Watcher::Routes)
        } else {
            Watch::begin(Path::new(PATH)).map(Watcher::File)
        };
        let watcher = watcher
            .map_err(|error| {
                log::warn!("{}: its name servers will not be updated: {error:#}", config.name);
            })
            .ok()?;
        Some(Self { watcher, following, due: None })
    }

    /// Reads the reported change.
    pub(super) fn changed(&mut self) {
        let changed = match &mut self.watcher {
            Watcher::Routes(uplink) => {
                uplink.drain();
                true
            }
            Watcher::File(watch) => watch.changed(),
        };
        if changed {
            self.due = Some(Instant::now() + DELAY);
        }
    }

    /// Once the delay is over, updates the servers in the container if they differ.
    pub(super) fn follow(&mut self, android: bool, init: Pid) -> Result<()> {
        if self.due.is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        self.due = None;
        let following = &self.following;
        let new = within(TIMEOUT, || {
            let root = Root::open(Path::new(&format!("/proc/{init}/root/")))?;
            Ok(renew(following, &root, android)?.unwrap_or_default().into_bytes())
        })?;
        if !new.is_empty() {
            self.following.written = String::from_utf8_lossy(&new).into_owned();
            if self.following.for_resolved {
                self.following.restart_resolved(init);
            }
        }
        Ok(())
    }
}

impl Part for Follower {
    fn watch<'a>(&'a self, set: &mut PollSet<'a, Ready>) {
        let changes = match &self.watcher {
            Watcher::Routes(uplink) => uplink.fd(),
            Watcher::File(watch) => watch.fd(),
        };
        set.input(Ready::NameServers, changes);
    }

    fn due(&self) -> Option<Instant> {
        self.due
    }
}
