//! `ds set`: changes a container's configuration, comments and order kept.

use anyhow::Result;

use super::assignments;
use super::state::existing;
use crate::cli;
use crate::config::Config;
use crate::container::Lock;
use crate::daemon::guard;
use crate::exit::ExitCode;
use crate::worker::Env;

/// Writes the new values; a running container sees them at its next start.
///
/// # Errors
/// When there is no such container or key, or a value is not valid; then nothing is changed.
pub fn run(arguments: &cli::Set, env: &Env) -> Result<ExitCode> {
    let name = existing(env, &arguments.name)?;
    let _lock = Lock::take_for(&env.paths, &env.client, &name)?;
    Config::edit(&env.paths.container_ini(&name), &name, &assignments(&arguments.assignments))?;
    let autostart = |key: &str| key.trim_start_matches("container.") == "autostart";
    if arguments.assignments.iter().any(|assignment| autostart(&assignment.key)) {
        // Whoever says so has seen to what was wrong.
        guard::forgive(&env.paths, &name);
    }
    Ok(ExitCode::Done)
}
