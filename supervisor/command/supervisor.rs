//! `ds supervisor`: shows the status of the supervisor, stops it, or reloads its program and configuration.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use serde::Serialize;

use super::version::VERSION;
use super::{output, print};
use crate::call;
use crate::cli::{self, SupervisorAction};
use crate::clock::now;
use crate::config::Supervisor as Settings;
use crate::config::value::Name;
use crate::daemon::{environment, handover};
use crate::exit::ExitCode;
use crate::rootfs::size::Usage;
use crate::units;
use crate::worker::Env;

#[derive(Serialize)]
struct Document<'a> {
    running: bool,
    pid: i32,
    version: &'a str,
    uptime_s: u64,
    watched: &'a [Name],
    restarting: Vec<Restarting<'a>>,
    waiting: Vec<Waiting<'a>>,
    held_back: Option<&'a str>,
    data: Data<'a>,
}

/// The data directory, and the usage of its file system.
#[derive(Serialize)]
struct Data<'a> {
    path: &'a Path,
    /// Bytes.
    size: Option<u64>,
    /// Bytes.
    used: Option<u64>,
}

#[derive(Serialize)]
struct Waiting<'a> {
    name: &'a Name,
    waits_for: &'a str,
}

#[derive(Serialize)]
struct Restarting<'a> {
    name: &'a Name,
    restart_in_s: u64,
}

/// Handles the request in a worker of the supervisor that it concerns.
///
/// # Errors
/// If the supervisor cannot be signalled.
pub fn run(arguments: &cli::Supervisor, env: &Env) -> Result<ExitCode> {
    let supervisor = Pid::from_raw(env.knowledge.pid);
    // The supervisor is the parent of this worker. If it has just died, getppid(2) returns another process.
    ensure!(getppid() == supervisor, "the supervisor ended during the request");
    match arguments.action {
        SupervisorAction::Status => status(arguments.json, env),
        SupervisorAction::Stop => {
            call!(kill(supervisor, Signal::SIGTERM), "kill({supervisor}, SIGTERM)")?;
            env.supervisor.wait_for_end(&env.client)?;
            print(&mut io::stdout(), "the supervisor stopped; containers keep running\n")
        }
        SupervisorAction::Reload => reload(arguments.binary.as_deref(), env),
    }
}

/// Makes the supervisor execute another program: the given one, or the installed one.
fn reload(binary: Option<&Path>, env: &Env) -> Result<ExitCode> {
    // Report its errors here, not only in the log.
    Settings::load(&env.paths.supervisor_ini())?;
    let path = match binary {
        Some(path) => env.path(path)?,
        None => {
            environment::installed().context("the path of the installed program is unknown; use --binary")?
        }
    };
    let successor = handover::examine(&path, &env.paths)?;
    env.supervisor.succeed(successor.program.as_fd())?;
    if successor.version == VERSION {
        return Ok(ExitCode::Done);
    }
    print(&mut io::stdout(), &format!("the supervisor now runs version {}\n", successor.version))
}

/// The answer without a supervisor. It does not start one.
///
/// # Errors
/// If standard output cannot be written.
pub fn absent(arguments: &cli::Supervisor) -> Result<ExitCode> {
    if arguments.json {
        output::json(&serde_json::json!({ "running": false }))?;
    } else {
        print(&mut io::stdout(), "the supervisor is not running\n")?;
    }
    Ok(if arguments.action == SupervisorAction::Status { ExitCode::Failed } else { ExitCode::Done })
}

fn status(json: bool, env: &Env) -> Result<ExitCode> {
    let (known, containers) = (&env.knowledge, env.supervisor.containers());
    let restarting = containers.restarts.iter();
    let usage = File::open(&env.paths.data).ok().and_then(|data| Usage::of(data.as_fd()));
    let document = Document {
        running: true,
        pid: known.pid,
        version: VERSION,
        uptime_s: now().saturating_sub(known.since).as_secs(),
        watched: &containers.watched,
        restarting: restarting
            .map(|(name, at)| Restarting { name, restart_in_s: at.saturating_sub(now()).as_secs() })
            .collect(),
        waiting: containers.waiting.iter().map(|(name, waits_for)| Waiting { name, waits_for }).collect(),
        held_back: containers.held_back.as_deref(),
        data: Data {
            path: &env.paths.data,
            size: usage.map(|usage| usage.size),
            used: usage.map(|usage| usage.used),
        },
    };
    if json {
        return output::json(&document);
    }
    let mut text = format!(
        "running, pid {}, for {}, monitors {}\n",
        document.pid,
        units::duration(document.uptime_s),
        match document.watched {
            [] => "no container".to_owned(),
            names => names.iter().map(Name::as_str).collect::<Vec<_>>().join(", "),
        }
    );
    for waiting in &document.restarting {
        text.push_str(&format!("{} restarts in {}\n", waiting.name, units::duration(waiting.restart_in_s)));
    }
    for waiting in &document.waiting {
        text.push_str(&format!("{} waits for the {}\n", waiting.name, waiting.waits_for));
    }
    if let Some(reason) = document.held_back {
        text.push_str(&format!("autostart is off: {reason}\n"));
    }
    print(&mut io::stdout(), &text)
}
