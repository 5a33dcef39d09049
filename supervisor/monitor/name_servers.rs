//! Keeps the name servers of a running container up to date with those of the machine.
//!
//! Writes new servers into the container's own /run, when the supervisor reports a change.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use nix::unistd::Pid;

use crate::child::name_servers::{Following, renew};
use crate::rootfs::deadline::within;
use crate::rootfs::root::Root;

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
