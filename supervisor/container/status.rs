//! Asking a container's monitor. Owns nothing; waits for one answer and changes nothing by itself.

use std::os::fd::OwnedFd;

use anyhow::{Result, bail};

use crate::config::value::Name;
use crate::monitor::protocol::{Answer, Request, Status};
use crate::paths::Paths;
use crate::socket;

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
