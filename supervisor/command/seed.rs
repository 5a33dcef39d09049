//! `ds seed`: seeds the root file system of a stopped container, or undoes it. `storage::seed` does the work.

use std::fmt::Write;
use std::io;

use anyhow::Result;

use super::print;
use super::progress::Progress;
use super::state::existing;
use crate::cli;
use crate::exit::ExitCode;
use crate::storage::seed::{Wanted, seed};
use crate::worker::Env;

/// Seeds a container and prints the changed files.
///
/// # Errors
/// If it is running, or its root file system cannot be used.
pub fn run(arguments: &cli::Seed, env: &Env) -> Result<ExitCode> {
    let name = existing(env, &arguments.name)?;
    let mut progress = Progress::new(false);
    let wanted = Wanted { undo: arguments.undo, dry_run: arguments.dry_run };
    let done = seed(env, &name, wanted, &mut |event| progress.show(event))?;
    let mut text = String::new();
    if let Some(why) = done.unknown {
        writeln!(text, "{name}: {why}")?;
    } else if done.changed.is_empty() {
        writeln!(text, "{name}: nothing to change")?;
    }
    let verb = match (arguments.undo, arguments.dry_run) {
        (false, false) => "changed",
        (false, true) => "would change",
        (true, false) => "restored",
        (true, true) => "would restore",
    };
    for file in done.changed {
        writeln!(text, "{verb} {file}")?;
    }
    print(&mut io::stdout(), &text)?;
    Ok(ExitCode::Done)
}
