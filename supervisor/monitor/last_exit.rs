//! The record of a container's last exit: `last-exit` in its run directory. Owns its format. A monitor writes it; the
//! supervisor does if the monitor could not.

use std::fs;
use std::io::ErrorKind;

use anyhow::{Context, Result};

use super::protocol::{Exit, ExitReason};
use crate::clock::unix_s;
use crate::config::value::Name;
use crate::durable;
use crate::paths::Paths;

/// Maximum size of a record, in bytes.
const LARGEST: u64 = 64 << 10;

/// Reads the record; `None` if the container never ended or the record cannot be read.
#[must_use]
pub fn read(paths: &Paths, name: &Name) -> Option<Exit> {
    let bytes = durable::read(&paths.last_exit(name), LARGEST).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Writes the record.
///
/// # Errors
/// If the file cannot be written.
pub fn write(paths: &Paths, name: &Name, exit: &Exit) -> Result<()> {
    let text = serde_json::to_vec(exit).context("encode the last exit")?;
    let path = paths.last_exit(name);
    durable::replace(&path, &text, 0o600).with_context(|| format!("write {}", path.display()))
}

/// Removes the record.
pub fn forget(paths: &Paths, name: &Name) {
    let _ = fs::remove_file(paths.last_exit(name));
}

/// Renames the record of `old`, if there is one, to that of `new`.
pub fn rename(paths: &Paths, old: &Name, new: &Name) {
    match fs::rename(paths.last_exit(old), paths.last_exit(new)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            log::warn!("the record of its last exit is lost: {error}");
        }
        _ => {}
    }
}

/// Records that a container failed to start, or was stopped before it ran.
pub fn write_failed_start(paths: &Paths, name: &Name, message: &str, stopped: bool) {
    let exit = Exit {
        reason: if stopped { ExitReason::Stopped } else { ExitReason::StartFailed },
        code: None,
        signal: None,
        message: Some(message.to_owned()),
        at: unix_s(),
        uptime_s: 0,
    };
    if let Err(error) = write(paths, name, &exit) {
        log::warn!("{name}: {error:#}");
    }
}
