//! `ds stop`: asks init systems to shut down, and sees to it that they do.

use std::io;
use std::os::fd::OwnedFd;

use anyhow::{Result, bail};

use super::{complain, names, print};
use crate::cli;
use crate::config::value::Name;
use crate::container::{ask, monitor};
use crate::exit::ExitCode;
use crate::monitor::protocol::{Answer, Exit, Request};
use crate::socket;
use crate::worker::Env;

/// Stops what the command line names.
///
/// # Errors
/// When nothing could be tried; a container that does not stop is told in a line of its own.
pub fn run(arguments: &cli::Stop, env: &Env) -> Result<ExitCode> {
    let timeout_s = arguments.timeout.and_then(|timeout| u32::try_from(timeout.as_secs()).ok());
    let request = Request::Stop { timeout_s, kill: arguments.kill };
    // All are asked before the first one is waited for.
    let asked: Vec<(Name, Result<Option<OwnedFd>>)> = names(env, &arguments.names, arguments.all)?
        .into_iter()
        .map(|name| (name.clone(), begin(env, &name, &request)))
        .collect();
    let mut code = ExitCode::Done;
    for (name, stopping) in asked {
        match stopping.and_then(|stopping| finish(env, &name, stopping)) {
            Ok(line) if arguments.all && line.ends_with("not running\n") => {}
            Ok(line) => drop(print(&mut io::stdout(), &line)?),
            Err(error) => {
                complain("stop", Some(&name), &error);
                code = ExitCode::Failed;
            }
        }
    }
    Ok(code)
}

/// Asks one container to stop; `None` when it does not run.
fn begin(env: &Env, name: &Name, request: &Request) -> Result<Option<OwnedFd>> {
    env.supervisor.cancel_restart(name)?;
    let Some(connection) = monitor(&env.paths, name)? else {
        if !env.paths.container(name).is_dir() {
            bail!("no such container; see 'ds list'");
        }
        return Ok(None);
    };
    // One that ends on its own meanwhile has stopped, too.
    match ask(&connection, request) {
        Ok(_) => Ok(Some(connection)),
        Err(error) => {
            if monitor(&env.paths, name)?.is_some() {
                return Err(error);
            }
            Ok(None)
        }
    }
}

/// Waits for the end of the monitor, which is the end of everything that belongs to the container.
fn finish(env: &Env, name: &Name, stopping: Option<OwnedFd>) -> Result<String> {
    let Some(connection) = stopping else { return Ok(format!("{name} is not running\n")) };
    loop {
        env.client.wait_for(&connection)?;
        if socket::receive::<Answer>(&connection)?.is_none() {
            break;
        }
    }
    let exit = std::fs::read(env.paths.last_exit(name)).ok();
    let exit: Option<Exit> = exit.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(match exit.and_then(|exit| exit.signal) {
        Some(libc::SIGKILL) => format!("{name} stopped (killed)\n"),
        _ => format!("{name} stopped\n"),
    })
}
