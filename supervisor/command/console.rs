//! `ds console`: attaches the client's terminal to /dev/console of a running container. Never starts or stops it.

use anyhow::{Result, bail};

use crate::cli;
use crate::config::value::Name;
use crate::exit::ExitCode;
use crate::session::console::look;
use crate::worker::Env;

/// Attaches until the user types the detach keys or the container ends.
///
/// # Errors
/// If the container is not running.
pub fn run(arguments: &cli::Console, env: &Env) -> Result<ExitCode> {
    let name: Name = arguments.name.parse()?;
    match look(&env.paths, &env.client, &name)? {
        Some(left) => Ok(left.code()),
        None if env.paths.container(&name).is_dir() => bail!("not running; start it with 'ds start {name}'"),
        None => bail!("no such container; see 'ds list'"),
    }
}
