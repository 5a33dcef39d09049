//! The lock of one container. Owns the file `lock` in its run directory, and the timeout for it. flock(2).

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::config::value::Name;
use crate::paths::{self, Paths};
use crate::worker::client::Client;

/// The timeout for the lock. Holders need it for milliseconds, or at most for a sweep.
const LONGEST_HOLD: Duration = Duration::from_secs(30);
/// The maximum interval between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Serialises the verbs that create, change or delete one container.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Waits for the lock of a container.
    ///
    /// # Errors
    /// If the run directory cannot be written.
    pub fn take(paths: &Paths, name: &Name) -> Result<Self> {
        Self::take_for(paths, &Client::new(None), name)
    }

    /// Waits for the lock of a container until the client interrupts.
    ///
    /// # Errors
    /// If the client interrupted, the lock was not released in time, or the run directory cannot be written.
    pub fn take_for(paths: &Paths, client: &Client, name: &Name) -> Result<Self> {
        let deadline = Instant::now() + LONGEST_HOLD;
        loop {
            paths::create_private(&paths.run_container(name))?;
            // `None`: the previous holder has just removed the directory.
            if let Some(lock) = attempt(paths, client, name, deadline)? {
                return Ok(lock);
            }
        }
    }

    /// Waits for the lock of a container with a run directory, which a deleted one has no longer. Creates none.
    ///
    /// # Errors
    /// If the lock was not released in time, or cannot be opened.
    pub fn take_existing(paths: &Paths, name: &Name) -> Result<Option<Self>> {
        let deadline = Instant::now() + LONGEST_HOLD;
        while paths.run_container(name).exists() {
            if let Some(lock) = attempt(paths, &Client::new(None), name, deadline)? {
                return Ok(Some(lock));
            }
        }
        Ok(None)
    }
}

/// Waits for the lock; `None` if the run directory does not exist, or was replaced meanwhile.
fn attempt(paths: &Paths, client: &Client, name: &Name, deadline: Instant) -> Result<Option<Lock>> {
    let path = paths.lock(name);
    let file = match OpenOptions::new().create(true).append(true).mode(0o600).open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("open {}", path.display()))?,
    };
    let file = lock(file, &path, client, deadline)?;
    // The lock counts only if the path still refers to the same file.
    Ok(is_at(&file, &path).then_some(Lock { _file: file }))
}

fn lock(mut file: File, path: &Path, client: &Client, deadline: Instant) -> Result<Flock<File>> {
    let mut wait = Duration::from_millis(1);
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => return Ok(file),
            Err((file, Errno::EWOULDBLOCK)) => file,
            Err((_, errno)) => return Err(errno).with_context(|| format!("lock {}", path.display())),
        };
        if Instant::now() >= deadline {
            bail!("{}", held(path));
        }
        client.pause(wait)?;
        wait = (wait * 2).min(LONGEST_PAUSE);
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let ours = file.metadata().map(|status| (status.dev(), status.ino())).ok();
    ours.is_some() && std::fs::metadata(path).map(|status| (status.dev(), status.ino())).ok() == ours
}

/// The process that holds a lock, proc_locks(5).
fn held(path: &Path) -> String {
    let inode = std::fs::metadata(path).map(|status| format!(":{}", status.ino())).unwrap_or_default();
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let is_it = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(1) == Some(&"FLOCK") && fields.get(5).is_some_and(|file| file.ends_with(&inode))
    };
    let holder = locks.lines().find(is_it).and_then(|line| line.split_whitespace().nth(4));
    match holder {
        Some(pid) => format!(
            "another command (pid {pid}) has locked it; try again, or end that command with 'kill -KILL {pid}'"
        ),
        None => "another command has locked it; try again".to_owned(),
    }
}
