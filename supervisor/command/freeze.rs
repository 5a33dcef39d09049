//! `ds freeze` and `ds thaw`: suspend and resume all processes of a container.
//!
//! Works only on control groups, because a frozen container cannot answer requests. Never changes groups that the
//! container's own init system has frozen below.

use std::io;

use anyhow::{Result, bail};

use super::{Env, complain, names, print};
use crate::cgroup::Cgroup;
use crate::cli;
use crate::config::value::Name;
use crate::container::talk::Talk;
use crate::exit::ExitCode;
use crate::monitor::protocol::State;

/// Freezes the given containers.
///
/// # Errors
/// If standard output cannot be written. A container that cannot be frozen gets an error line of its own.
pub fn freeze(arguments: &cli::Freeze, env: &Env) -> Result<ExitCode> {
    each(env, "freeze", &arguments.names, |name, state, groups| match state {
        State::Frozen => Ok(format!("{name} is already frozen\n")),
        State::Running => groups.freeze().map(|()| format!("{name} is frozen\n")),
        state => bail!("it is {}; only a running container can be frozen", state.as_str()),
    })
}

/// Thaws the given containers.
///
/// # Errors
/// If standard output cannot be written. A container that cannot be thawed gets an error line of its own.
pub fn thaw(arguments: &cli::Thaw, env: &Env) -> Result<ExitCode> {
    each(env, "thaw", &arguments.names, |name, _, groups| {
        if !groups.frozen() {
            return Ok(format!("{name} is not frozen\n"));
        }
        groups.resume().map(|()| format!("{name} is thawed\n"))
    })
}

fn each(
    env: &Env,
    verb: &str,
    given: &[String],
    change: impl Fn(&Name, State, &Cgroup) -> Result<String>,
) -> Result<ExitCode> {
    let mut code = ExitCode::Done;
    for name in names(env, given, false)? {
        let changed = running(env, &name).and_then(|state| {
            let groups = Cgroup::existing(&env.host.cgroups, &env.paths.cgroup, name.as_str());
            change(&name, state, &groups)
        });
        match changed {
            Ok(line) => {
                // The monitor checks the state when it receives a query, and then notifies its subscribers.
                let _ = running(env, &name);
                print(&mut io::stdout(), &line)?;
            }
            Err(error) => {
                complain(verb, Some(&name), &error);
                code = ExitCode::Failed;
            }
        }
    }
    Ok(code)
}

fn running(env: &Env, name: &Name) -> Result<State> {
    let talk = Talk::open(&env.paths, &env.client, name)?;
    match talk.map(|talk| talk.status()).transpose()?.flatten() {
        Some(status) => Ok(status.state),
        None if env.paths.container(name).is_dir() => bail!("not running; start it with 'ds start {name}'"),
        None => bail!("no such container; see 'ds list'"),
    }
}
