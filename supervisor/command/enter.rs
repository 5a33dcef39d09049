//! `ds enter`: a login shell in a running container, on a separate terminal.

use anyhow::Result;

use super::run::Visit;
use crate::cli;
use crate::exit::ExitCode;
use crate::worker::Env;

/// Runs the shell and returns its exit code.
///
/// # Errors
/// If the shell cannot be started.
pub fn run(arguments: &cli::Enter, env: &Env) -> Result<ExitCode> {
    let visit = Visit {
        verb: "enter",
        name: arguments.name.parse()?,
        words: &[],
        user: arguments.user.as_deref(),
        directory: None,
        variables: &[],
        terminal: true,
    };
    visit.run(env)
}
