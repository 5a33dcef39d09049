//! The names of `ds` in a search path: symbolic links to the program in the installed module.
//!
//! Owns these links. It replaces its own links and never another file. The links point to the module's own directory,
//! where the program arrives at the next boot, so an update never changes a running program. symlink(2), rename(2).

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result};

use super::place::{ID, MANAGERS};
use crate::cli::compat::Tool;

/// All names, first that of the program.
pub const NAMES: [&str; 4] = ["ds", Tool::Droidspaces.name(), Tool::Nspawn.name(), Tool::Getroot.name()];

/// The program in the installed module.
pub fn program() -> PathBuf {
    Path::new(MANAGERS).join("modules").join(ID).join("bin/ds")
}

/// Creates the links in `directory`, except for names that another program has there or in `shadowed`, which the links
/// would hide. Returns those names.
///
/// # Errors
/// If the directory or a link cannot be created.
pub fn make(directory: &Path, shadowed: Option<&Path>) -> Result<Vec<&'static str>> {
    if !directory.is_dir() {
        // Installers run with umask 0.
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .and_then(|()| fs::set_permissions(directory, Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let mut taken = Vec::new();
    for name in NAMES {
        let link = directory.join(name);
        if is_foreign(&link) || shadowed.is_some_and(|shadowed| is_foreign(&shadowed.join(name))) {
            taken.push(name);
            continue;
        }
        let new = directory.join(format!(".{name}-{}", process::id()));
        symlink(program(), &new)
            .and_then(|()| fs::rename(&new, &link))
            .with_context(|| format!("cannot create {}", link.display()))?;
    }
    Ok(taken)
}

/// Removes our own links.
///
/// # Errors
/// If one cannot be removed.
pub fn remove(directory: &Path) -> Result<()> {
    for name in NAMES {
        let link = directory.join(name);
        if is_ours(&link) {
            fs::remove_file(&link).with_context(|| format!("cannot remove {}", link.display()))?;
        }
    }
    Ok(())
}

fn is_ours(link: &Path) -> bool {
    fs::read_link(link).is_ok_and(|target| target == program())
}

/// Whether the file exists and is not our own link.
fn is_foreign(path: &Path) -> bool {
    let exists = match path.symlink_metadata() {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    };
    exists && !is_ours(path)
}

#[cfg(test)]
mod tests {
    use super::{NAMES, make, program, remove};
    use std::fs;

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let (bin, system) = (place.path().join("ksu/bin"), place.path().join("system"));
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir(&system).unwrap();
        fs::write(bin.join("nspawn"), "").unwrap();
        fs::write(system.join("getroot"), "").unwrap();
        for _ in 0..2 {
            assert_eq!(make(&bin, Some(&system)).unwrap(), ["nspawn", "getroot"]);
        }
        assert_eq!(fs::read_link(bin.join("ds")).unwrap(), program());
        assert_eq!(fs::read_dir(&bin).unwrap().count(), 3, "nothing temporary is left");
        remove(&bin).unwrap();
        let left: Vec<_> = fs::read_dir(&bin).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["nspawn"]);
    }

    #[test]
    fn a_missing_directory_is_made() {
        let place = tempfile::tempdir().unwrap();
        let bin = place.path().join("system/bin");
        assert!(make(&bin, None).unwrap().is_empty());
        assert_eq!(fs::read_dir(&bin).unwrap().count(), NAMES.len());
        remove(&place.path().join("not-there")).unwrap();
    }
}
