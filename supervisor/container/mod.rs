//! The life of one container: starting it, joining it, and clearing up after it.

pub mod android;
pub mod attach;
pub mod init;
pub mod occupied;
pub mod program;
pub mod shell;
pub mod start;
pub mod usage;
pub mod user;
pub mod wire;

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::android::storage;
use crate::cgroup;
use crate::config::value::Name;
use crate::host::Host;
use crate::monitor::protocol::{Answer, Request, Status};
use crate::paths::{self, Paths};
use crate::socket;

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

/// Connects to the monitor of a container; `None` when it is not running.
///
/// # Errors
/// When the run directory cannot be read.
pub fn monitor(paths: &Paths, name: &Name) -> Result<Option<OwnedFd>> {
    socket::connect_to(&paths.control(name))
}

/// Asks a monitor one question.
///
/// # Errors
/// What it answers, or that it went away.
pub fn ask(connection: &OwnedFd, request: &Request) -> Result<Answer> {
    socket::send(connection, request, &[])?;
    match socket::receive::<Answer>(connection)? {
        Some(received) => match received.message {
            Answer::Failed(text) => bail!("{text}"),
            answer => Ok(answer),
        },
        None => bail!("the container ended meanwhile"),
    }
}

/// State of a running container; `None` when it is not running.
///
/// # Errors
/// When the run directory cannot be read.
pub fn status(paths: &Paths, name: &Name) -> Result<Option<Status>> {
    let Some(connection) = monitor(paths, name)? else { return Ok(None) };
    match ask(&connection, &Request::Status) {
        Ok(Answer::Status(status)) => Ok(Some(*status)),
        Ok(_) => bail!("the monitor answered something else"),
        // It ended between the two calls.
        Err(_) => Ok(None),
    }
}

/// Removes what a container left behind that has no monitor any more: its groups and its socket. Everything else went
/// with its namespaces.
pub fn sweep(paths: &Paths, host: &Host, name: &Name) {
    let _ = std::fs::remove_file(paths.control(name));
    let _ = std::fs::remove_file(paths.notify(name));
    cgroup::sweep(&host.cgroups, &paths.cgroup, name.as_str());
    storage::release(paths, name);
}
