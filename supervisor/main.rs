//! `ds`: argv in, exit code out. Selects the role of this process: a client, the supervisor, or a verb that needs
//! neither. Owns nothing else.

use anyhow::Result;
use ds::cli::usage::Usage;
use ds::cli::{Command, parse};
use ds::command::{self, dispatch};
use ds::exit::ExitCode;
use ds::paths::Paths;
use ds::sys::process::exit_immediately;
use ds::{client, log};
use std::env;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::process;

fn main() -> process::ExitCode {
    let (program, words) = parse::arguments(env::args_os());
    let early = client::knock(&words);
    match parse::command_line(&program, &words) {
        Ok(invocation) => run(&invocation.command, &[vec![program], words].concat(), early).into(),
        Err(usage) => {
            show(&usage);
            usage.exit_code().into()
        }
    }
}

fn run(command: &Command, argv: &[String], early: Option<OwnedFd>) -> ExitCode {
    log::take_role(log::Role::Client);
    let output = &mut io::stdout();
    let done = match command {
        Command::Completions(arguments) => command::completions::run(arguments, output),
        Command::Help(arguments) => command::help::run(arguments, output),
        Command::Version(arguments) => command::version::run(arguments, output),
        Command::Module(arguments) => command::module::run(arguments, &Paths::from_environment()),
        Command::Supervise(arguments) => command::supervise::run(arguments, &Paths::from_environment()),
        Command::Supervisor(arguments) => match client::run_if_there(&Paths::from_environment(), argv) {
            Ok(Some(code)) => Ok(ExitCode::from_number(code)),
            Ok(None) => command::supervisor::absent(arguments),
            Err(error) => Err(error),
        },
        Command::Rpc(arguments) => command::rpc::deliver(&arguments.request, &Paths::from_environment())
            .unwrap_or_else(|| have_supervisor_run(argv, early)),
        _ => have_supervisor_run(argv, early),
    };
    done.unwrap_or_else(|error| {
        if matches!(command, Command::Rpc(_)) {
            let told = command::rpc::unavailable(&format!("{error:#}"), output);
            return told.unwrap_or(ExitCode::Failed);
        }
        let (verb, name) = dispatch::subject(command);
        let name = name.map(|name| format!(" {name}")).unwrap_or_default();
        let _ = writeln!(io::stderr(), "ds: {verb}{name}: {error:#}");
        dispatch::failure(command)
    })
}

fn have_supervisor_run(argv: &[String], early: Option<OwnedFd>) -> Result<ExitCode> {
    // Nothing is left to be done; end without delay.
    client::run(&Paths::from_environment(), argv, early).map(|code| exit_immediately(code.into()))
}

/// Ignores a closed pipe.
fn show(usage: &Usage) {
    let _ = if usage.to_stdout {
        io::stdout().write_all(usage.text.as_bytes())
    } else {
        io::stderr().write_all(usage.text.as_bytes())
    };
}
