//! `ds supervisor`: is it there, and what does it watch; end it; have it read its configuration again.

use std::io;

use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use serde::Serialize;

use super::version::VERSION;
use super::{Env, output, print};
use crate::call;
use crate::cli::{self, SupervisorAction};
use crate::config::Supervisor as Settings;
use crate::config::value::Name;
use crate::daemon::now;
use crate::exit::ExitCode;

#[derive(Serialize)]
struct Document<'a> {
    running: bool,
    pid: i32,
    version: &'a str,
    uptime_s: u64,
    watched: &'a [Name],
    restarting: Vec<Restarting<'a>>,
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
            env.supervisor.wait_for_end()?;
            print(&mut io::stdout(), "the supervisor ended; containers keep running\n")
        }
        SupervisorAction::Reload => {
            // What is wrong in it is told here, not only in the log.
            Settings::load(&env.paths.supervisor_ini())?;
            call!(kill(supervisor, Signal::SIGHUP), "kill({supervisor}, SIGHUP)")?;
            Ok(ExitCode::Done)
        }
    }
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
    };
    if json {
        return output::json(&document);
    }
    let mut text = format!(
        "running, pid {}, for {}, watches {}\n",
        document.pid,
        output::duration(document.uptime_s),
        match document.watched {
            [] => "no container".to_owned(),
            names => names.iter().map(Name::as_str).collect::<Vec<_>>().join(", "),
        }
    );
    for waiting in &document.restarting {
        text.push_str(&format!("{} restarts in {}\n", waiting.name, output::duration(waiting.restart_in_s)));
    }
    print(&mut io::stdout(), &text)
}
