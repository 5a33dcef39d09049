//! `ds supervisor`: is it there, and what does it watch; end it; have it go on with what is on disk now.

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

/// Does what is asked, from within a worker of the supervisor that it is about.
///
/// # Errors
/// When the supervisor cannot be signalled.
pub fn run(arguments: &cli::Supervisor, env: &Env) -> Result<ExitCode> {
    let supervisor = Pid::from_raw(env.knowledge.pid);
    // It is this worker's parent, so the number is its own; one that died just now has left us to somebody else.
    ensure!(getppid() == supervisor, "the supervisor died meanwhile");
    match arguments.action {
        SupervisorAction::Status => status(arguments.json, env),
        SupervisorAction::Stop => {
            call!(kill(supervisor, Signal::SIGTERM), "kill({supervisor}, SIGTERM)")?;
            env.supervisor.wait_for_end(&env.client)?;
            print(&mut io::stdout(), "the supervisor ended; containers keep running\n")
        }
        SupervisorAction::Reload => reload(arguments.binary.as_deref(), env),
    }
}

/// The supervisor goes on with another program: that of this path, or what is installed now.
fn reload(binary: Option<&Path>, env: &Env) -> Result<ExitCode> {
    // What is wrong in it is told here, not only in the log.
    Settings::load(&env.paths.supervisor_ini())?;
    let path = match binary {
        Some(path) => env.path(path)?,
        None => environment::installed().context("nobody knows where it was installed; use --binary")?,
    };
    let successor = handover::examine(&path, &env.paths)?;
    env.supervisor.succeed(successor.program.as_fd())?;
    if successor.version == VERSION {
        return Ok(ExitCode::Done);
    }
    print(&mut io::stdout(), &format!("the supervisor is version {} now\n", successor.version))
}

/// What is to be said when there is no supervisor to ask: that, and no reason to start one.
///
/// # Errors
/// When standard output cannot be written.
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
    };
    if json {
        return output::json(&document);
    }
    let mut text = format!(
        "running, pid {}, for {}, watches {}\n",
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
        text.push_str(&format!("no container starts by itself: {reason}\n"));
    }
    print(&mut io::stdout(), &text)
}
