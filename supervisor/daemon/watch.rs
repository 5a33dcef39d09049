//! Detects changes of containers' run directories, so that every monitor is connected.
//!
//! A command that starts a container closes its lock file once the monitor listens; this is the moment to connect.
//! Workers of this supervisor also report it; this module covers workers that have outlived their supervisor. If the
//! kernel has no inotify instance left, the supervisor works without it. inotify(7).

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::Result;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use crate::call;
use crate::config::value::Name;
use crate::paths::names_in;

/// The name of a container's lock file in its run directory.
const LOCK: &str = "lock";

/// The run directories of all containers.
#[derive(Debug)]
pub struct RunDirectories {
    inotify: Inotify,
    path: PathBuf,
    names: HashMap<WatchDescriptor, Name>,
}

/// The result of [`RunDirectories::changed`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Containers whose monitor may have started.
    pub names: BTreeSet<Name>,
    /// Events were lost: any container may have changed.
    pub lost: bool,
}

impl RunDirectories {
    /// Watches `path`, the parent of the containers' run directories, and its subdirectories.
    ///
    /// # Errors
    /// If no inotify instance is left, or the directory does not exist.
    pub fn watch(path: &Path) -> Result<Self> {
        let inotify = call!(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK), "inotify_init1")?;
        let events = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
        call!(inotify.add_watch(path, events), "inotify_add_watch({})", path.display())?;
        let mut directories = Self { inotify, path: path.to_owned(), names: HashMap::new() };
        for name in names_in(path) {
            directories.add(name);
        }
        Ok(directories)
    }

    /// Readable when a directory has changed.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// The changes since the last call.
    #[must_use]
    pub fn changed(&mut self) -> Changes {
        let mut changes = Changes::default();
        // Non-blocking: an error means that nothing can be read.
        for event in self.inotify.read_events().unwrap_or_default() {
            self.take(&event, &mut changes);
        }
        changes
    }

    fn take(&mut self, event: &InotifyEvent, changes: &mut Changes) {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            changes.lost = true;
        } else if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            self.names.remove(&event.wd);
        } else if let Some(name) = self.names.get(&event.wd) {
            if event.name.as_deref().is_some_and(|file| file == LOCK) {
                changes.names.insert(name.clone());
            }
        } else if let Some(name) = event.name.as_deref().and_then(|name| name.to_str()?.parse::<Name>().ok())
        {
            self.add(name.clone());
            // Its lock may have been taken and released before it was watched.
            changes.names.insert(name);
        }
    }

    fn add(&mut self, name: Name) {
        let events = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_ONLYDIR;
        // A directory that was removed again needs no watch.
        if let Ok(descriptor) = self.inotify.add_watch(&self.path.join(name.as_str()), events) {
            self.names.insert(descriptor, name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_released_lock_and_a_new_directory_are_reported() {
        let path = std::env::temp_dir().join(format!("ds-watch-{}", std::process::id()));
        fs::create_dir_all(path.join("old")).unwrap();
        let mut directories = RunDirectories::watch(&path).unwrap();
        assert_eq!(directories.changed(), Changes::default());
        let names = |list: &[&str]| Changes {
            names: list.iter().map(|name| name.parse().unwrap()).collect(),
            lost: false,
        };
        fs::write(path.join("old/lock"), "").unwrap();
        assert_eq!(directories.changed(), names(&["old"]));
        fs::write(path.join("old/last-exit"), "").unwrap();
        assert_eq!(directories.changed(), Changes::default());
        fs::create_dir(path.join("new")).unwrap();
        fs::create_dir(path.join(".not-a-name")).unwrap();
        assert_eq!(directories.changed(), names(&["new"]));
        fs::write(path.join("new/lock"), "").unwrap();
        assert_eq!(directories.changed(), names(&["new"]));
        fs::remove_dir_all(path.join("new")).unwrap();
        assert_eq!(directories.changed(), Changes::default());
        assert_eq!(directories.names.len(), 1);
        fs::remove_dir_all(&path).unwrap();
    }
}
