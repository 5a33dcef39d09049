//! `ds restart`: a new boot under the same monitor; the root file system stays attached.

use std::io;
use std::os::fd::OwnedFd;

use anyhow::{Result, bail};

use super::{complain, names, print};
use crate::cli;
use crate::config::Once;
use crate::config::value::Name;
use crate::container::monitor;
use crate::container::start::{begin, finish};
use crate::exit::ExitCode;
use crate::monitor::protocol::{Answer, Request};
use crate::socket;
use crate::worker::Env;

/// Restarts what the command line names; a container that is stopped is started.
///
/// # Errors
/// When nothing could be tried; a container that does not come back is told in a line of its own.
pub fn run(arguments: &cli::Restart, env: &Env) -> Result<ExitCode> {
    let mut asked = Vec::new();
    for name in names(env, &arguments.names, false)? {
        let connection = ask_for_it(env, &name);
        asked.push((name, connection));
    }
    let mut code = ExitCode::Done;
    for (name, connection) in asked {
        let restarted = connection.and_then(|connection| match connection {
            Some(connection) => until_done(env, &connection),
            None => finish(env, &name, begin(env, &name, Once::default())?).map(drop),
        });
        match restarted {
            Ok(()) => drop(print(&mut io::stdout(), &format!("{name} restarted\n"))?),
            Err(error) => {
                complain("restart", Some(&name), &error);
                code = ExitCode::Failed;
            }
        }
    }
    Ok(code)
}

fn ask_for_it(env: &Env, name: &Name) -> Result<Option<OwnedFd>> {
    env.supervisor.cancel_restart(name)?;
    let connection = monitor(&env.paths, name)?;
    if let Some(connection) = &connection {
        socket::send(connection, &Request::Restart { timeout_s: None }, &[])?;
    }
    Ok(connection)
}

fn until_done(env: &Env, connection: &OwnedFd) -> Result<()> {
    env.client.wait_for(connection)?;
    match socket::receive::<Answer>(connection)?.map(|received| received.message) {
        Some(Answer::Failed(text)) => bail!("{text}"),
        Some(_) => Ok(()),
        None => bail!("it ended and did not come back; see 'ds logs'"),
    }
}
