//! What was changed on the host for containers, and for whom: so that the last one who leaves takes it back.
//!
//! A directory for each change below `run/changes`, in it an empty file for each container that relies on it. On a
//! tmpfs as the changes themselves: both end with the machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::config::value::Name;
use crate::durable;
use crate::paths::{self, Paths};

/// Writes down that a container relies on a change; before the change is made.
///
/// # Errors
/// When the run directory cannot be written.
pub fn rely(paths: &Paths, change: &str, container: &Name) -> Result<()> {
    let directory = paths.changes().join(change);
    paths::create_private(&directory).with_context(|| format!("create {}", directory.display()))?;
    let file = directory.join(container.as_str());
    durable::write(&file, b"", 0o600).with_context(|| format!("write {}", file.display()))
}

/// Forgets a container; returns the changes that nobody relies on any more, to be undone and then [`forget`]ed.
#[must_use]
pub fn leave(paths: &Paths, container: &Name) -> Vec<String> {
    let changes = entries(&paths.changes());
    let left = |change: &PathBuf| {
        fs::remove_file(change.join(container.as_str())).is_ok() && entries(change).is_empty()
    };
    let names = changes.into_iter().filter(left);
    names.filter_map(|change| Some(change.file_name()?.to_str()?.to_owned())).collect()
}

/// Removes the record of a change that was undone.
pub fn forget(paths: &Paths, change: &str) {
    // Somebody who relies on it since then keeps it.
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
