//! `ds restart`: reboots a container under the same monitor; the root file system stays mounted.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::start::until_ready;
use super::{complain, names, print};
use crate::cli;
use crate::config::Once;
use crate::config::value::Name;
use crate::container::start::{begin, finish};
use crate::container::talk::Talk;
use crate::exit::ExitCode;
use crate::monitor::protocol::{Answer, ControlRequest};
use crate::worker::Env;
use crate::worker::waiting::TIMEOUT;

/// The timeout of the new boot, in addition to the stop timeout of PID 1.
const BOOTING: Duration = Duration::from_secs(120);

/// Restarts the given containers; a stopped container is started.
///
/// # Errors
/// If no request could be sent. A container that fails gets an error line of its own.
pub fn run(arguments: &cli::Restart, env: &Env) -> Result<ExitCode> {
    let names = names(env, &arguments.names, false)?;
    let asked: Vec<(&Name, Result<Option<Talk<'_>>>)> =
        names.iter().map(|name| (name, ask_for_it(env, name))).collect();
    let mut code = ExitCode::Done;
    for (name, talk) in asked {
        let restarted = talk
            .and_then(|talk| match talk {
                Some(talk) => until_done(&talk),
                None => finish(&env.client, name, begin(env, name, Once::default())?).map(drop),
            })
            .and_then(|()| arguments.wait.map_or(Ok(()), |waiting| until_ready(env, name, waiting)));
        match restarted {
            Ok(()) if arguments.wait.is_some() => drop(print(&mut io::stdout(), &format!("{name} is up\n"))?),
            Ok(()) => drop(print(&mut io::stdout(), &format!("{name} restarted\n"))?),
            Err(error) => {
                complain("restart", Some(name), &error);
                code = ExitCode::Failed;
            }
        }
    }
    Ok(code)
}

fn ask_for_it<'a>(env: &'a Env, name: &'a Name) -> Result<Option<Talk<'a>>> {
    env.cancel_restart(name)?;
    let talk = Talk::open(&env.paths, &env.client, name)?;
    if let Some(talk) = &talk {
        talk.say(&ControlRequest::Restart { timeout_s: None })?;
        talk.say(&ControlRequest::Status)?;
    }
    Ok(talk)
}

fn until_done(talk: &Talk<'_>) -> Result<()> {
    // The monitor first answers with its state, and then with `Done`.
    let mut deadline = Instant::now() + TIMEOUT;
    loop {
        match talk.answer(Some(deadline))? {
            Some(Answer::Status(status)) => {
                deadline =
                    Instant::now() + Duration::from_secs(status.ends_within_s.unwrap_or(300)) + BOOTING;
            }
            Some(Answer::Failed(text)) => bail!("{text}"),
            Some(Answer::Done) => return Ok(()),
            None => bail!("it stopped and did not start again; see 'ds logs'"),
        }
    }
}
