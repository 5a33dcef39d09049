//! From a command line to the module of its verb, in a worker.
//!
//! Owns the table of verbs, the format and exit code of errors, and which commands end with their client.

use std::io;

use anyhow::{Error, Result, bail};

use super::complain;
use super::{
    cache, check, completions, console, convert, copy, create, doctor, enter, export, freeze, get, help,
    images, import, info, list, logs, pull, rename, resize, restart, rm, rpc, run as run_verb, seed, set,
    shell, start, stats, stop, supervisor, version, web,
};
use crate::cli::{Command, parse};
use crate::config::{self, value::Name};
use crate::exit::ExitCode;
use crate::worker::Env;

/// Runs one command line in a worker, sends the exit code to the client and returns it.
#[must_use]
pub fn serve(env: &Env) -> u8 {
    let (program, words) =
        env.argv.split_first().map_or(("ds", &[][..]), |(first, rest)| (first.as_str(), rest));
    let parsed = parse::command_line(program, words);
    let code = match parsed {
        Ok(invocation) => {
            if !matches!(invocation.command, Command::Run(_) | Command::Enter(_) | Command::Shell(_)) {
                env.supervisor.taken();
            }
            run(&invocation.command, env)
        }
        // The client checked the command line first: only a client of another version sends an invalid one.
        Err(usage) => {
            let code = usage.exit_code();
            complain("command line", None, &Error::msg(usage.text));
            code
        }
    };
    env.client.exit(code.number());
    code.number()
}

fn run(command: &Command, env: &Env) -> ExitCode {
    let ready = if hears_client(command) { Ok(()) } else { env.client.dies_with_client() };
    let done = ready.and_then(|()| dispatch(command, env));
    done.unwrap_or_else(|error| {
        let (verb, name) = subject(command);
        complain(verb, name.and_then(|name| name.parse::<Name>().ok()).as_ref(), &error);
        let fault = error.downcast_ref::<config::Error>();
        if fault.is_some_and(config::Error::is_of_command_line) { ExitCode::Usage } else { failure(command) }
    })
}

/// Calls a verb in a stack frame of its own. A monitor keeps the stack frames of the worker that forked it; if all
/// verbs were inlined here, it would also keep theirs.
#[inline(never)]
fn apart(verb: impl FnOnce() -> Result<ExitCode>) -> Result<ExitCode> {
    verb()
}

fn dispatch(command: &Command, env: &Env) -> Result<ExitCode> {
    match command {
        Command::Start(arguments) => apart(|| start::run(arguments, env)),
        Command::Stop(arguments) => apart(|| stop::run(arguments, env)),
        Command::Restart(arguments) => apart(|| restart::run(arguments, env)),
        Command::Freeze(arguments) => apart(|| freeze::freeze(arguments, env)),
        Command::Thaw(arguments) => apart(|| freeze::thaw(arguments, env)),
        Command::Create(arguments) => apart(|| create::run(arguments, env)),
        Command::Remove(arguments) => apart(|| rm::run(arguments, env)),
        Command::Rename(arguments) => apart(|| rename::run(arguments, env)),
        Command::List(arguments) => apart(|| list::run(arguments, env)),
        Command::Info(arguments) => apart(|| info::run(arguments, env)),
        Command::Stats(arguments) => apart(|| stats::run(arguments, env)),
        Command::Get(arguments) => apart(|| get::run(arguments, env)),
        Command::Set(arguments) => apart(|| set::run(arguments, env)),
        Command::Check(arguments) => apart(|| check::run(arguments, env)),
        Command::Doctor(arguments) => apart(|| doctor::run(arguments, env)),
        Command::Supervisor(arguments) => apart(|| supervisor::run(arguments, env)),
        Command::Run(arguments) => apart(|| run_verb::run(arguments, env)),
        Command::Enter(arguments) => apart(|| enter::run(arguments, env)),
        Command::Shell(arguments) => apart(|| shell::run(arguments, env)),
        Command::Console(arguments) => apart(|| console::run(arguments, env)),
        Command::Logs(arguments) => apart(|| logs::run(arguments, env)),
        Command::Resize(arguments) => apart(|| resize::run(arguments, env)),
        Command::Convert(arguments) => apart(|| convert::run(arguments, env)),
        Command::Seed(arguments) => apart(|| seed::run(arguments, env)),
        Command::Copy(arguments) => apart(|| copy::run(arguments, env)),
        Command::Export(arguments) => apart(|| export::run(arguments, env)),
        Command::Import(arguments) => apart(|| import::run(arguments, env)),
        Command::Images(arguments) => apart(|| images::run(arguments, env)),
        Command::Pull(arguments) => apart(|| pull::run(arguments, env)),
        Command::Cache(arguments) => apart(|| cache::run(arguments, env)),
        Command::Rpc(arguments) => {
            apart(|| rpc::run(arguments, env, rpc::Verbs { perform: &|command| run(command, env), subject }))
        }
        Command::Web(arguments) => apart(|| web::run(arguments, env)),
        // The client runs these itself, but a request may contain them.
        Command::Version(arguments) => apart(|| version::run(arguments, &mut io::stdout())),
        Command::Help(arguments) => apart(|| help::run(arguments, &mut io::stdout())),
        Command::Completions(arguments) => apart(|| completions::run(arguments, &mut io::stdout())),
        Command::Supervise(_) | Command::Module(_) => bail!("a worker does not run this verb"),
    }
}

/// Commands that monitor their client and handle interruptions themselves. The others end immediately.
fn hears_client(command: &Command) -> bool {
    matches!(
        command,
        Command::Run(_)
            | Command::Enter(_)
            | Command::Shell(_)
            | Command::Console(_)
            | Command::Start(_)
            | Command::Stop(_)
            | Command::Restart(_)
            | Command::Create(_)
            | Command::Resize(_)
            | Command::Convert(_)
            | Command::Seed(_)
            | Command::Copy(_)
            | Command::Export(_)
            | Command::Import(_)
            | Command::Images(_)
            | Command::Pull(_)
            | Command::Rpc(_)
    )
}

/// The exit code of a command that failed before it set one.
#[must_use]
pub fn failure(command: &Command) -> ExitCode {
    match command {
        Command::Run(_) | Command::Shell(_) => ExitCode::RunFailed,
        _ => ExitCode::Failed,
    }
}

/// The subject of an error message: the verb, and the container if the command has one.
#[must_use]
pub fn subject(command: &Command) -> (&'static str, Option<&str>) {
    match command {
        Command::Create(arguments) => ("create", Some(&arguments.name)),
        Command::Start(_) => ("start", None),
        Command::Stop(_) => ("stop", None),
        Command::Restart(_) => ("restart", None),
        Command::Freeze(_) => ("freeze", None),
        Command::Thaw(_) => ("thaw", None),
        Command::List(_) => ("list", None),
        Command::Info(arguments) => ("info", Some(&arguments.name)),
        Command::Stats(arguments) => ("stats", arguments.name.as_deref()),
        Command::Get(arguments) => ("get", Some(&arguments.name)),
        Command::Set(arguments) => ("set", Some(&arguments.name)),
        Command::Run(arguments) => ("run", Some(&arguments.name)),
        Command::Enter(arguments) => ("enter", Some(&arguments.name)),
        Command::Shell(_) => ("shell", None),
        Command::Console(arguments) => ("console", Some(&arguments.name)),
        Command::Logs(arguments) => ("logs", Some(&arguments.name)),
        Command::Remove(arguments) => ("rm", Some(&arguments.name)),
        Command::Rename(arguments) => ("rename", Some(&arguments.name)),
        Command::Copy(arguments) => ("copy", Some(&arguments.name)),
        Command::Export(arguments) => ("export", Some(&arguments.name)),
        Command::Import(arguments) => ("import", Some(&arguments.name)),
        Command::Resize(arguments) => ("resize", Some(&arguments.name)),
        Command::Convert(arguments) => ("convert", Some(&arguments.name)),
        Command::Seed(arguments) => ("seed", Some(&arguments.name)),
        Command::Images(_) => ("images", None),
        Command::Pull(_) => ("pull", None),
        Command::Cache(_) => ("cache", None),
        Command::Check(_) => ("check", None),
        Command::Doctor(_) => ("doctor", None),
        Command::Supervise(_) => ("supervise", None),
        Command::Supervisor(_) => ("supervisor", None),
        Command::Rpc(_) => ("rpc", None),
        Command::Web(_) => ("web", None),
        Command::Version(_) => ("version", None),
        Command::Completions(_) => ("completions", None),
        Command::Help(_) => ("help", None),
        Command::Module(_) => ("module", None),
    }
}
