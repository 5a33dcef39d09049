//! The record of changes on the host for containers, so that the change is undone when the last of them ends.
//!
//! Owns `run/changes`: a directory for each change, with an empty file for each container that uses it. It is on a
//! tmpfs, like the changes: both end at a reboot.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::config::value::Name;
use crate::durable;
use crate::paths::{self, Paths};

/// Records that a container uses a change; must be called before the change is made.
///
/// # Errors
/// If the run directory cannot be written.
pub fn rely(paths: &Paths, change: &str, container: &Name) -> Result<()> {
    let directory = paths.changes().join(change);
    paths::create_private(&directory)?;
    let file = directory.join(container.as_str());
    durable::replace(&file, b"", 0o600).with_context(|| format!("write {}", file.display()))
}

/// Removes a container from the records; returns the changes that are no longer used, to be undone and then
/// [`forget`]ed.
#[must_use]
pub fn leave(paths: &Paths, container: &Name) -> Vec<String> {
    let changes = entries(&paths.changes());
    let left = |change: &PathBuf| {
        fs::remove_file(change.join(container.as_str())).is_ok() && entries(change).is_empty()
    };
    let names = changes.into_iter().filter(left);
    names.filter_map(|change| Some(change.file_name()?.to_str()?.to_owned())).collect()
}

/// Removes the record of an undone change.
pub fn forget(paths: &Paths, change: &str) {
    // A container that uses it since then keeps it.
    let _ = fs::remove_dir(paths.changes().join(change));
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_who_leaves_takes_it_back() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::below(directory.path());
        let (web, db): (Name, Name) = ("web".parse().unwrap(), "db".parse().unwrap());
        rely(&paths, "storage-a", &web).unwrap();
        rely(&paths, "storage-a", &db).unwrap();
        rely(&paths, "storage-b", &db).unwrap();
        assert!(leave(&paths, &web).is_empty());
        assert!(leave(&paths, &web).is_empty());
        let mut undone = leave(&paths, &db);
        undone.sort();
        assert_eq!(undone, ["storage-a", "storage-b"]);
        undone.iter().for_each(|change| forget(&paths, change));
        assert!(entries(&paths.changes()).is_empty());
    }
}
