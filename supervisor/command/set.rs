//! `ds set`: changes a container's configuration; keeps comments and order.

use anyhow::Result;

use super::assignments;
use super::state::existing;
use crate::cli;
use crate::config::Config;
use crate::container::Lock;
use crate::daemon::guard;
use crate::exit::ExitCode;
use crate::worker::Env;

/// Writes the new values; they take effect at the next start of the container.
///
/// # Errors
/// If there is no such container or key, or a value is not valid; nothing is then changed.
pub fn run(arguments: &cli::Set, env: &Env) -> Result<ExitCode> {
    let name = existing(env, &arguments.name)?;
    let _lock = Lock::take_for(&env.paths, &env.client, &name)?;
    Config::edit(&env.paths.container_ini(&name), &name, &assignments(&arguments.assignments))?;
    let autostart = |key: &str| key.trim_start_matches("container.") == "autostart";
    if arguments.assignments.iter().any(|assignment| autostart(&assignment.key)) {
        // A user who sets this has presumably fixed the cause.
        guard::forgive(&env.paths, &name);
    }
    Ok(ExitCode::Done)
}
