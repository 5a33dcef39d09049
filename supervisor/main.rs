//! `ds`: argv in, exit code out.

use ds::{
    cli::{self, Command, Usage},
    command,
    exit::ExitCode,
};
use std::{
    env,
    io::{self, Write},
    process,
};

fn main() -> process::ExitCode {
    let arguments = cli::arguments(env::args_os());
    match arguments.and_then(|(program, words)| cli::parse(&program, &words)) {
        Ok(invocation) => run(&invocation.command).into(),
        Err(usage) => {
            show(&usage);
            usage.exit_code().into()
        }
    }
}

fn run(command: &Command) -> ExitCode {
    let output = &mut io::stdout().lock();
    let done = match command {
        Command::Completions(arguments) => command::completions::run(arguments, output),
        Command::Help(arguments) => command::help::run(arguments, output),
        Command::Version(arguments) => command::version::run(arguments, output),
        _ => Err(anyhow::anyhow!("this verb is not there yet")),
    };
    done.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "ds: {error:#}");
        ExitCode::Failed
    })
}

/// A reader that has gone away is nobody to tell.
fn show(usage: &Usage) {
    let _ = if usage.to_stdout {
        io::stdout().write_all(usage.text.as_bytes())
    } else {
        io::stderr().write_all(usage.text.as_bytes())
    };
}
