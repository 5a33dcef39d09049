//! `ds stop`: requests a shutdown from init systems and waits until the containers have ended.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{complain, names, print};
use crate::cli;
use crate::config::Config;
use crate::config::value::Name;
use crate::container::talk::{Silent, Talk};
use crate::exit::ExitCode;
use crate::monitor::last_exit;
use crate::monitor::protocol::{Answer, ControlRequest};
use crate::paths::Paths;
use crate::worker::Env;
use crate::worker::waiting::TIMEOUT;

/// The timeout for the end beyond the stop timeout of PID 1: processes are killed, file systems written back.
const CLEARING: Duration = Duration::from_secs(60);
/// The same for an immediate kill.
const DYING: Duration = Duration::from_secs(10);

/// Stops the given containers.
///
/// # Errors
/// If no container could be tried. A container that does not stop gets an error line of its own.
pub fn run(arguments: &cli::Stop, env: &Env) -> Result<ExitCode> {
    let timeout_s = arguments.timeout.and_then(|timeout| u32::try_from(timeout.as_secs()).ok());
    let request = ControlRequest::Stop { timeout_s, kill: arguments.kill };
    let names = names(env, &arguments.names, arguments.all)?;
    // All requests are sent before the first container is awaited.
    let asked: Vec<(&Name, Result<Stopping<'_>>)> =
        names.iter().map(|name| (name, Stopping::begin(env, name, &request))).collect();
    let mut code = ExitCode::Done;
    for (name, stopping) in asked {
        match stopping.and_then(|stopping| stopping.finish(env)) {
            Ok(End::NotRunning) if arguments.all => {}
            Ok(end) => drop(print(&mut io::stdout(), &format!("{name} {}\n", end.text()))?),
            Err(error) => {
                complain("stop", Some(name), &error);
                code = ExitCode::Failed;
            }
        }
    }
    Ok(code)
}

/// The result of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    NotRunning,
    /// A restart was pending and has been cancelled.
    Cancelled,
    Stopped,
    Killed,
}

impl End {
    fn text(self) -> &'static str {
        match self {
            Self::NotRunning => "is not running",
            Self::Cancelled => "is not running; its restart was cancelled",
            Self::Stopped => "stopped",
            Self::Killed => "stopped (killed)",
        }
    }
}

/// A container with a pending stop request.
struct Stopping<'a> {
    name: &'a Name,
    /// `None` if it was not running.
    talk: Option<Talk<'a>>,
    /// A restart was pending.
    restarts: bool,
    kill: bool,
    asked: Instant,
}

impl<'a> Stopping<'a> {
    fn begin(env: &'a Env, name: &'a Name, request: &ControlRequest) -> Result<Self> {
        let restarts = env.supervisor.containers().restarts.contains_key(name);
        env.cancel_restart(name)?;
        let talk = Talk::open(&env.paths, &env.client, name)?;
        match &talk {
            Some(talk) => {
                talk.say(request)?;
                talk.say(&ControlRequest::Status)?;
            }
            None if !env.paths.container(name).is_dir() => bail!("no such container; see 'ds list'"),
            None => {}
        }
        let kill = matches!(request, ControlRequest::Stop { kill: true, .. });
        Ok(Self { name, talk, restarts, kill, asked: Instant::now() })
    }

    /// Waits for the end of the monitor, which implies the end of all processes of the container.
    fn finish(self, env: &Env) -> Result<End> {
        let Some(talk) = &self.talk else {
            return Ok(if self.restarts { End::Cancelled } else { End::NotRunning });
        };
        match self.follow(env, talk) {
            Err(error) if self.kill && error.is::<Silent>() => {
                talk.end_by_force(&env.paths, &env.host)?;
                return Ok(End::Killed);
            }
            other => other?,
        }
        let exit = last_exit::read(&env.paths, self.name);
        Ok(match exit.and_then(|exit| exit.signal) {
            Some(libc::SIGKILL) => End::Killed,
            _ => End::Stopped,
        })
    }

    fn follow(&self, env: &Env, talk: &Talk<'_>) -> Result<()> {
        // The monitor acknowledges the request and reports how long the rest may take.
        let mut deadline = self.asked + TIMEOUT;
        loop {
            match talk.answer(Some(deadline)) {
                Ok(None) => return Ok(()),
                Ok(Some(Answer::Status(status))) => {
                    let seconds =
                        status.ends_within_s.or_else(|| configured(&env.paths, self.name)).unwrap_or(0);
                    let rest = if self.kill { DYING } else { CLEARING };
                    deadline = Instant::now() + Duration::from_secs(seconds) + rest;
                }
                // A start that failed has left no process.
                Ok(Some(Answer::Done | Answer::Failed(_))) => {}
                Err(error) if error.is::<Silent>() && self.asked.elapsed() > TIMEOUT * 2 => {
                    let seconds = self.asked.elapsed().as_secs();
                    return Err(error.context(format!("it has not stopped within {seconds} s")));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The values for a monitor of an older version.
fn configured(paths: &Paths, name: &Name) -> Option<u64> {
    let config = Config::load(&paths.container_ini(name), name).ok()?;
    Some(config.container.stop_timeout.get().into())
}

/// Kills a container and waits for its end.
///
/// # Errors
/// If it does not end.
pub fn kill(env: &Env, name: &Name) -> Result<()> {
    Stopping::begin(env, name, &ControlRequest::Stop { timeout_s: None, kill: true })?.finish(env).map(drop)
}
