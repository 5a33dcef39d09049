//! `ds start`: boots containers, several at once.

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
use crate::config::value::Name;
use crate::config::{Config, Once, RootSource, Seeding};
use crate::container::start::{Outcome, Starting, begin, finish};
use crate::container::talk::Talk;
use crate::exit::ExitCode;
use crate::monitor::protocol::{Answer, ControlRequest};
use crate::plan;
use crate::rootfs::guest::{FirstProcess, Guest};
use crate::rootfs::image::inspect;
use crate::rootfs::root::Root;
use crate::session::console::{Left, look};
use crate::worker::Env;
use crate::worker::waiting::PATIENCE;

/// How long `--wait` waits when it names no limit.
const LIMIT: Duration = Duration::from_secs(120);
/// How often an init system is looked at that does not say that it is up.
const INTERVAL: Duration = Duration::from_millis(250);

/// Starts what the command line names.
///
/// # Errors
/// When nothing could be tried; a container that does not start is told in a line of its own.
pub fn run(arguments: &cli::Start, env: &Env) -> Result<ExitCode> {
    make_or_change(arguments, env)?;
    let once = Once { volatile: arguments.volatile };
    let names = names(env, &arguments.names, arguments.all)?;
    if arguments.dry_run {
        return names.iter().try_fold(ExitCode::Done, |_, name| dry_run(env, name, once));
    }
    // All monitors are forked before the first one is waited for.
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
            // One container only; one that has ended meanwhile has nothing more to show.
            return Ok(look(&env.paths, &env.client, name)?.map_or(ExitCode::Done, Left::code));
        }
    }
    Ok(code)
}

/// Makes the container on the way, or changes the configuration of those that are there.
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

/// The options of older tools look like wishes for one start, and are written down.
fn tell_what_was_written(arguments: &cli::Start, env: &Env) {
    let program = env.argv.first().and_then(|program| Path::new(program).file_name());
    if program.is_none_or(|program| program == "ds") {
        return;
    }
    let written: Vec<String> = arguments.set.iter().map(|set| format!("{}={}", set.key, set.value)).collect();
    for name in &arguments.names {
        log::warn!("{name}: written to its configuration, for later starts as well: {}", written.join(" "));
    }
}

fn complete(
    env: &Env,
    name: &Name,
    starting: Starting<'_>,
    (waiting, once): (Option<Wait>, Once),
) -> Result<String> {
    let mut outcome = finish(&env.client, name, starting)?;
    while outcome == Outcome::Ended {
        // Somebody stopped it while we waited for it to come up.
        outcome = finish(&env.client, name, begin(env, name, once)?)?;
    }
    if let Some(waiting) = waiting {
        until_ready(env, name, waiting)?;
    }
    Ok(match outcome {
        Outcome::AlreadyRunning => format!("{name} is running already\n"),
        _ if waiting.is_some() => format!("{name} is up\n"),
        _ => format!("{name} started\n"),
    })
}

/// Waits until the init system is up, by its own word or by what it shows when it is looked at.
///
/// # Errors
/// That it ended, or is not up in time.
pub(super) fn until_ready(env: &Env, name: &Name, waiting: Wait) -> Result<()> {
    let limit = waiting.timeout.unwrap_or(LIMIT);
    let deadline = Instant::now() + limit;
    let talk = Talk::open(&env.paths, &env.client, name)?;
    let talk = talk.context("it ended before it was up; see 'ds logs'")?;
    talk.say(&ControlRequest::Watch)?;
    // A monitor that is asked answers at once.
    let mut silent = Instant::now() + PATIENCE;
    loop {
        let next = (Instant::now() + INTERVAL).min(deadline);
        if !env.client.wait(Some(talk.connection.as_fd()), Some(next))? {
            let now = Instant::now();
            if now >= silent {
                return Err(talk.silent("does not answer").into());
            }
            if now >= deadline {
                bail!(
                    "it runs, but its init system did not say within {} s that it is up; see 'ds logs {name}', or \
                     wait longer with --wait=SECONDS",
                    limit.as_secs()
                );
            }
            // Being asked is what makes the monitor look. One that has ended shows it below.
            talk.say(&ControlRequest::Status)?;
            continue;
        }
        silent = Instant::now() + PATIENCE;
        match talk.answer(None)? {
            Some(Answer::Status(status)) if status.ready => return Ok(()),
            Some(_) => {}
            None => bail!("it ended before it was up; see 'ds logs {name}'"),
        }
    }
}

/// Prints the plan and changes nothing.
fn dry_run(env: &Env, name: &Name, once: Once) -> Result<ExitCode> {
    let mut config = Config::load(&env.paths.container_ini(name), name)?;
    once.apply(&mut config);
    let guest = match &config.container.root {
        RootSource::Directory(path) => {
            Guest::inspect(&Root::open(path.as_path())?, Path::new(config.container.init.as_str()))?
        }
        // What is in an image shows only while it is mounted, and this is to change nothing.
        RootSource::Image(path) => {
            inspect(path.as_path(), config.container.image_partition)
                .and_then(|facts| facts.usable())
                .with_context(|| format!("the image {path}"))?;
            log::warn!("{name}: its init system is not known; the image is looked into when it is mounted");
            Guest { first: FirstProcess::Other, openrc: false, flags_in_run: false, systemd_version: None }
        }
    };
    android::complete(&mut config, &env.host);
    let plan =
        plan::build(&config, &env.host, &guest, &Seeding::load_or_default(&env.paths.supervisor_ini()))?;
    let mut text = String::new();
    writeln!(text, "{plan}")?;
    if let Some(talk) = Talk::open(&env.paths, &env.client, name)?
        && let Ok(Some(status)) = talk.status()
    {
        log::warn!("{name} is {}; this is for its next start", status.state.as_str());
    }
    print(&mut io::stdout(), &text)
}
