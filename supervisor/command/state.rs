//! The state of a container: from its configuration, its monitor, and the record of its last exit.
//!
//! Owns the combination of these sources. Requests to a monitor have a timeout, so that one unresponsive monitor does
//! not block `ds list`. Changes nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, bail};
use serde::Serialize;

use crate::clock::now;
use crate::config::value::{Name, NetworkMode, Privileged};
use crate::config::{Config, Kind, Once};
use crate::container::monitor;
use crate::container::talk::Talk;
use crate::daemon::guard;
use crate::monitor::last_exit;
use crate::monitor::protocol::{Answer, ControlRequest, Exit, State, Status};
use crate::nearest::nearest;
use crate::network::way_out;
use crate::paths::names_in;
use crate::worker::Env;

/// The timeout for a monitor's answer. It normally takes far less than a millisecond.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The entry of `ds list` for a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Name.
    pub name: Name,
    /// State.
    pub state: State,
    /// PID 1 as the host sees it.
    pub pid: Option<i32>,
    /// Whether it starts automatically.
    pub autostart: bool,
    /// Its position among those that do.
    pub priority: i32,
    /// Uptime of PID 1, in seconds.
    pub uptime_s: Option<u64>,
    /// Whether its init system has reported that it is up.
    pub ready: bool,
    /// Seconds until its restart.
    pub restart_in_s: Option<u64>,
    /// The condition that autostart waits for: `network` or `unlock`.
    pub waits_for: Option<String>,
    /// Why autostart is off despite its configuration: one line.
    pub autostart_off: Option<String>,
    /// The protections that it lacks: `no`, `full`, or their names with commas.
    pub privileged: String,
    /// Why it cannot start, or its state is unknown: one line.
    pub problem: Option<String>,
    /// Its network, or that of its next start.
    pub network: Option<Network>,
}

/// The network of a container in `ds list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Network {
    /// A word of the contract.
    pub mode: String,
    /// Addresses in the container, if it has its own network and is running.
    pub addresses: Vec<String>,
    /// Its published ports.
    pub ports: Vec<String>,
    /// The interface of the host through which its packets currently leave, if it has its own network and is running.
    pub uplink: Option<String>,
    /// The container that is its router; absent if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

/// The complete state of a container.
#[derive(Debug)]
pub struct Known {
    /// The summary.
    pub summary: Summary,
    /// Its configuration, if valid.
    pub config: Option<Config>,
    /// The status that its monitor reports, if it is running.
    pub status: Option<Status>,
    /// Its last exit.
    pub last_exit: Option<Exit>,
}

/// The containers with a directory, and running containers without one.
#[must_use]
pub fn names(env: &Env) -> BTreeSet<Name> {
    let mut names = names_in(&env.paths.containers());
    // Other files in the directory are not containers.
    names.retain(|name| env.paths.container(name).is_dir());
    names.extend(env.supervisor.containers().watched.iter().cloned());
    names
}

/// Determines the state of a container.
///
/// # Errors
/// If there is no container of this name.
pub fn known(env: &Env, name: &Name) -> Result<Known> {
    let config = Config::load(&env.paths.container_ini(name), name);
    let answer = ask(env, name);
    if matches!(&config, Err(error) if error.kind() == Kind::NotFound) && matches!(answer, Ok(None)) {
        return Err(unknown(env, name));
    }
    let problem = match (&config, &answer) {
        (_, Err(error)) => Some(format!("{error:#}")),
        (Err(error), _) => Some(error.to_string()),
        _ => None,
    };
    // A monitor that does not answer still exists.
    let unanswered = answer.is_err();
    let status = answer.ok().flatten();
    // A monitor knows the ends before reboots from inside; that before its own start is recorded.
    let of_reboot = status.as_ref().and_then(|status| status.last_exit.clone());
    let last_exit = of_reboot.or_else(|| last_exit::read(&env.paths, name));
    let containers = env.supervisor.containers();
    let restart_at = containers.restarts.get(name).filter(|_| status.is_none());
    let state = match &status {
        Some(status) => status.state,
        None if unanswered => State::Running,
        None if restart_at.is_some() => State::Restarting,
        None if last_exit.as_ref().is_some_and(Exit::is_failure) => State::Failed,
        None if env.paths.control(name).exists() => State::Failed,
        None => State::Stopped,
    };
    let waits_for = containers.waiting.get(name).cloned();
    let autostart = config.as_ref().is_ok_and(|config| config.container.autostart);
    let autostart_off = if autostart { reason_of_no_autostart(env, name) } else { None };
    let started = status.as_ref().and_then(|status| status.started_s);
    let mut config = config.ok();
    if let (Some(config), Some(status)) = (&mut config, &status) {
        Once { volatile: status.volatile }.apply(config);
    }
    let summary = Summary {
        name: name.clone(),
        state,
        pid: status.as_ref().and_then(|status| status.pid),
        autostart,
        priority: config.as_ref().map_or(0, |config| config.container.priority.get()),
        uptime_s: started.map(|started| now().as_secs().saturating_sub(started)),
        ready: status.as_ref().is_some_and(|status| status.ready),
        restart_in_s: restart_at.map(|at| at.saturating_sub(now()).as_secs()),
        waits_for,
        autostart_off,
        privileged: privileged(config.as_ref(), status.as_ref()),
        problem,
        network: network(env, name, config.as_ref(), status.as_ref()),
    };
    Ok(Known { summary, config, status, last_exit })
}

/// The state of a running container, else that of its next start.
fn privileged(config: Option<&Config>, status: Option<&Status>) -> String {
    let running = status.map(|status| status.privileged.clone()).filter(|text| !text.is_empty());
    running
        .or_else(|| Some(config?.security.privileged.to_string()))
        .unwrap_or_else(|| Privileged::NO.to_string())
}

/// From the monitor if it is running, else from the configuration.
fn network(env: &Env, name: &Name, config: Option<&Config>, status: Option<&Status>) -> Option<Network> {
    let mode = status.map(|status| status.network.clone());
    let mode = mode.or_else(|| Some(config?.network.mode.to_string()))?;
    let is = |which: NetworkMode| mode == which.to_string();
    let (own, routed) = (is(NetworkMode::Nat), is(NetworkMode::Gateway));
    let addresses = status.map(|status| status.addresses.clone()).unwrap_or_default();
    let published = config.filter(|_| own).map(|config| config.network.ports.as_slice()).unwrap_or_default();
    Some(Network {
        gateway: config
            .filter(|_| routed)
            .and_then(|config| Some(config.network.gateway.as_ref()?.to_string())),
        uplink: if (own || routed) && !addresses.is_empty() {
            way_out(&env.paths, name).ok().flatten()
        } else {
            None
        },
        ports: published.iter().map(ToString::to_string).collect(),
        mode,
        addresses,
    })
}

fn reason_of_no_autostart(env: &Env, name: &Name) -> Option<String> {
    if guard::recall(&env.paths, name).is_some_and(|record| record.is_off()) {
        return Some(guard::REASON.to_owned());
    }
    let containers = env.supervisor.containers();
    let held_back = containers.held_back.as_ref()?;
    Some(format!("autostart is off: {held_back}"))
}

/// Parses the name of a container that exists or is running.
///
/// # Errors
/// If it is not a valid name, or there is no such container.
pub fn existing(env: &Env, word: &str) -> Result<Name> {
    let name: Name = word.parse()?;
    if env.paths.container(&name).is_dir() || monitor(&env.paths, &name)?.is_some() {
        return Ok(name);
    }
    Err(unknown(env, &name))
}

/// The error for a container that does not exist.
#[must_use]
pub fn unknown(env: &Env, name: &Name) -> Error {
    let names = names(env);
    let near = nearest(name.as_str(), names.iter().map(Name::as_str));
    match near.filter(|near| near.is_typo_of(name.as_str())) {
        Some(near) => Error::msg(format!("no such container; did you mean '{}'?", near.word)),
        None => Error::msg("no such container; see 'ds list'"),
    }
}

fn ask(env: &Env, name: &Name) -> Result<Option<Status>> {
    let Some(talk) = Talk::open(&env.paths, &env.client, name)? else { return Ok(None) };
    talk.say(&ControlRequest::Status)?;
    match talk.answer(Some(Instant::now() + TIMEOUT))? {
        Some(Answer::Status(status)) => Ok(Some(*status)),
        Some(Answer::Failed(text)) => bail!("{text}"),
        Some(Answer::Done) => bail!("its monitor sent an unexpected answer"),
        // It has just ended.
        None => Ok(None),
    }
}
