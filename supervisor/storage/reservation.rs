//! Reserves a stopped container, or the name of a new one, for a job.
//!
//! Owns the order of the checks. The container is reserved until the value is dropped and the job's processes have
//! ended; the locks are released in the meantime. flock(2).

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;

use super::staging::Staging;
use super::sweep;
use crate::call;
use crate::config::value::Name;
use crate::config::{Config, RootSource};
use crate::container::occupied::{self, Occupation};
use crate::container::{Lock, monitor};
use crate::fault;
use crate::paths::Paths;
use crate::rootfs::image::Access;
use crate::rootfs::image::claim::{Claim, claim};
use crate::rootfs::loop_device::Nodes;
use crate::rootfs::root::Root;
use crate::sys::descriptor::try_lock;
use crate::worker::Env;

/// A stopped container that no other process can start, change or delete.
#[derive(Debug)]
pub struct Reservation {
    /// Its name.
    pub name: Name,
    /// Its configuration.
    pub config: Config,
    _occupation: Occupation,
}

impl Reservation {
    /// Reserves a container; `doing` completes "it is being …".
    ///
    /// # Errors
    /// If it is running, another job has reserved it, or its configuration is invalid.
    pub fn take(env: &Env, name: &Name, doing: &str) -> Result<Self> {
        env.cancel_restart(name)?;
        let lock = Lock::take_for(&env.paths, &env.client, name)?;
        if monitor(&env.paths, name)?.is_some() {
            bail!("it is running; stop it first");
        }
        let occupation = Occupation::begin(&env.paths, name, doing)?;
        let dead = sweep::recover(&env.paths, name);
        let config = Config::load(&env.paths.container_ini(name), name)?;
        drop(lock);
        dead.delete();
        Ok(Self { name: name.clone(), config, _occupation: occupation })
    }

    /// A container that is being created, under a reserved name.
    #[must_use]
    pub fn of_new(new: NewName, config: Config) -> Self {
        Self { name: new.name, config, _occupation: new._occupation }
    }

    /// The same as [`NewName::publish`], for a container that was being created.
    ///
    /// # Errors
    /// As there.
    pub fn publish(self, env: &Env, staging: Staging) -> Result<()> {
        NewName { name: self.name, _occupation: self._occupation }.publish(env, staging)
    }

    /// The image as a path without links. Only for a container with an image.
    ///
    /// # Errors
    /// If the file does not exist.
    pub fn image(&self) -> Result<PathBuf> {
        let path = self.config.container.root.path().as_path();
        std::fs::canonicalize(path).with_context(|| format!("the image {}", path.display()))
    }

    /// Takes the container's lock again and verifies that its root file system is the one that the job began with: `ds
    /// set` can change it at any time.
    ///
    /// # Errors
    /// If it has changed.
    pub fn lock_unchanged(&self, env: &Env) -> Result<Lock> {
        let lock = Lock::take_for(&env.paths, &env.client, &self.name)?;
        let now = Config::load(&env.paths.container_ini(&self.name), &self.name)?;
        let (now, before) = (now.container, &self.config.container);
        if (&now.root, now.image_partition) != (&before.root, before.image_partition) {
            bail!("its configuration got another root file system in the meantime; try again");
        }
        Ok(lock)
    }

    /// Claims its image for writing.
    ///
    /// # Errors
    /// If another process uses it, or it does not exist.
    pub fn claim_image(&self, path: &Path) -> Result<Claim> {
        let claimed = claim(path, Access::ReadWrite, &Nodes::system(None), None);
        claimed.with_context(|| format!("the image {}", path.display()))
    }

    /// Whether its root file system is in its own directory; otherwise it is used in place and belongs to the user.
    #[must_use]
    pub fn owns_root(&self, paths: &Paths) -> bool {
        let path = self.config.container.root.path().as_path();
        path == paths.own_directory(&self.name) || path == paths.own_image(&self.name)
    }

    /// Claims its tree as a monitor does; `None` for an image.
    ///
    /// # Errors
    /// If another process has it, or it cannot be opened.
    pub fn tree(&self) -> Result<Option<Tree>> {
        let RootSource::Directory(path) = &self.config.container.root else { return Ok(None) };
        let root = Root::open(path.as_path())
            .with_context(|| format!("the root file system {path}; set 'rootfs' to a directory"))?;
        let directory = File::open(path.as_path()).with_context(|| format!("open {path}"))?;
        match try_lock(directory.as_fd()) {
            Err(Errno::EWOULDBLOCK) => bail!("{path} is in use by another container; stop that first"),
            other => call!(other, "flock({path})")?,
        }
        Ok(Some(Tree { root, _claim: directory }))
    }
}

/// A claimed tree.
#[derive(Debug)]
pub struct Tree {
    /// Its root.
    pub root: Root,
    _claim: File,
}

/// A name that no container has and that is reserved.
#[derive(Debug)]
pub struct NewName {
    name: Name,
    _occupation: Occupation,
}

impl NewName {
    /// Reserves a name for a new container.
    ///
    /// # Errors
    /// If the name is taken, or a container of that name is being created.
    pub fn take(env: &Env, name: &Name, doing: &str) -> Result<Self> {
        let lock = Lock::take_for(&env.paths, &env.client, name)?;
        occupied::refuse(&env.paths, name)?;
        refuse_existing(&env.paths, name)?;
        let occupation = Occupation::begin(&env.paths, name, doing)?;
        drop(lock);
        sweep::containers(&env.paths);
        Ok(Self { name: name.clone(), _occupation: occupation })
    }

    /// Publishes the content of `staging` as the container of this name.
    ///
    /// # Errors
    /// If there is a container of that name by now; nothing has then changed.
    pub fn publish(self, env: &Env, staging: Staging) -> Result<()> {
        let _lock = Lock::take_for(&env.paths, &env.client, &self.name)?;
        // Ends before the lock: a command that waits for the lock must not find the container reserved.
        let Self { name, _occupation } = self;
        fault::point("job-done")?;
        refuse_existing(&env.paths, &name)?;
        staging.publish(&env.paths, &name)?;
        fault::point("job-renamed")
    }
}

/// Fails if a container has the name.
fn refuse_existing(paths: &Paths, name: &Name) -> Result<()> {
    if paths.container(name).symlink_metadata().is_ok() {
        bail!("a container {name} already exists; choose another name");
    }
    Ok(())
}
