//! `ds get`: prints a container's configuration as of its next start, including defaults. Changes nothing.

use std::io;

use anyhow::Result;

use super::print;
use super::state::existing;
use crate::cli;
use crate::config::Config;
use crate::exit::ExitCode;
use crate::worker::Env;

/// Prints one value, or all keys with their values.
///
/// # Errors
/// If there is no such container or key, or the configuration is not valid.
pub fn run(arguments: &cli::Get, env: &Env) -> Result<ExitCode> {
    let name = existing(env, &arguments.name)?;
    let config = Config::load(&env.paths.container_ini(&name), &name)?;
    let text = match &arguments.key {
        Some(key) => format!("{}\n", config.get(key)?),
        None => config.settings().iter().map(|(key, value)| format!("{key} = {value}\n")).collect(),
    };
    print(&mut io::stdout(), &text)
}
