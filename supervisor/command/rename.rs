//! `ds rename`: renames a stopped container.
//!
//! The rename is one rename(2): no file of the container contains the name of its directory (`config::own`), so there
//! is nothing else to change. An interruption leaves the old name or the new one.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use super::state::existing;
use crate::cli;
use crate::config::value::{HostPath, Name};
use crate::config::{Config, RootSource};
use crate::container::{Lock, forget, monitor, occupied};
use crate::exit::ExitCode;
use crate::fault;
use crate::monitor::last_exit;
use crate::paths::{Paths, names_in};
use crate::storage::staging::{rename_to_free, sync_directory};
use crate::worker::Env;

/// No assignment: the configuration is only rewritten in the format of this version.
const UNCHANGED: [(&str, &str); 0] = [];

/// Renames the container, including its own root file system.
///
/// # Errors
/// If it is running, the new name is taken, or another container uses a path in its directory.
pub fn run(arguments: &cli::Rename, env: &Env) -> Result<ExitCode> {
    let old = existing(env, &arguments.name)?;
    let new: Name = arguments.new_name.parse()?;
    if new == old {
        return Ok(ExitCode::Done);
    }
    env.cancel_restart(&old)?;
    let renamed = rename(env, &old, &new);
    // One of the names is not a container.
    [&old, &new].into_iter().for_each(|name| forget(&env.paths, name));
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
    refuse_shared(&env.paths, old)?;
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

/// Refuses if another container uses a path in the directory of `old`, which the rename would invalidate. To update the
/// other configuration as well would make the rename two steps.
fn refuse_shared(paths: &Paths, old: &Name) -> Result<()> {
    let written = paths.container(old);
    let real = fs::canonicalize(&written).unwrap_or_else(|_| written.clone());
    let is_below = |path: &HostPath| {
        let path = Path::new(path.as_str());
        let resolved = fs::canonicalize(path).unwrap_or_default();
        [path, &resolved].iter().any(|path| path.starts_with(&written) || path.starts_with(&real))
    };
    for other in names_in(&paths.containers()).into_iter().filter(|other| other != old) {
        // A container with an invalid configuration cannot start in any case.
        let Ok(config) = Config::load(&paths.container_ini(&other), &other) else { continue };
        let key = match &config.container.root {
            RootSource::Directory(path) if is_below(path) => "rootfs",
            RootSource::Image(path) if is_below(path) => "image",
            _ if config.mounts.bind.iter().any(|bind| is_below(&bind.source)) => "mounts.bind",
            _ => continue,
        };
        bail!("{key} of {other} is in its directory; change that first with 'ds set {other} {key}=…'");
    }
    Ok(())
}
