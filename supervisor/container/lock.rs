//! The lock of one container. Owns the file `lock` in its run directory. flock(2).

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::config::value::Name;
use crate::paths::{self, Paths};

/// Serialises the verbs that set up, change or delete one container.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Waits for the lock of a container.
    ///
    /// # Errors
    /// When the run directory cannot be written.
    pub fn take(paths: &Paths, name: &Name) -> Result<Self> {
        paths::create_private(&paths.run_container(name))
            .with_context(|| format!("create {}", paths.run_container(name).display()))?;
        let path = paths.lock(name);
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("open {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(file) => Ok(Self { _file: file }),
            Err((_, errno)) => Err(errno).with_context(|| format!("lock {}", path.display())),
        }
    }
}
