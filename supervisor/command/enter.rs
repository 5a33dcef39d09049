//! `ds enter`: a login shell in a running container, on a terminal of its own.

use anyhow::Result;

use super::run::Visit;
use crate::cli;
use crate::exit::ExitCode;
use crate::worker::Env;

/// Opens the shell; its exit code is the result.
///
/// # Errors
/// Why there is no shell.
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
