//! `ds create`: a new container on a root file system that is there already.
//!
//! Owns the order that leaves no half of a container: everything is checked, then its directory is made, and what
//! fails after that takes it away again.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::{Env, assignments, forget, output, print};
use crate::cli::{self, Source};
use crate::config::Config;
use crate::config::value::Name;
use crate::container::Lock;
use crate::exit::ExitCode;
use crate::rootfs::image::inspect;

/// Makes the container that a command line describes.
///
/// # Errors
/// When there is one of that name, its root file system is no directory, or a value is not valid.
pub fn run(arguments: &cli::Create, env: &Env) -> Result<ExitCode> {
    let name = create(arguments, env)?;
    if arguments.json {
        return output::json(&serde_json::json!({ "event": "created", "name": name }));
    }
    print(&mut io::stdout(), &format!("{name} created\n"))
}

/// Makes the container and says nothing.
///
/// # Errors
/// As for [`run`].
pub fn create(arguments: &cli::Create, env: &Env) -> Result<Name> {
    let name: Name = arguments.name.parse()?;
    let (key, root) = match arguments.source() {
        Some(Source::Directory(path)) => ("rootfs", directory(env, &path)?),
        Some(Source::Image(path)) => ("image", image(env, &path)?),
        Some(Source::Archive(_)) => bail!("archives are not there yet; use --rootfs DIR or --image FILE"),
        None => bail!("no root file system; use --rootfs DIR or --image FILE"),
    };
    let mut settings = vec![(key, root.as_str())];
    settings.extend(assignments(&arguments.set));
    let made = make(env, &name, &settings);
    forget(env, &name);
    made.map(|()| name)
}

fn make(env: &Env, name: &Name, settings: &[(&str, &str)]) -> Result<()> {
    let _lock = Lock::take(&env.paths, name)?;
    let place = env.paths.container(name);
    match DirBuilder::new().mode(0o700).create(&place) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("there is a container of this name; choose another, or change it with 'ds set'")
        }
        other => other.with_context(|| format!("create {}", place.display()))?,
    }
    if let Err(error) = Config::create(&env.paths.container_ini(name), name, settings) {
        // It is empty, or holds what we have just made.
        let _ = fs::remove_dir_all(&place);
        return Err(error.into());
    }
    Ok(())
}

/// The directory as an absolute path without links, so that it means the same from everywhere.
fn directory(env: &Env, path: &Path) -> Result<String> {
    let path = env.path(path)?;
    let resolved: PathBuf =
        fs::canonicalize(&path).with_context(|| format!("the root file system {}", path.display()))?;
    ensure!(resolved.is_dir(), "the root file system {} is not a directory", resolved.display());
    ensure!(
        resolved != Path::new("/"),
        "the host's own root directory cannot be a container; use another one"
    );
    text_of(resolved)
}

/// The image or block device as an absolute path without links. What no container could use is refused here already.
fn image(env: &Env, path: &Path) -> Result<String> {
    let path = env.path(path)?;
    let named = || format!("the image {}", path.display());
    let resolved = fs::canonicalize(&path).with_context(named)?;
    inspect(&resolved).and_then(|facts| facts.usable()).with_context(named)?;
    text_of(resolved)
}

fn text_of(path: PathBuf) -> Result<String> {
    let text = path.into_os_string().into_string();
    text.map_err(|path| anyhow!("the root file system {} has a name that is not UTF-8", path.display()))
}
