//! `ds module boot`, what service.sh calls at late_start: launches the supervisor, however often it is called.
//!
//! The script's surroundings are the root manager's: its umask, its descriptors, perhaps an app's mount namespace.
//! They end here; what the supervisor itself leaves behind is in `daemon::detach`. umask(2), setns(2).

use std::path::Path;

use anyhow::{Context, Result};

use super::place::{ID, MANAGERS};
use crate::daemon::{detach, launch};
use crate::durable;
use crate::exit::ExitCode;
use crate::paths::{self, Paths};

/// Launches the supervisor unless there is one, and tells it where the module is.
///
/// # Errors
/// Why there is no supervisor.
pub fn run(module: Option<&Path>, paths: &Paths) -> Result<ExitCode> {
    if let Err(error) = detach::join_init() {
        log::warn!("{error:#}");
    }
    launch::refuse_spoiled()?;
    // Without the copy, everything works until an update is cut short.
    if let Err(error) = super::keep::keep(paths) {
        log::warn!("module boot: cannot keep a copy of ds: {error:#}");
    }
    let _lock = launch::lock(paths)?;
    mark(module, paths)?;
    if !launch::is_running(paths)? {
        launch::start(paths, true)?;
    }
    Ok(ExitCode::Done)
}

/// Writes down that the module has come to its turn in this boot of the machine, and where it is.
fn mark(module: Option<&Path>, paths: &Paths) -> Result<()> {
    paths::create_private(&paths.run).with_context(|| format!("create {}", paths.run.display()))?;
    let file = paths.module();
    let installed = Path::new(MANAGERS).join("modules").join(ID);
    let directory = module.unwrap_or(&installed).to_string_lossy();
    durable::write(&file, directory.as_bytes(), 0o600).with_context(|| format!("write {}", file.display()))
}
