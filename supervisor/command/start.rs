//! `ds start`: boots containers, several at once.

use std::fmt::Write;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::progress::Progress;
use super::{assignments, complain, create, names, print};
use crate::child::android;
use crate::cli::{self, Wait};
use crate::config::value::Name;
use crate::config::{Config, RootSource};
use crate::container::start::{Outcome, Starting, begin, finish};
use crate::container::{ask, monitor};
use crate::exit::ExitCode;
use crate::monitor::protocol::{Answer, Request};
use crate::plan;
use crate::rootfs::guest::{FirstProcess, Guest};
use crate::rootfs::image::inspect;
use crate::rootfs::root::Root;
use crate::session::console::{Left, look};
use crate::socket;
use crate::worker::Env;

/// Starts what the command line names.
///
/// # Errors
/// When nothing could be tried; a container that does not start is told in a line of its own.
pub fn run(arguments: &cli::Start, env: &Env) -> Result<ExitCode> {
    make_or_change(arguments, env)?;
    let names = names(env, &arguments.names, arguments.all)?;
    if arguments.dry_run {
        return names.iter().try_fold(ExitCode::Done, |_, name| dry_run(env, name));
    }
    // All monitors are forked before the first one is waited for.
    let begun: Vec<(Name, Result<Starting>)> =
        names.into_iter().map(|name| (name.clone(), begin(env, &name))).collect();
    let mut code = ExitCode::Done;
    for (name, starting) in begun {
        let started = starting.and_then(|starting| complete(env, &name, starting, arguments.wait));
        match started {
            Ok(line) => drop(print(&mut io::stdout(), &line)?),
            Err(error) => {
                complain("start", Some(&name), &error);
                code = ExitCode::Failed;
            }
        }
        if arguments.foreground && code == ExitCode::Done {
            // One container only; one that has ended meanwhile has nothing more to show.
            return Ok(look(env, &name)?.map_or(ExitCode::Done, Left::code));
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
    let settings = arguments.settings();
    if settings.is_empty() {
        return Ok(());
    }
    for name in there {
        let name: Name = name.parse()?;
        Config::edit(&env.paths.container_ini(&name), &name, &assignments(&settings))?;
    }
    Ok(())
}

fn complete(env: &Env, name: &Name, starting: Starting, waiting: Option<Wait>) -> Result<String> {
    let mut outcome = finish(env, name, starting)?;
    while outcome == Outcome::Ended {
        // Somebody stopped it while we waited for it to come up.
        outcome = finish(env, name, begin(env, name)?)?;
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

/// Waits until the init system says that it is up.
fn until_ready(env: &Env, name: &Name, waiting: Wait) -> Result<()> {
    let deadline = waiting.timeout.map(|timeout| Instant::now() + timeout);
    let connection = monitor(&env.paths, name)?.context("it ended before it was up; see 'ds logs'")?;
    socket::send(&connection, &Request::Watch, &[])?;
    loop {
        match deadline {
            None => env.client.wait_for(&connection)?,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
                let mut polled = [PollFd::new(connection.as_fd(), PollFlags::POLLIN)];
                if poll(&mut polled, timeout)? == 0 {
                    bail!(
                        "it runs, but its init system did not say in time that it is up; see 'ds logs {name}'"
                    );
                }
            }
        }
        match socket::receive::<Answer>(&connection)?.map(|received| received.message) {
            Some(Answer::Status(status)) if status.ready => return Ok(()),
            Some(_) => {}
            None => bail!("it ended before it was up; see 'ds logs {name}'"),
        }
    }
}

/// Prints the plan and changes nothing.
fn dry_run(env: &Env, name: &Name) -> Result<ExitCode> {
    let mut config = Config::load(&env.paths.container_ini(name), name)?;
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
            Guest { first: FirstProcess::Other, openrc: false, systemd_version: None }
        }
    };
    android::complete(&mut config, &env.host);
    let plan = plan::build(&config, &env.host, &guest)?;
    let mut text = String::new();
    writeln!(text, "{plan}")?;
    if let Some(connection) = monitor(&env.paths, name)?
        && let Ok(Answer::Status(status)) = ask(&connection, &Request::Status)
    {
        log::warn!("{name} is {}; this is for its next start", status.state.as_str());
    }
    print(&mut io::stdout(), &text)
}
