//! `ds supervise`: launches the supervisor, or runs it.
//!
//! The only verb that runs outside a worker. It connects the supervisor, which knows no commands, to the commands,
//! which run in its workers.

use std::panic;
use std::rc::Rc;

use anyhow::{Error, Result, ensure};
use nix::unistd::geteuid;

use super::dispatch;
use crate::cli::Supervise;
use crate::container::shell;
use crate::daemon::handover::State;
use crate::daemon::launch::{self, Options, Readiness, Stage};
use crate::daemon::server::{LoopEnd, Server};
use crate::daemon::task::{self, Machine};
use crate::daemon::{detach, seal};
use crate::exit::{ExitCode, FAULT};
use crate::host::Host;
use crate::paths::{Paths, own_root};
use crate::sys::process::exit_immediately;

/// Launches a supervisor and returns once it listens. In the launched process, runs it until it is stopped.
///
/// # Errors
/// If the supervisor cannot start, or is already running.
pub fn run(arguments: &Supervise, paths: &Paths) -> Result<ExitCode> {
    ensure!(geteuid().is_root(), "must be root; use 'su' or 'sudo'");
    let options = Options { foreground: arguments.foreground, autostart: !arguments.no_autostart };
    let begun = match launch::supervise(paths, options)? {
        Stage::Launched => return Ok(ExitCode::Done),
        Stage::Supervisor(readiness) => supervise(paths, readiness)?,
        Stage::Successor(state) => Some(succeed(paths, *state, options)?),
    };
    Ok(begun.map_or(ExitCode::Failed, |(server, host)| run_server(server, &host, paths, options.autostart)))
}

/// A panic is written to the log and ends only this process.
fn log_faults() {
    panic::set_hook(Box::new(|fault| {
        log::error!("internal error: {fault}");
        exit_immediately(FAULT);
    }));
}

/// Runs a supervisor. Monitors are forks of it and keep its stack, so its callers are not inlined.
type Begun = (Box<Server>, Rc<Host>);

/// `None` if it failed and the launcher has received the reason.
#[inline(never)]
fn supervise(paths: &Paths, readiness: Readiness) -> Result<Option<Begun>> {
    log_faults();
    let own_machine = own_root().is_none();
    let mut failures = detach::from_launcher(own_machine);
    let begun = Server::begin(paths.clone(), &readiness)
        .and_then(|server| Ok((server, probe(paths, &mut failures)?)));
    let (server, host) = match begun {
        Ok(begun) => begun,
        Err(error) => return if readiness.failed(&error) { Ok(None) } else { Err(error) },
    };
    for failure in failures {
        log::warn!("{failure:#}");
    }
    warn_unprotected();
    readiness.ready();
    Ok(Some((Box::new(server), host)))
}

/// Continues as the supervisor after the previous program was replaced in this process.
#[inline(never)]
fn succeed(paths: &Paths, state: State, options: Options) -> Result<Begun> {
    log_faults();
    detach::from_predecessor();
    let mut failures: Vec<Error> = detach::after_execution().err().into_iter().collect();
    let begun = Server::succeed(paths.clone(), state, options.foreground)
        .and_then(|server| Ok((server, probe(paths, &mut failures)?)));
    let (server, host) = begun.inspect_err(|error| log::error!("{error:#}"))?;
    for failure in failures {
        log::warn!("{failure:#}");
    }
    warn_unprotected();
    Ok((Box::new(server), host))
}

/// Root in a container can reach the program from which its session runs.
fn warn_unprotected() {
    if !seal::is_protected() {
        log::warn!("the supervisor runs from a file that the root user of a container could overwrite");
    }
}

fn probe(paths: &Paths, failures: &mut Vec<Error>) -> Result<Rc<Host>> {
    let mut host = Host::probe()?;
    failures.extend(host.cgroups.complete(&paths.own_cgroup2(), &paths.own_cgroup1()));
    shell::sweep(&host, paths);
    Ok(Rc::new(host))
}

#[inline(never)]
fn run_server(server: Box<Server>, host: &Rc<Host>, paths: &Paths, autostart: bool) -> ExitCode {
    match server.run(autostart) {
        LoopEnd::Ended => ExitCode::Done,
        LoopEnd::Worker(assignment) => {
            task::run(*assignment, &Machine { paths, host, command: dispatch::serve })
        }
    }
}
