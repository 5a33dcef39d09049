//! Starts a container from a worker: takes the lock, forks the monitor, waits for its report. Never changes the
//! container's files.

use std::io::{IsTerminal, Write, stderr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use nix::unistd::Pid;

use super::talk::Talk;
use super::{Lock, occupied, sweep};
use crate::call;
use crate::config::value::Name;
use crate::config::{Config, Once};
use crate::fault;
use crate::monitor::protocol::{Answer, ControlRequest, Report, State};
use crate::monitor::{Origin, Setup, is_stopped};
use crate::socket;
use crate::sys::process::{Fork, fork};
use crate::worker::Env;
use crate::worker::client::Client;
use crate::worker::waiting::TIMEOUT;

/// The result of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartResult {
    /// PID 1 was started.
    Started,
    /// It was already running, or another command started it in the meantime.
    AlreadyRunning,
    /// It was running and ended during the wait: it can be started now.
    Ended,
}

/// A monitor that prepares its container.
#[derive(Debug)]
pub enum Starting<'a> {
    /// Forked by this worker: its reports arrive here.
    Ours(OwnedFd, Pid),
    /// Forked by another worker: its status arrives here.
    Theirs(Talk<'a>),
}

/// Begins a start: returns as soon as the monitor is forked. The options in `once` apply until the container ends.
///
/// # Errors
/// If the configuration is not valid, or the run directory cannot be written.
pub fn begin<'a>(env: &'a Env, name: &'a Name, once: Once) -> Result<Starting<'a>> {
    if !env.paths.container(name).is_dir() {
        bail!("no such container; create it with 'ds create', or see 'ds list'");
    }
    let _lock = Lock::take_for(&env.paths, &env.client, name)?;
    fault::point("locked")?;
    if let Some(talk) = Talk::open(&env.paths, &env.client, name)? {
        talk.say(&ControlRequest::Watch)?;
        return Ok(Starting::Theirs(talk));
    }
    occupied::refuse(&env.paths, name)?;
    let mut config = Config::load(&env.paths.container_ini(name), name)?;
    once.apply(&mut config);
    sweep(&env.paths, &env.host, name);
    let (ours, theirs) = socket::pair()?;
    let listener = socket::listen_at(&env.paths.control(name))?;
    let forked = fault::point("listening").and_then(|()| Ok(call!(fork(), "fork")?));
    if forked.is_err() {
        let _ = std::fs::remove_file(env.paths.control(name));
    }
    match forked? {
        Fork::Parent(monitor) => {
            env.supervisor.started(name);
            fault::point("forked")?;
            Ok(Starting::Ours(ours, monitor))
        }
        Fork::Child => {
            drop(ours);
            let origin = Origin { listener, report: theirs };
            let (paths, host, settings) = (env.paths.clone(), env.host.clone(), env.knowledge.settings);
            crate::monitor::run(Setup { config, once, paths, host, settings, origin })
        }
    }
}

/// Waits until PID 1 runs. Warnings go to the log; an interruption by the client ends the start.
///
/// # Errors
/// If it did not start, with the message of the monitor or the child.
pub fn finish(client: &Client, name: &Name, starting: Starting<'_>) -> Result<StartResult> {
    match starting {
        Starting::Ours(report, monitor) => {
            let mut meter = Meter::default();
            loop {
                while !client.wait(Some(report.as_fd()), Some(Instant::now() + TIMEOUT))? {
                    // The check of an image may take long, so there is no timeout; but a stopped process makes no
                    // progress.
                    ensure!(
                        !is_stopped(monitor),
                        "its monitor (pid {monitor}) is stopped; the start was cancelled"
                    );
                }
                let received = socket::receive::<Report>(&report)?.map(|received| received.message);
                if let Some(Report::Checking { percent }) = received {
                    meter.show(name, percent);
                    continue;
                }
                meter.erase();
                match received {
                    Some(Report::Warning(text)) => log::warn!("{name}: {text}"),
                    Some(Report::Running) => return Ok(StartResult::Started),
                    Some(Report::Failed(text)) => bail!("{text}"),
                    _ => bail!("the monitor died; see the supervisor's log"),
                }
            }
        }
        Starting::Theirs(talk) => watch(&talk),
    }
}

/// The progress of a check; printed only on a terminal.
#[derive(Debug, Default)]
struct Meter {
    shown: bool,
}

impl Meter {
    fn show(&mut self, name: &Name, percent: Option<u8>) {
        let mut terminal = stderr();
        if terminal.is_terminal() {
            self.shown = true;
            let percent = percent.map(|percent| format!(" {percent} %")).unwrap_or_default();
            let _ = write!(terminal, "\r{name}: checking the image{percent}\x1b[K");
            let _ = terminal.flush();
        }
    }

    fn erase(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.erase();
    }
}

fn watch(talk: &Talk<'_>) -> Result<StartResult> {
    let (mut starting, mut stopping) = (false, false);
    // The monitor first sends its status.
    let mut deadline = Some(Instant::now() + TIMEOUT);
    loop {
        match talk.answer(deadline.take())? {
            Some(Answer::Status(status)) => match status.state {
                State::Starting | State::Restarting => starting = true,
                State::Stopping => stopping = true,
                _ => return Ok(StartResult::AlreadyRunning),
            },
            Some(Answer::Failed(text)) => bail!("{text}"),
            Some(Answer::Done) => {}
            // It was running and has ended.
            None if stopping || !starting => return Ok(StartResult::Ended),
            None => bail!("it failed to start; see 'ds info'"),
        }
    }
}
