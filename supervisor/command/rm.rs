//! `ds rm`: deletes a container.
//!
//! Owns the conditions for a safe deletion: the container is not running, and no mount is in its directory. The
//! directory is first renamed to a name that no container can have, so that an interrupted deletion never leaves a
//! partial container. In a root file system outside that directory, it undoes seeding and touches nothing else.
//! proc_pid_mountinfo(5), rename(2).

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;

use super::print;
use super::progress::Progress;
use super::state::existing;
use super::stop::kill;
use crate::cli;
use crate::config::Config;
use crate::config::value::Name;
use crate::container::{self, Lock, forget, monitor, occupied};
use crate::exit::ExitCode;
use crate::fault;
use crate::paths::Paths;
use crate::storage::delete::{delete, refuse_mounts};
use crate::storage::seed::{Wanted, seed};
use crate::storage::{staging, sweep};
use crate::sys::descriptor::try_lock;
use crate::worker::Env;

/// Deletes the container.
///
/// # Errors
/// If it is running (without `--force`), if a mount is in its directory, or if it cannot be deleted completely.
pub fn run(arguments: &cli::Remove, env: &Env) -> Result<ExitCode> {
    let completed = sweep::containers(&env.paths);
    let name = match existing(env, &arguments.name) {
        Ok(name) => name,
        // The interrupted deletion has just been completed.
        Err(_) if completed.iter().any(|name| name.as_str() == arguments.name) => {
            return print(&mut io::stdout(), &format!("{} deleted\n", arguments.name));
        }
        Err(error) => return Err(error),
    };
    if arguments.force {
        kill(env, &name)?;
    }
    undo_seeding(env, &name);
    env.cancel_restart(&name)?;
    let lock = Lock::take_for(&env.paths, &env.client, &name)?;
    if monitor(&env.paths, &name)?.is_some() {
        bail!("it is running; stop it first, or use --force");
    }
    occupied::refuse(&env.paths, &name)?;
    let place = env.paths.container(&name);
    refuse_mounts(&place)?;
    refuse_use_by_others(&env.paths, &name)?;
    container::sweep(&env.paths, &env.host, &name);
    if place.symlink_metadata().is_ok() {
        let trash = staging::trash(&env.paths, &name);
        // Held until the deletion is complete, so that no sweep interferes.
        let _held = staging::lock(&place)?;
        fs::rename(&place, &trash)
            .with_context(|| format!("rename {} to {}", place.display(), trash.display()))?;
        // From here on, the container no longer exists; the deletion may take some time.
        drop(lock);
        fault::point("rm-renamed")?;
        delete(&trash).with_context(|| format!("delete {}", trash.display()))?;
    }
    forget(&env.paths, &name);
    print(&mut io::stdout(), &format!("{name} deleted\n"))
}

/// Undoes seeding in a root file system that is used in place, because the record of the original files is deleted with
/// the container.
fn undo_seeding(env: &Env, name: &Name) {
    let Ok(config) = Config::load(&env.paths.container_ini(name), name) else { return };
    let root = config.container.root.path().as_path();
    let is_own = root == env.paths.own_directory(name) || root == env.paths.own_image(name);
    // A running container is refused below.
    let runs = monitor(&env.paths, name).is_ok_and(|monitor| monitor.is_some());
    if is_own || runs || !env.paths.seed_ledger(name).exists() || root.symlink_metadata().is_err() {
        return;
    }
    let wanted = Wanted { undo: true, dry_run: false };
    let mut progress = Progress::new(false);
    if let Err(error) = seed(env, name, wanted, &mut |event| progress.show(event)) {
        progress.note(&format!("the changes of seeding in {} remain: {error:#}", root.display()));
    }
}

/// Another container may use this one's image or tree by its path.
fn refuse_use_by_others(paths: &Paths, name: &Name) -> Result<()> {
    for root in [paths.own_image(name), paths.own_directory(name)] {
        let Ok(file) = File::open(&root) else { continue };
        if try_lock(file.as_fd()) == Err(Errno::EWOULDBLOCK) {
            bail!(
                "{} is in use by another container or a mount; stop the container or unmount it first",
                root.display()
            );
        }
    }
    Ok(())
}
