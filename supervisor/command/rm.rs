//! `ds rm`: deletes a container, and nothing else.
//!
//! Owns what makes that safe: the container does not run, no mount lies in its directory, and the directory first
//! gets a name that no container has, so that one whose deletion was cut short is never half a container. A root
//! file system used in place lies elsewhere and is not looked at. proc_pid_mountinfo(5), rename(2).

pub mod tree;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result, bail};

use super::state::existing;
use super::{Env, forget, print};
use crate::cli;
use crate::config::value::Name;
use crate::container::start::wait;
use crate::container::{Lock, ask, monitor, sweep};
use crate::exit::ExitCode;
use crate::monitor::protocol::{Answer, Request};
use crate::mount::info;
use crate::socket;

/// How the directories of deleted containers begin; no container's name begins with a dot.
const TRASH: &str = ".trash-";

/// Deletes the container.
///
/// # Errors
/// While it runs (without `--force`), when something is mounted in it, or when it cannot be deleted whole.
pub fn run(arguments: &cli::Remove, env: &Env) -> Result<ExitCode> {
    let cleared = clear_trash(env, &arguments.name)?;
    let name = match existing(env, &arguments.name) {
        Ok(name) => name,
        // The deletion that was cut short has been completed just now.
        Err(_) if cleared => {
            forget(env, &arguments.name.parse()?);
            return print(&mut io::stdout(), &format!("{} deleted\n", arguments.name));
        }
        Err(error) => return Err(error),
    };
    if arguments.force {
        kill(env, &name)?;
    }
    env.supervisor.cancel_restart(&name)?;
    let _lock = Lock::take(&env.paths, &name)?;
    if monitor(&env.paths, &name)?.is_some() {
        bail!("it is running; stop it first, or use --force");
    }
    let place = env.paths.container(&name);
    refuse_mounts(&place)?;
    sweep(&env.paths, &env.host, &name);
    if place.symlink_metadata().is_ok() {
        let trash = env.paths.containers().join(format!("{TRASH}{name}-{}", process::id()));
        fs::rename(&place, &trash)
            .with_context(|| format!("rename {} to {}", place.display(), trash.display()))?;
        delete(&trash)?;
    }
    forget(env, &name);
    print(&mut io::stdout(), &format!("{name} deleted\n"))
}

/// Ends a container at once and waits for its end.
fn kill(env: &Env, name: &Name) -> Result<()> {
    env.supervisor.cancel_restart(name)?;
    let Some(connection) = monitor(&env.paths, name)? else { return Ok(()) };
    // One that ends on its own meanwhile is what is wanted.
    if ask(&connection, &Request::Stop { timeout_s: None, kill: true }).is_err() {
        return Ok(());
    }
    loop {
        wait(env, &connection)?;
        if socket::receive::<Answer>(&connection)?.is_none() {
            return Ok(());
        }
    }
}

/// Completes deletions that were cut short; says whether one was of the container `name`.
fn clear_trash(env: &Env, name: &str) -> Result<bool> {
    let prefix = format!("{TRASH}{name}-");
    let mut found = false;
    for entry in fs::read_dir(env.paths.containers()).context("list the containers")?.filter_map(Result::ok) {
        let file_name = entry.file_name().to_string_lossy().into_owned();
        if file_name.starts_with(TRASH) {
            let path = entry.path();
            refuse_mounts(&path)?;
            delete(&path)?;
            let rest = file_name.strip_prefix(&prefix);
            found |= rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
        }
    }
    Ok(found)
}

/// Refuses when anything is mounted at or below a directory, for this process or for init.
fn refuse_mounts(directory: &Path) -> Result<()> {
    let resolved: PathBuf = match fs::canonicalize(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        resolved => resolved.with_context(|| format!("find {}", directory.display()))?,
    };
    for process in ["self", "1"] {
        // Not everybody may look at init; our own mounts count most.
        let Ok(mounts) = info::read(process) else { continue };
        if let Some(mount) = info::below(&mounts, &resolved).next() {
            bail!("something is mounted at {}; unmount it first", mount.target.display());
        }
    }
    Ok(())
}

fn delete(directory: &Path) -> Result<()> {
    tree::delete(directory).with_context(|| format!("delete {}", directory.display()))
}
