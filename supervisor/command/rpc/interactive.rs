//! Verbs that a request cannot run, and what to use instead.

use super::request::Fault;
use crate::cli::Command;

/// Refuses verbs that need a terminal, and verbs that no worker runs.
///
/// # Errors
/// The fault that names the alternative.
pub(super) fn refuse(command: &Command) -> Result<(), Fault> {
    let (verb, instead) = match command {
        Command::Enter(_) => ("enter", "it needs a terminal; use the request 'terminal'"),
        Command::Console(_) => ("console", "it needs a terminal; use the request 'terminal'"),
        Command::Shell(_) => ("shell", "it needs a terminal; use 'ds shell' in a shell"),
        Command::Run(run) if run.tty => ("run", "it needs a terminal; omit '--tty'"),
        Command::Start(start) if start.foreground => ("start", "it needs a terminal; omit '--foreground'"),
        Command::Rpc(_) => ("rpc", "a request cannot contain another one; send that one directly"),
        Command::Web(_) => ("web", "it is only available in a shell"),
        Command::Supervise(_) => ("supervise", "the supervisor runs; use 'supervisor reload'"),
        Command::Module(_) => ("module", "only the module's scripts call it; use the verb itself"),
        _ => return Ok(()),
    };
    Err(Fault::new("unsupported", &format!("{verb}: {instead}")))
}
