//! `ds module boot`: what `service.sh` calls at late_start, in every boot and perhaps twice.

use anyhow::Result;

use crate::cli::Supervise;
use crate::command::supervise;
use crate::exit::ExitCode;
use crate::paths::Paths;

/// Launches the supervisor.
///
/// # Errors
/// Why there is none, or that there is one already.
pub fn run(paths: &Paths) -> Result<ExitCode> {
    supervise::run(&Supervise { foreground: false, no_autostart: false }, paths)
}
