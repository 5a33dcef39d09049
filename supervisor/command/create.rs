//! `ds create`: creates a container with an existing root file system or with a new one.
//!
//! Owns the checks of the root file system on the command line. `storage` creates the container.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::login::login;
use super::progress::Progress;
use super::pull::{unverified, wanted};
use super::{assignments, place};
use crate::catalogue::choose::is_name;
use crate::cli::{self, Create, RootOption};
use crate::config::value::Name;
use crate::container::forget;
use crate::exit::ExitCode;
use crate::rootfs::image::inspect;
use crate::rootfs::login::Login;
use crate::rootfs::superblock::FileSystem;
use crate::storage;
use crate::storage::create::Creation;
use crate::storage::remote::{Remote, Wanted};
use crate::storage::source::{ArchiveSource, Place};
use crate::worker::Env;

/// Creates the container that a command line describes.
///
/// # Errors
/// If the name is taken, the root file system is not usable, or a value is not valid.
pub fn run(arguments: &cli::Create, env: &Env) -> Result<ExitCode> {
    let mut progress = Progress::new(arguments.json);
    let name = create(arguments, env, &mut progress)?;
    progress.done(&serde_json::json!({ "event": "created", "name": name }), &format!("{name} created\n"))
}

/// Creates the container. Prints only its progress.
///
/// # Errors
/// As for [`run`].
pub fn create(arguments: &cli::Create, env: &Env, progress: &mut Progress) -> Result<Name> {
    let name: Name = arguments.name.parse()?;
    let settings = assignments(&arguments.set);
    let Create { password, password_file, ssh_key, user, .. } = arguments;
    let login = login(env, password.as_deref(), password_file.as_deref(), ssh_key, user.as_deref())?;
    let mut in_place = |key: &str, root: &str| {
        in_place(env, &name, &[&[(key, root)], &settings[..]].concat(), &login, progress)
    };
    let made = match arguments.source() {
        Some(RootOption::Directory(path)) => in_place("rootfs", &directory(env, &path)?),
        Some(RootOption::Image(path)) => in_place("image", &image(env, &path, &settings)?),
        Some(RootOption::Archive(source)) => {
            unpacked(env, &name, &source, arguments, (&settings, &login), progress)
        }
        None => bail!("no root file system; give --rootfs DIR, --image FILE or --from SRC"),
    };
    forget(&env.paths, &name);
    made.map(|()| name)
}

/// A container with its own root file system, from an archive or the catalogue.
fn unpacked(
    env: &Env,
    name: &Name,
    from: &str,
    arguments: &cli::Create,
    (settings, login): (&[(&str, &str)], &Login),
    progress: &mut Progress,
) -> Result<()> {
    let source = source(env, from, arguments, progress)?;
    let creation =
        Creation { name, source: &source, size: arguments.size, settings, login, packed_only: false };
    storage::create::create(env, &creation, &mut |event| progress.show(event))
}

/// The file of this name if it exists, otherwise a download. If a name of the catalogue is also that of a file or
/// directory, a note says which one is used. No archive is a directory, so a directory is never used.
fn source(env: &Env, from: &str, arguments: &cli::Create, progress: &mut Progress) -> Result<ArchiveSource> {
    let (arch, sha256) = (arguments.arch.as_deref(), arguments.sha256.as_deref());
    let place = place(env, Path::new(from))?;
    let (is_file, is_directory) = match &place {
        Place::File(path) => (path.symlink_metadata().is_ok(), path.is_dir()),
        Place::Input => (true, false),
    };
    let is_named = is_name(from);
    let is_file = is_file && !(is_directory && is_named);
    if is_named && is_directory {
        progress.note(&format!(
            "{from}: an image of the catalogue, not the directory; for that, write --rootfs {from}"
        ));
    } else if is_named && is_file {
        progress.note(&format!(
            "{from}: the file, not an image of the catalogue; for that, write {from}:default"
        ));
    }
    let wanted = if is_file { None } else { wanted(from, arch, sha256)? };
    let Some(wanted) = wanted else {
        ensure!(
            is_file || !is_name(&from.replace('/', ":")),
            "{from}: no such file; a name of the catalogue has colons, such as debian:13"
        );
        ensure!(
            arch.is_none() && sha256.is_none(),
            "--arch and --sha256 are only valid for a download, not for a file"
        );
        return ArchiveSource::open(&env.client, &place);
    };
    if matches!(wanted, Wanted::Address(_, None)) {
        progress.note(&unverified(from));
    }
    Ok(ArchiveSource::of_server(Remote::find(env, wanted, &mut |event| progress.show(event))?))
}

fn in_place(
    env: &Env,
    name: &Name,
    settings: &[(&str, &str)],
    login: &Login,
    progress: &mut Progress,
) -> Result<()> {
    if login.is_empty() {
        return storage::create::in_place(env, name, settings);
    }
    storage::create::in_place_with(env, name, settings, login, &mut |event| progress.show(event))
}

/// The directory as an absolute path without links, which does not depend on the working directory.
fn directory(env: &Env, path: &Path) -> Result<String> {
    let resolved = existing("the root file system", &env.path(path)?)?;
    ensure!(resolved.is_dir(), "the root file system {} is not a directory", resolved.display());
    ensure!(
        resolved != Path::new("/"),
        "the host's own root directory cannot be a container; use another one"
    );
    text_of(resolved)
}

/// The absolute path of an existing file without links.
fn existing(what: &str, path: &Path) -> Result<PathBuf> {
    let shown = path.display();
    fs::canonicalize(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!("{what} {shown} does not exist"),
        _ => anyhow!(error).context(format!("{what} {shown}")),
    })
}

/// The image or block device as an absolute path without links. Refuses files that no container can use.
fn image(env: &Env, path: &Path, settings: &[(&str, &str)]) -> Result<String> {
    let path = env.path(path)?;
    let named = || format!("the image {}", path.display());
    let resolved = existing("the image", &path)?;
    let wanted =
        settings.iter().rev().find(|(key, _)| ["image-partition", "container.image-partition"].contains(key));
    // The check of the configuration refuses a value that is not a number.
    let wanted = wanted.and_then(|(_, value)| value.parse().ok());
    let facts = inspect(&resolved, wanted).with_context(named)?;
    if matches!(facts.system, FileSystem::Foreign(_)) {
        refuse_packed(env, &resolved).with_context(named)?;
    }
    facts.usable().with_context(named)?;
    text_of(resolved)
}

/// Suggests the right option for an archive or a compressed image.
fn refuse_packed(env: &Env, path: &Path) -> Result<()> {
    // A compression that ds cannot unpack is not named.
    let source = ArchiveSource::open(&env.client, &Place::File(path.to_owned()))?;
    let Ok(mut incoming) = source.stream(None) else { return Ok(()) };
    let compression = incoming.compression();
    let front = incoming.front().unwrap_or_default();
    let with = compression.map(|name| format!(", compressed with {name}")).unwrap_or_default();
    if storage::diagnosis::is_tar(front) {
        bail!("it is a tar archive{with}; use it with --from, and with --size for an image of its own");
    }
    if let (Some(_), Some(told)) = (compression, storage::diagnosis::of_front(front, compression)) {
        bail!("it is compressed: {told}");
    }
    Ok(())
}

fn text_of(path: PathBuf) -> Result<String> {
    let text = path.into_os_string().into_string();
    text.map_err(|path| anyhow!("the root file system {} has a name that is not UTF-8", path.display()))
}
