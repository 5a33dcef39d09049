//! `ds module boot`, which service.sh calls at late_start: launches the supervisor. Repeated calls are harmless.
//!
//! The root manager determines the environment of the script: its umask, its descriptors, perhaps an app's mount
//! namespace. This module leaves them; `daemon::detach` removes the rest for the supervisor. umask(2), setns(2).

use std::path::Path;

use anyhow::{Context, Result};

use super::place::{ID, MANAGERS};
use crate::daemon::{detach, launch};
use crate::durable;
use crate::exit::ExitCode;
use crate::paths::{self, Paths};

/// Launches the supervisor if it is not running, and passes it the path of the module.
///
/// # Errors
/// If the supervisor cannot be started.
pub fn run(module: Option<&Path>, paths: &Paths) -> Result<ExitCode> {
    if let Err(error) = detach::join_init() {
        log::warn!("{error:#}");
    }
    launch::refuse_spoiled()?;
    // The copy is needed only after an interrupted update.
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

/// Records that the module has started in this boot of the machine, and its path.
fn mark(module: Option<&Path>, paths: &Paths) -> Result<()> {
    paths::create_private(&paths.run)?;
    let file = paths.module();
    let installed = Path::new(MANAGERS).join("modules").join(ID);
    let directory = module.unwrap_or(&installed).to_string_lossy();
    durable::replace(&file, directory.as_bytes(), 0o600).with_context(|| format!("write {}", file.display()))
}
