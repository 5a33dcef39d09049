//! `ds pull`: downloads a root file system into the cache and can unpack it into a directory. `catalogue` does the
//! work.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::Env;
use super::login::login;
use super::progress::Progress;
use crate::catalogue::address::check_address;
use crate::catalogue::choose::{Query, architecture};
use crate::cli;
use crate::exit::ExitCode;
use crate::storage::remote::{Remote, Wanted};
use crate::storage::source::ArchiveSource;
use crate::storage::unpacked::{Target, unpack};

/// The well-known default password of getroot; no other password is ever printed.
const KNOWN: &str = "1";

/// Downloads and verifies the given system, and unpacks it if requested.
///
/// # Errors
/// If the download fails, or the directory already exists.
pub fn run(arguments: &cli::Pull, env: &Env) -> Result<ExitCode> {
    let source = &arguments.source;
    // Only `ds create` also takes paths.
    let name = if source.contains("://") { source.clone() } else { source.replace('/', ":") };
    let wanted =
        wanted(&name, arguments.arch.as_deref(), arguments.sha256.as_deref())?.with_context(|| {
            format!("'{source}' is neither the name of an image nor an address; see 'ds images'")
        })?;
    let mut progress = Progress::new(arguments.json);
    if matches!(wanted, Wanted::Address(_, None)) {
        progress.note(&unverified(source));
    }
    let remote = Remote::find(env, wanted, &mut |event| progress.show(event))?;
    let name = remote.item.source.clone();
    let Some(directory) = directory(arguments, env, &name)? else {
        let sha256 = remote.pull(env, &mut |event| progress.show(event))?;
        let event = json!({ "event": "pulled", "source": name, "sha256": sha256 });
        return progress.done(&event, &format!("{name} is in the cache\n"));
    };
    ensure!(
        directory.symlink_metadata().is_err(),
        "{} already exists; choose another directory",
        directory.display()
    );
    let cli::Pull { password, password_file, ssh_key, user, .. } = arguments;
    let login = login(env, password.as_deref(), password_file.as_deref(), ssh_key, user.as_deref())?;
    let target = Target {
        directory: &directory,
        login: &login,
        name_server: arguments.dns.map(|address| address.to_string()),
    };
    unpack(env, &ArchiveSource::of_server(remote), &target, &mut |event| progress.show(event))?;
    if login.password.as_deref() == Some(KNOWN) {
        progress.note(&format!(
            "root's password is '{KNOWN}'; change it with 'passwd' before you start a service"
        ));
    }
    let event = json!({ "event": "unpacked", "source": name, "directory": directory });
    progress.done(&event, &format!("{name} is in {}\n", directory.display()))
}

/// The meaning of a word: an address, or a name of the catalogue; `None` for anything else.
///
/// # Errors
/// An invalid address or name, or an option that does not apply.
pub fn wanted(source: &str, arch: Option<&str>, sha256: Option<&str>) -> Result<Option<Wanted>> {
    if source.starts_with("https://") || source.starts_with("http://") {
        ensure!(arch.is_none(), "--arch is only valid with a system of the catalogue");
        check_address(source)?;
        return Ok(Some(Wanted::Address(source.to_owned(), sha256.map(str::to_owned))));
    }
    if !crate::catalogue::choose::is_name(source) {
        return Ok(None);
    }
    ensure!(sha256.is_none(), "--sha256 is only valid with an address; the catalogue has its own checksums");
    let architecture = arch.unwrap_or_else(|| architecture()).to_owned();
    Ok(Some(Wanted::Image(Query::parse(source)?, architecture)))
}

/// The warning about a download without a checksum.
#[must_use]
pub fn unverified(address: &str) -> String {
    format!(
        "{address}: without a checksum, only the server's certificate authenticates the file; add --sha256"
    )
}

/// The directory to unpack into, if any.
fn directory(arguments: &cli::Pull, env: &Env, name: &str) -> Result<Option<PathBuf>> {
    if let Some(output) = &arguments.output {
        return env.path(output).map(Some);
    }
    if !arguments.unpack {
        return Ok(None);
    }
    // `debian:trixie (20260821_05:24)`
    let plain = name.split(' ').next().unwrap_or_default().replace(':', "_");
    if plain.is_empty() || plain.contains('/') {
        bail!("--unpack needs the name of a system; for an address, use --output DIR");
    }
    env.path(Path::new(&plain)).map(Some)
}
