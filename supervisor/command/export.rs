//! `ds export`: exports a stopped container to one file. `storage::export` does the work.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::progress::Progress;
use super::state::existing;
use crate::cli;
use crate::exit::ExitCode;
use crate::screen;
use crate::storage::export::{Target, export};
use crate::worker::Env;

/// Exports a stopped container to a file or to standard output.
///
/// # Errors
/// If the export fails. An incomplete file is removed, and an existing one is unchanged.
pub fn run(arguments: &cli::Export, env: &Env) -> Result<ExitCode> {
    let name = existing(env, &arguments.name)?;
    let target = match &arguments.output {
        Some(file) if file.as_os_str() == "-" => Target::Output,
        file => {
            let file = file.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.tar.zst")));
            Target::File { path: env.path(&file)?, replace: arguments.force }
        }
    };
    let mut progress = Progress::new(arguments.json);
    export(env, &name, &target, &mut |event| progress.show(event))?;
    match target {
        // Standard output carries the export itself.
        Target::Output => {
            progress.clear();
            Ok(ExitCode::Done)
        }
        Target::File { path, .. } => {
            let text = format!("{name} exported to {}\n", screen::line(&path.to_string_lossy()));
            progress.done(&json!({ "event": "exported", "name": name, "path": path }), &text)
        }
    }
}
