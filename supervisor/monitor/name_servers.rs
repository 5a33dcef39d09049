//! The name servers of a running container follow those of the machine.
//!
//! Owns the descriptor that tells of a change, and writes what has changed into the container's own /run. Nothing is
//! looked at unless something has happened: on Android a change of routes, elsewhere one of resolv.conf(5).

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::unistd::Pid;

use crate::child::name_servers::{Following, following, renew};
use crate::config::Config;
use crate::host::Host;
use crate::host::resolv_conf::{PATH, Watch};
use crate::host::uplink::Uplink;
use crate::mount::op::Operation;
use crate::rootfs::deadline::within;
use crate::rootfs::root::Root;

/// A network that comes changes several things; it is looked at when they have settled.
const SETTLED: Duration = Duration::from_secs(1);
/// How long asking the machine and writing into the container may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What tells of a change.
#[derive(Debug)]
enum Source {
    Routes(Uplink),
    File(Watch),
}

/// Follows the machine.
#[derive(Debug)]
pub(super) struct Follower {
    source: Source,
    following: Following,
    due: Option<Instant>,
}

impl Follower {
    /// For a boot with these steps; none where the servers are fixed.
    pub(super) fn begin(config: &Config, host: &Host, steps: &[Operation]) -> Option<Self> {
        let following = following(config, steps)?;
        let source = if host.android {
            Uplink::watch().map(Source::Routes)
        } else {
            Watch::begin(Path::new(PATH)).map(Source::File)
        };
        let source = source
            .map_err(|error| {
                log::warn!("{}: its name servers stay as they are at the start: {error:#}", config.name);
            })
            .ok()?;
        Some(Self { source, following, due: None })
    }

    /// Readable after a change.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::Routes(uplink) => uplink.fd(),
            Source::File(watch) => watch.fd(),
        }
    }

    /// Something has changed.
    pub(super) fn heard(&mut self) {
        let changed = match &mut self.source {
            Source::Routes(uplink) => {
                uplink.drain();
                true
            }
            Source::File(watch) => watch.changed(),
        };
        if changed {
            self.due = Some(Instant::now() + SETTLED);
        }
    }

    /// When it is to be looked at.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Looks if it is time, and writes what is new.
    pub(super) fn follow(&mut self, android: bool, init: Pid) -> Result<()> {
        if self.due.is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        self.due = None;
        let following = &self.following;
        let new = within(PATIENCE, || {
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
