//! `ds copy`: copies a stopped container. `storage::copy` does the work.

use anyhow::Result;
use serde_json::json;

use super::progress::Progress;
use super::state::existing;
use crate::cli;
use crate::config::value::Name;
use crate::container::forget;
use crate::exit::ExitCode;
use crate::storage::copy::copy;
use crate::worker::Env;

/// Copies a stopped container.
///
/// # Errors
/// If the copy fails; no copy is then left behind.
pub fn run(arguments: &cli::Copy, env: &Env) -> Result<ExitCode> {
    let from = existing(env, &arguments.name)?;
    let to: Name = arguments.new_name.parse()?;
    let mut progress = Progress::new(arguments.json);
    let copied = copy(env, &from, &to, &mut |event| progress.show(event));
    forget(&env.paths, &to);
    if copied? {
        progress.note(&format!("autostart is off for {to}; to turn it on, run 'ds set {to} autostart=yes'"));
    }
    progress
        .done(&json!({ "event": "copied", "name": to, "from": from }), &format!("{from} copied to {to}\n"))
}
