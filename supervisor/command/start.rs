//! `ds start`: starts containers in parallel, and creates them if the command line says so.

use std::fmt::Write;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::progress::Progress;
use super::{assignments, complain, create, names, print};
use crate::child::android;
use crate::cli::{self, Wait};
use crate::config::value::{HardwareAccess, Name};
use crate::config::{Config, Once, RootSource, Seeding};
use crate::container::start::{StartResult, Starting, begin, finish};
use crate::container::talk::Talk;
use crate::exit::ExitCode;
use crate::monitor::protocol::{Answer, ControlRequest};
use crate::monitor::{is_stopped, surroundings};
use crate::plan;
use crate::rootfs::guest::{FirstProcess, Guest};
use crate::rootfs::image::inspect;
use crate::rootfs::root::Root;
use crate::session::console::{Left, look};
use crate::worker::Env;
use crate::worker::waiting::TIMEOUT;

/// The default timeout of `--wait`.
const LIMIT: Duration = Duration::from_secs(120);
/// The timeout for an answer of a monitor that is not stopped: while a distribution boots, a slow machine leaves little
/// time for it. Counted in intervals: a time in which the whole machine stands still, as a virtual machine whose host is
/// busy, counts as one.
const SILENCE: Duration = Duration::from_secs(30);
/// The interval at which an init system without readiness notification is checked.
const INTERVAL: Duration = Duration::from_millis(250);

/// Starts the given containers.
///
/// # Errors
/// If no container could be tried. A container that fails to start gets an error line of its own.
pub fn run(arguments: &cli::Start, env: &Env) -> Result<ExitCode> {
    make_or_change(arguments, env)?;
    let once = Once { volatile: arguments.volatile };
    let names = names(env, &arguments.names, arguments.all)?;
    if arguments.dry_run {
        return names.iter().try_fold(ExitCode::Done, |_, name| dry_run(env, name, (once, arguments.yes)));
    }
    if arguments.yes {
        names.iter().try_for_each(|name| acknowledge(env, name))?;
    }
    // All monitors are forked before the first one is awaited.
    let begun: Vec<(&Name, Result<Starting<'_>>)> =
        names.iter().map(|name| (name, begin(env, name, once))).collect();
    let mut code = ExitCode::Done;
    for (name, starting) in begun {
        let started = starting.and_then(|starting| complete(env, name, starting, (arguments.wait, once)));
        match started {
            Ok(line) => drop(print(&mut io::stdout(), &line)?),
            Err(error) => {
                complain("start", Some(name), &error);
                code = ExitCode::Failed;
            }
        }
        if arguments.foreground && code == ExitCode::Done {
            // `--foreground` allows one container only. One that has already ended has nothing more to print.
            return Ok(look(&env.paths, &env.client, name)?.map_or(ExitCode::Done, Left::code));
        }
    }
    Ok(code)
}

/// Creates the container if it does not exist, or changes the configuration of existing ones.
fn make_or_change(arguments: &cli::Start, env: &Env) -> Result<()> {
    let mut there = arguments.names.clone();
    if let Some(creation) = arguments.creation() {
        let name: Name = creation.name.parse()?;
        if !env.paths.container_ini(&name).exists() {
            create::create(&creation, env, &mut Progress::new(false))?;
            there.clear();
        }
    }
    if arguments.set.is_empty() {
        return Ok(());
    }
    for name in there {
        let name: Name = name.parse()?;
        Config::edit(&env.paths.container_ini(&name), &name, &assignments(&arguments.set))?;
    }
    tell_what_was_written(arguments, env);
    Ok(())
}

/// Records that the user has acknowledged the risk of full access to the hardware, for a container that has it.
fn acknowledge(env: &Env, name: &Name) -> Result<()> {
    let file = env.paths.container_ini(name);
    let hardware = Config::load(&file, name)?.hardware;
    if hardware.access == HardwareAccess::Full && !hardware.acknowledged {
        Config::edit(&file, name, &[("hardware.acknowledged", "yes")])?;
    }
    Ok(())
}

/// The options of older tools look as if they applied to one start, but they are written to the configuration.
fn tell_what_was_written(arguments: &cli::Start, env: &Env) {
    let program = env.argv.first().and_then(|program| Path::new(program).file_name());
    if program.is_none_or(|program| program == "ds") {
        return;
    }
    let written: Vec<String> = arguments.set.iter().map(|set| format!("{}={}", set.key, set.value)).collect();
    for name in &arguments.names {
        log::warn!("{name}: saved in the configuration, also for later starts: {}", written.join(" "));
    }
}

fn complete(
    env: &Env,
    name: &Name,
    starting: Starting<'_>,
    (waiting, once): (Option<Wait>, Once),
) -> Result<String> {
    let mut outcome = finish(&env.client, name, starting)?;
    while outcome == StartResult::Ended {
        // The container was stopped during the wait.
        outcome = finish(&env.client, name, begin(env, name, once)?)?;
    }
    if let Some(waiting) = waiting {
        until_ready(env, name, waiting)?;
    }
    Ok(match outcome {
        StartResult::AlreadyRunning => format!("{name} is already running\n"),
        _ if waiting.is_some() => format!("{name} is up\n"),
        _ => format!("{name} started\n"),
    })
}

/// Waits until the init system reports that it is up, or until the check finds that it is.
///
/// # Errors
/// If the container ends, or is not up within the timeout.
pub(super) fn until_ready(env: &Env, name: &Name, waiting: Wait) -> Result<()> {
    let limit = waiting.timeout.unwrap_or(LIMIT);
    let deadline = Instant::now() + limit;
    let talk = Talk::open(&env.paths, &env.client, name)?;
    let talk = talk.context("it ended before it was up; see 'ds logs'")?;
    talk.say(&ControlRequest::Watch)?;
    let mut silence = Duration::ZERO;
    loop {
        let next = (Instant::now() + INTERVAL).min(deadline);
        if !env.client.wait(Some(talk.connection.as_fd()), Some(next))? {
            silence += INTERVAL;
            if silence >= TIMEOUT && talk.monitor().is_some_and(is_stopped) {
                return Err(talk.silent("is stopped").into());
            }
            if silence >= SILENCE {
                return Err(talk.silent("does not answer").into());
            }
            if Instant::now() >= deadline {
                bail!(
                    "it is running, but its init system did not report within {} s that it is up; see 'ds logs {name}', \
                     or increase the timeout with --wait=SECONDS",
                    limit.as_secs()
                );
            }
            // The request causes the monitor to check. If the monitor has ended, the next lines notice.
            talk.say(&ControlRequest::Status)?;
            continue;
        }
        silence = Duration::ZERO;
        match talk.answer(None)? {
            Some(Answer::Status(status)) if status.ready => return Ok(()),
            Some(_) => {}
            None => bail!("it ended before it was up; see 'ds logs {name}'"),
        }
    }
}

/// Prints the plan and changes nothing.
fn dry_run(env: &Env, name: &Name, (once, acknowledged): (Once, bool)) -> Result<ExitCode> {
    let mut config = Config::load(&env.paths.container_ini(name), name)?;
    once.apply(&mut config);
    config.hardware.acknowledged |= acknowledged;
    let root = match &config.container.root {
        RootSource::Directory(path) => Some(Root::open(path.as_path())?),
        RootSource::Image(_) => None,
    };
    let guest = match (&root, &config.container.root) {
        (Some(root), _) => Guest::inspect(root, Path::new(config.container.init.as_str()))?,
        // Reading an image requires a mount, and this command must change nothing.
        (None, RootSource::Image(path) | RootSource::Directory(path)) => {
            inspect(path.as_path(), config.container.image_partition)
                .and_then(|facts| facts.usable())
                .with_context(|| format!("the image {path}"))?;
            log::warn!("{name}: the init system is unknown until the image is mounted");
            Guest { first: FirstProcess::Other, openrc: false, flags_in_run: false, systemd_version: None }
        }
    };
    android::complete(&mut config, &env.host);
    let seeding = Seeding::load_or_default(&env.paths.supervisor_ini());
    let around = surroundings::look(&config, root.as_ref());
    let plan = plan::build(&config, &env.host, &guest, &seeding, &around)?;
    let mut text = String::new();
    writeln!(text, "{plan}")?;
    if let Some(talk) = Talk::open(&env.paths, &env.client, name)?
        && let Ok(Some(status)) = talk.status()
    {
        log::warn!("{name} is {}; this plan is for its next start", status.state.as_str());
    }
    print(&mut io::stdout(), &text)
}
