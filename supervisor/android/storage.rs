//! Shared storage in containers, also for those that start before the user unlocks the phone.
//!
//! Owns `run/storage`, with a shared mount for each directory. A container bind-mounts it as a slave (MS_SLAVE), so
//! that later mounts appear inside; no process has to enter the container. All mounts are made in init's mount
//! namespace, which outlives every supervisor. mount_namespaces(7).

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::stat;
use nix::sys::wait::{WaitStatus, waitpid};

use super::{changes, property};
use crate::call;
use crate::config::value::{HostPath, Name};
use crate::durable;
use crate::mount::info;
use crate::paths::{self, Paths};
use crate::sys::process::{Fork, exit_immediately, fork, setns};

/// The prefix of these changes in the record.
const CHANGE: &str = "storage";
/// The directory of files that each name storage that is not mounted yet.
const PENDING: &str = ".pending";

/// Prepares the mount for a starting container, with the storage in it if the user has unlocked. Returns its path.
///
/// # Errors
/// If a mount fails.
pub fn prepare(paths: &Paths, source: &HostPath, container: &Name) -> Result<PathBuf> {
    let change = format!("{CHANGE}{}", source.as_str().replace('-', "--").replace('/', "-"));
    let place = place(paths, &change);
    changes::rely(paths, &change, container)?;
    paths::create_private(&place)?;
    let layers = in_init_namespace(&|| layers(&place))?;
    if layers == 0 {
        let pending = pending_file(paths, &change);
        paths::create_private(&paths.storage().join(PENDING))?;
        durable::replace(&pending, source.as_str().as_bytes(), 0o600)
            .with_context(|| format!("write {}", pending.display()))?;
        in_init_namespace(&|| share(&place).map(|()| 0))?;
    }
    if layers < 2 && property::is_unlocked() {
        give(paths)?;
    }
    Ok(place)
}

/// Whether a container waits for storage that is not mounted yet.
#[must_use]
pub fn is_pending(paths: &Paths) -> bool {
    !pending(paths).is_empty()
}

/// Mounts pending storage; must be called once the user has unlocked.
///
/// # Errors
/// If a mount fails; that one stays pending.
pub fn give(paths: &Paths) -> Result<()> {
    for (change, source) in pending(paths) {
        let place = place(paths, &change);
        in_init_namespace(&|| {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            call!(
                mount(Some(source.as_str()), &place, None::<&str>, flags, None::<&str>),
                "mount({source}, {})",
                place.display()
            )?;
            Ok(0)
        })?;
        let _ = fs::remove_file(pending_file(paths, &change));
        log::info!("shared storage {source} is available to containers");
    }
    Ok(())
}

/// A container has ended: unmounts storage that no other container uses.
pub fn release(paths: &Paths, container: &Name) {
    for change in changes::leave(paths, container) {
        let place = place(paths, &change);
        let unmounted = in_init_namespace(&|| {
            for _ in 0..layers(&place)? {
                call!(umount2(&place, MntFlags::MNT_DETACH), "umount2({})", place.display())?;
            }
            Ok(0)
        });
        if let Err(error) = unmounted {
            log::warn!("shared storage: {error:#}");
            continue;
        }
        let _ = fs::remove_file(pending_file(paths, &change));
        let _ = fs::remove_dir(&place);
        changes::forget(paths, &change);
    }
}

fn place(paths: &Paths, change: &str) -> PathBuf {
    paths.storage().join(change)
}

fn pending_file(paths: &Paths, change: &str) -> PathBuf {
    paths.storage().join(PENDING).join(change)
}

/// Mounts without their storage, and the source of that.
fn pending(paths: &Paths) -> Vec<(String, String)> {
    let entries = fs::read_dir(paths.storage().join(PENDING)).into_iter().flatten().filter_map(Result::ok);
    let one = |entry: fs::DirEntry| {
        Some((entry.file_name().into_string().ok()?, fs::read_to_string(entry.path()).ok()?))
    };
    entries.filter_map(one).collect()
}

/// The number of mounts stacked at a path: none, the shared mount, and the storage.
fn layers(place: &Path) -> Result<u8> {
    let count = info::read("self")?.iter().filter(|mount| mount.target == place).count();
    u8::try_from(count).context("too many mounts")
}

/// Makes a directory a shared mount.
fn share(place: &Path) -> Result<()> {
    let none = None::<&str>;
    call!(mount(Some(place), place, none, MsFlags::MS_BIND, none), "mount({}, bind)", place.display())?;
    call!(mount(none, place, none, MsFlags::MS_SHARED, none), "mount({}, shared)", place.display())?;
    Ok(())
}

/// Runs a function in init's mount namespace, in a child unless this process is already there.
fn in_init_namespace(act: &dyn Fn() -> Result<u8>) -> Result<u8> {
    const INIT: &str = "/proc/1/ns/mnt";
    let (init, own) =
        (call!(stat(INIT), "stat({INIT})")?, call!(stat("/proc/self/ns/mnt"), "stat(/proc/self/ns/mnt)")?);
    if (init.st_dev, init.st_ino) == (own.st_dev, own.st_ino) {
        return act();
    }
    // The result is an exit code; this one means failure.
    const FAILED: i32 = 255;
    let child = match call!(fork(), "fork")? {
        Fork::Parent(child) => child,
        Fork::Child => {
            let done = File::open(INIT)
                .context("open init's mount namespace")
                .and_then(|namespace| {
                    Ok(call!(setns(namespace.as_fd(), libc::CLONE_NEWNS), "setns({INIT})")?)
                })
                .and_then(|()| act());
            match done {
                Ok(number) => exit_immediately(number.into()),
                Err(error) => {
                    log::warn!("shared storage: {error:#}");
                    exit_immediately(FAILED)
                }
            }
        }
    };
    let status = call!(waitpid(child, None), "waitpid")?;
    let code = if let WaitStatus::Exited(_, code) = status { code } else { FAILED };
    ensure!(code != FAILED, "cannot mount it in init's mount namespace");
    u8::try_from(code).context("an exit code")
}
