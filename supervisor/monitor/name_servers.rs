//! Keeps the name servers of a running container up to date with those of the machine.
//!
//! Owns the descriptor of routes, to which name servers belong on Android; elsewhere, the supervisor reports a change.
//! Writes new servers into the container's own /run.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::unistd::Pid;

use super::part::{Part, Ready};
use crate::child::name_servers::{Following, renew};
use crate::host::uplink;
use crate::netlink::Subscription;
use crate::poll::PollSet;
use crate::rootfs::deadline::within;
use crate::rootfs::root::Root;

/// A new network changes several routes in a row; the delay after the last change.
const DELAY: Duration = Duration::from_secs(1);
/// The timeout for the query of the machine and the writing of files of the container.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Updates the servers in the container of this PID 1, if they differ.
///
/// # Errors
/// If the file cannot be read or written in time.
pub(super) fn follow(following: &mut Following, android: bool, init: Pid) -> Result<()> {
    let new = within(TIMEOUT, || {
        let root = Root::open(Path::new(&format!("/proc/{init}/root/")))?;
        Ok(renew(following, &root, android)?.unwrap_or_default().into_bytes())
    })?;
    if !new.is_empty() {
        following.written = String::from_utf8_lossy(&new).into_owned();
        if following.for_resolved {
            following.restart_resolved(init);
        }
    }
    Ok(())
}

/// The routes of an Android machine.
#[derive(Debug)]
pub(super) struct Routes {
    changes: Subscription,
    due: Option<Instant>,
}

impl Routes {
    /// # Errors
    /// If the kernel refuses the subscription.
    pub(super) fn begin() -> Result<Self> {
        Ok(Self { changes: uplink::watch()?, due: None })
    }

    /// Reads the reported change.
    pub(super) fn changed(&mut self) {
        self.changes.drain();
        self.due = Some(Instant::now() + DELAY);
    }

    /// Whether the name servers may have changed since the last call.
    pub(super) fn take_change(&mut self) -> bool {
        self.due.take_if(|due| *due <= Instant::now()).is_some()
    }
}

impl Part for Routes {
    fn watch<'a>(&'a self, set: &mut PollSet<'a, Ready>) {
        set.input(Ready::Routes, self.changes.fd());
    }

    fn due(&self) -> Option<Instant> {
        self.due
    }
}
