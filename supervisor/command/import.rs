//! `ds import`: creates a container from a file that `ds export` wrote. `storage::import` does the work.

use anyhow::{Context, Result};
use serde_json::json;

use super::login::login;
use super::place;
use super::progress::Progress;
use crate::cli;
use crate::config::value::Name;
use crate::container::forget;
use crate::exit::ExitCode;
use crate::storage::create::{Creation, create};
use crate::storage::import::{import, is_exported};
use crate::storage::job::JobEvent;
use crate::storage::source::ArchiveSource;
use crate::worker::Env;

/// Creates a container from a file or from standard input.
///
/// # Errors
/// If the file is incomplete or has another format; no container is then created.
pub fn run(arguments: &cli::Import, env: &Env) -> Result<ExitCode> {
    let name: Name = arguments.name.parse()?;
    let place = place(env, &arguments.file)?;
    let mut source = ArchiveSource::open(&env.client, &place)?;
    let exported = is_exported(&env.client, &mut source)?;
    let cli::Import { password, password_file, ssh_key, user, .. } = arguments;
    let login = login(env, password.as_deref(), password_file.as_deref(), ssh_key, user.as_deref())?;
    let mut progress = Progress::new(arguments.json);
    let mut watcher = |event: &JobEvent| progress.show(event);
    let imported = if exported {
        import(env, &source, &name, &login, &mut watcher)
    } else {
        let (settings, login) = (&[], &login);
        let creation =
            Creation { name: &name, source: &source, size: None, settings, login, packed_only: true };
        create(env, &creation, &mut watcher)
    };
    forget(&env.paths, &name);
    imported.with_context(|| arguments.file.display().to_string())?;
    progress.done(&json!({ "event": "imported", "name": name }), &format!("{name} imported\n"))
}
