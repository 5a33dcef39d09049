//! `ds console`: looks at /dev/console of a running container, and types on it.

use anyhow::{Result, bail};

use crate::cli;
use crate::config::value::Name;
use crate::exit::ExitCode;
use crate::session::console::look;
use crate::worker::Env;

/// Attaches until the keys that leave are typed or the container ends.
///
/// # Errors
/// When the container does not run.
pub fn run(arguments: &cli::Console, env: &Env) -> Result<ExitCode> {
    let name: Name = arguments.name.parse()?;
    match look(&env.paths, &env.client, &name)? {
        Some(left) => Ok(left.code()),
        None if env.paths.container(&name).is_dir() => bail!("not running; start it with 'ds start {name}'"),
        None => bail!("no such container; see 'ds list'"),
    }
}
