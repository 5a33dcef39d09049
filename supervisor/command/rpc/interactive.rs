//! Verbs that a request cannot ask for, and what to ask for instead.

use super::request::Fault;
use crate::cli::Command;

/// Refuses what needs a terminal, and what is not run by a worker.
///
/// # Errors
/// The fault that names the way.
pub(super) fn refuse(command: &Command) -> Result<(), Fault> {
    let (verb, instead) = match command {
        Command::Enter(_) => ("enter", "it needs a terminal; use the request 'terminal'"),
        Command::Console(_) => ("console", "it needs a terminal; use the request 'terminal'"),
        Command::Shell(_) => ("shell", "it needs a terminal; use 'ds shell' in a shell"),
        Command::Run(run) if run.tty => ("run", "it needs a terminal; leave '--tty' out"),
        Command::Start(start) if start.foreground => {
            ("start", "it needs a terminal; leave '--foreground' out")
        }
        Command::Rpc(_) => ("rpc", "a request cannot contain another one; send that one directly"),
        Command::Web(_) => ("web", "it is only available in a shell"),
        Command::Supervise(_) => ("supervise", "the supervisor runs; use 'supervisor reload'"),
        Command::Module(_) => ("module", "only the module's scripts call it; use the verb itself"),
        _ => return Ok(()),
    };
    Err(Fault::new("unsupported", &format!("{verb}: {instead}")))
}
