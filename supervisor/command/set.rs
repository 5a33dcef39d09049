//! `ds set`: changes a container's configuration; keeps comments and order.

use std::fs::File;
use std::io::{self, Read};

use anyhow::{Context, Result, ensure};

use super::assignments;
use super::state::existing;
use crate::cli;
use crate::config::Config;
use crate::container::Lock;
use crate::daemon::guard;
use crate::durable;
use crate::exit::ExitCode;
use crate::network;
use crate::worker::Env;

/// Maximum size of a new configuration file, in bytes.
const LONGEST: u64 = 1 << 20;

/// Writes or only checks the new values. They take effect at the next start of the container; published ports and
/// access rules take effect immediately.
///
/// # Errors
/// If there is no such container or key, or a value is not valid; nothing is then changed.
pub fn run(arguments: &cli::Set, env: &Env) -> Result<ExitCode> {
    let name = existing(env, &arguments.name)?;
    let file = env.paths.container_ini(&name);
    let settings = assignments(&arguments.assignments);
    let text = text(arguments, env)?;
    let check = || {
        let planned = match &text {
            Some(text) => Config::replace(&file, &name, text, false)?,
            None => Config::try_edit(&file, &name, &settings)?,
        };
        network::check(&planned, Config::load(&file, &name).ok().as_ref(), &env.paths)
    };
    if arguments.dry_run {
        return check().map(|()| ExitCode::Done);
    }
    let _lock = Lock::take_for(&env.paths, &env.client, &name)?;
    check()?;
    let before = durable::read(&file, u64::MAX).with_context(|| format!("read {}", file.display()))?;
    let config = match &text {
        Some(text) => Config::replace(&file, &name, text, true)?,
        None => Config::edit(&file, &name, &settings)?,
    };
    if let Err(error) = network::follow(&env.paths, &config) {
        // Its network and its configuration are unchanged.
        durable::write(&file, &before, 0o600).with_context(|| format!("write {}", file.display()))?;
        return Err(error);
    }
    let autostart = |key: &str| key.trim_start_matches("container.") == "autostart";
    if text.is_some() || settings.iter().any(|(key, _)| autostart(key)) {
        // A user who sets this has presumably fixed the cause.
        guard::forgive(&env.paths, &name);
    }
    Ok(ExitCode::Done)
}

/// The text of the whole configuration, if one is given.
fn text(arguments: &cli::Set, env: &Env) -> Result<Option<Vec<u8>>> {
    let Some(path) = &arguments.file else { return Ok(None) };
    let mut text = Vec::new();
    if path.as_os_str() == "-" {
        io::stdin().take(LONGEST + 1).read_to_end(&mut text).context("read standard input")?;
    } else {
        let path = env.path(path)?;
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        file.take(LONGEST + 1).read_to_end(&mut text).with_context(|| format!("read {}", path.display()))?;
    }
    ensure!(text.len() as u64 <= LONGEST, "a configuration file has at most {LONGEST} bytes");
    Ok(Some(text))
}
