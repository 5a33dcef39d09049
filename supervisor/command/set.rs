//! `ds set`: changes a container's configuration; keeps comments and order.

use anyhow::{Context, Result};

use super::assignments;
use super::state::existing;
use crate::cli;
use crate::config::Config;
use crate::container::Lock;
use crate::daemon::guard;
use crate::durable;
use crate::exit::ExitCode;
use crate::network;
use crate::worker::Env;

/// Writes the new values; they take effect at the next start of the container, those of its published ports and of who
/// reaches it at once.
///
/// # Errors
/// If there is no such container or key, or a value is not valid; nothing is then changed.
pub fn run(arguments: &cli::Set, env: &Env) -> Result<ExitCode> {
    let name = existing(env, &arguments.name)?;
    let _lock = Lock::take_for(&env.paths, &env.client, &name)?;
    let file = env.paths.container_ini(&name);
    let before = durable::read(&file, u64::MAX).with_context(|| format!("read {}", file.display()))?;
    let config = Config::edit(&file, &name, &assignments(&arguments.assignments))?;
    if let Err(error) = network::follow(&env.paths, &config) {
        // Its network goes on as it was, and so does its configuration.
        durable::write(&file, &before, 0o600).with_context(|| format!("write {}", file.display()))?;
        return Err(error);
    }
    let autostart = |key: &str| key.trim_start_matches("container.") == "autostart";
    if arguments.assignments.iter().any(|assignment| autostart(&assignment.key)) {
        // A user who sets this has presumably fixed the cause.
        guard::forgive(&env.paths, &name);
    }
    Ok(ExitCode::Done)
}
