//! `ds import`: creates a container from a file that `ds export` wrote. `storage::import` does the work.

use anyhow::{Context, Result};
use serde_json::json;

use super::forget;
use super::progress::Progress;
use crate::cli;
use crate::config::value::Name;
use crate::exit::ExitCode;
use crate::storage::import::import;
use crate::storage::source::{ArchiveSource, Place};
use crate::worker::Env;

/// Creates a container from a file or from standard input.
///
/// # Errors
/// If the file is incomplete or has another format; no container is then created.
pub fn run(arguments: &cli::Import, env: &Env) -> Result<ExitCode> {
    let name: Name = arguments.name.parse()?;
    let source = ArchiveSource::open(&env.client, &place(env, &arguments.file)?)?;
    let mut progress = Progress::new(arguments.json);
    let imported = import(&env.paths, &env.client, &source, &name, &mut |event| progress.show(event));
    forget(env, &name);
    imported.with_context(|| arguments.file.display().to_string())?;
    progress.done(&json!({ "event": "imported", "name": name }), &format!("{name} imported\n"))
}

/// A file, or `-` for standard input.
///
/// # Errors
/// A relative path, if the working directory no longer exists.
pub fn place(env: &Env, file: &std::path::Path) -> Result<Place> {
    Ok(if file.as_os_str() == "-" { Place::Input } else { Place::File(env.path(file)?) })
}
