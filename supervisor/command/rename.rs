//! `ds rename`: another name for a stopped container.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::forget;
use super::state::existing;
use crate::cli;
use crate::config::Config;
use crate::config::value::Name;
use crate::container::{Lock, monitor, occupied};
use crate::exit::ExitCode;
use crate::worker::Env;

/// Renames the container; a root file system in its directory goes along.
///
/// # Errors
/// While it runs, or when the new name is taken.
pub fn run(arguments: &cli::Rename, env: &Env) -> Result<ExitCode> {
    let old = existing(env, &arguments.name)?;
    let new: Name = arguments.new_name.parse()?;
    if new == old {
        return Ok(ExitCode::Done);
    }
    env.supervisor.cancel_restart(&old)?;
    let renamed = rename(env, &old, &new);
    // One of them is no container.
    [&old, &new].into_iter().for_each(|name| forget(env, name));
    renamed
}

fn rename(env: &Env, old: &Name, new: &Name) -> Result<ExitCode> {
    // Always in the same order, so that two renames never wait for each other.
    let (first, second) = if old < new { (old, new) } else { (new, old) };
    let _locks = (Lock::take(&env.paths, first)?, Lock::take(&env.paths, second)?);
    if monitor(&env.paths, old)?.is_some() {
        bail!("it is running; stop it first");
    }
    for name in [old, new] {
        occupied::refuse(&env.paths, name)?;
    }
    let (from, to) = (env.paths.container(old), env.paths.container(new));
    if to.symlink_metadata().is_ok() {
        bail!("there is a container {new} already; choose another name");
    }
    fs::rename(&from, &to).with_context(|| format!("rename {} to {}", from.display(), to.display()))?;
    if let Err(error) = follow(env, new, &from, &to) {
        let _ = fs::rename(&to, &from);
        return Err(error);
    }
    match fs::rename(env.paths.last_exit(old), env.paths.last_exit(new)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            log::warn!("the record of its last end is lost: {error}");
        }
        _ => {}
    }
    Ok(ExitCode::Done)
}

/// A root file system in the container's own directory has moved with it.
fn follow(env: &Env, name: &Name, from: &Path, to: &Path) -> Result<()> {
    let file = env.paths.container_ini(name);
    let config = Config::load(&file, name)?;
    if let Ok(below) = config.container.root.path().as_path().strip_prefix(from) {
        let key = match config.container.root {
            crate::config::RootSource::Directory(_) => "rootfs",
            crate::config::RootSource::Image(_) => "image",
        };
        let moved = to.join(below).display().to_string();
        Config::edit(&file, name, &[(key, moved.as_str())])?;
    }
    Ok(())
}
