//! `ds rename`: renames a stopped container.
//!
//! The rename is one rename(2): no file of the container contains the name of its directory (`config::own`), so there
//! is nothing else to change. An interruption leaves the old name or the new one.

use anyhow::{Result, bail};

use super::forget;
use super::state::existing;
use crate::cli;
use crate::config::Config;
use crate::config::value::Name;
use crate::container::{Lock, monitor, occupied};
use crate::exit::ExitCode;
use crate::fault;
use crate::monitor::last_exit;
use crate::storage::staging::{rename_to_free, sync_directory};
use crate::worker::Env;

/// No assignment: the configuration is only rewritten in the format of this version.
const UNCHANGED: [(&str, &str); 0] = [];

/// Renames the container, including its own root file system.
///
/// # Errors
/// If it is running, or the new name is taken.
pub fn run(arguments: &cli::Rename, env: &Env) -> Result<ExitCode> {
    let old = existing(env, &arguments.name)?;
    let new: Name = arguments.new_name.parse()?;
    if new == old {
        return Ok(ExitCode::Done);
    }
    env.cancel_restart(&old)?;
    let renamed = rename(env, &old, &new);
    // One of the names is not a container.
    [&old, &new].into_iter().for_each(|name| forget(env, name));
    renamed
}

fn rename(env: &Env, old: &Name, new: &Name) -> Result<ExitCode> {
    // The locks are always taken in the same order, so that two renames never deadlock.
    let (first, second) = if old < new { (old, new) } else { (new, old) };
    let _locks =
        (Lock::take_for(&env.paths, &env.client, first)?, Lock::take_for(&env.paths, &env.client, second)?);
    if monitor(&env.paths, old)?.is_some() {
        bail!("it is running; stop it first");
    }
    for name in [old, new] {
        occupied::refuse(&env.paths, name)?;
    }
    let (from, to) = (env.paths.container(old), env.paths.container(new));
    if to.symlink_metadata().is_ok() {
        bail!("a container {new} already exists; choose another name");
    }
    fault::point("rename-begun")?;
    // Older versions wrote the path of the directory into the configuration.
    Config::edit(&env.paths.container_ini(old), old, &UNCHANGED)?;
    fault::point("rename-prepared")?;
    rename_to_free(&from, &to)?;
    fault::point("rename-done")?;
    sync_directory(&env.paths.containers())?;
    last_exit::rename(&env.paths, old, new);
    fault::point("rename-recorded")?;
    Ok(ExitCode::Done)
}
