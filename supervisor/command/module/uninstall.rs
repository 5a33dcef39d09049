//! `ds module uninstall`, which `uninstall.sh` calls in the first boot after the module was removed.
//!
//! Owns the cleanup: it removes the links, and removes the data only if the user created the marker file. The boot
//! waits for this command, so a separate process deletes the data. setsid(2).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::unistd::setsid;

use super::links;
use super::manager::Manager;
use crate::call;
use crate::config::value::Name;
use crate::container::monitor;
use crate::daemon::detach;
use crate::exit::ExitCode;
use crate::paths::Paths;
use crate::storage::delete;
use crate::subprocess::release_streams;
use crate::sys::process::{Fork, exit_immediately, fork};

/// The file in the data directory that requests the removal of the data.
const MARKER: &str = "purge";

/// Removes the links, and starts to delete the data if requested.
///
/// # Errors
/// If containers are running, or a link cannot be removed.
pub fn run(paths: &Paths) -> Result<ExitCode> {
    for directory in [Manager::KernelSu, Manager::APatch].iter().filter_map(|manager| manager.programs()) {
        links::remove(Path::new(&directory))?;
    }
    if !paths.data.join(MARKER).exists() {
        return Ok(ExitCode::Done);
    }
    ensure_nothing_runs(paths)?;
    if matches!(call!(fork(), "fork")?, Fork::Child) {
        let done = leave().and_then(|()| purge(&paths.data));
        exit_immediately(i32::from(done.is_err()));
    }
    Ok(ExitCode::Done)
}

/// Some managers remove a module without a reboot.
fn ensure_nothing_runs(paths: &Paths) -> Result<()> {
    for entry in fs::read_dir(paths.run_containers()).into_iter().flatten() {
        let name: Option<Name> = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(name) = name else { continue };
        ensure!(
            monitor(paths, &name)?.is_none(),
            "container {name} is running, so nothing was deleted; stop it first"
        );
    }
    Ok(())
}

/// Leaves the process group and control group, which init kills when the manager's process ends.
fn leave() -> Result<()> {
    call!(setsid(), "setsid")?;
    release_streams()?;
    // The data is deleted even if one of these steps fails.
    let _ = detach::from_launcher(true);
    Ok(())
}

/// Deletes the data directory, the marker last.
fn purge(data: &Path) -> Result<()> {
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            delete::delete(&entry.path())?;
        } else if entry.file_name() != MARKER {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_file(data.join(MARKER))?;
    fs::remove_dir(data).context("remove the data directory")
}

#[cfg(test)]
mod tests {
    use super::{MARKER, purge};
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn everything_goes_and_nothing_outside() {
        let place = tempfile::tempdir().unwrap();
        let (data, outside) = (place.path().join("data"), place.path().join("outside"));
        fs::create_dir_all(data.join("containers/web/rootfs/etc")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("photo"), "").unwrap();
        symlink(&outside, data.join("containers/web/rootfs/sdcard")).unwrap();
        symlink(&outside, data.join("link")).unwrap();
        fs::write(data.join("supervisor.ini"), "").unwrap();
        fs::write(data.join(MARKER), "").unwrap();
        purge(&data).unwrap();
        assert!(!data.exists());
        assert!(outside.join("photo").exists());
    }
}
