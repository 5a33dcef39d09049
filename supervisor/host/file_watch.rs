//! Detects changes of one file, also of one that is replaced by a rename, or whose link gets another target.
//!
//! Watches the directories of the file and of its target, and compares the file itself whenever it is asked: the user may
//! have no inotify instance left. inotify(7).

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::call;

/// Reports changes of a file.
#[derive(Debug)]
pub struct FileWatch {
    path: PathBuf,
    events: AddWatchFlags,
    inotify: Option<Inotify>,
    /// The names of the file and of its target.
    names: Vec<OsString>,
    /// Inode, time and size.
    identity: Option<(u64, i64, i64, u64)>,
}

impl FileWatch {
    /// Subscribes to these events of a file, and of the target if it is a link. If no instance is left, logs what is
    /// concerned.
    #[must_use]
    pub fn begin(path: &Path, events: AddWatchFlags, concerned: &str) -> Self {
        let inotify = call!(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK), "inotify_init1");
        let inotify = inotify.map_err(|error| {
            log::warn!("{concerned}: {error:#}; raise fs.inotify.max_user_instances");
        });
        let events = events | AddWatchFlags::IN_ONLYDIR;
        let (path, inotify) = (path.to_owned(), inotify.ok());
        let mut watch = Self { path, events, inotify, names: Vec::new(), identity: None };
        watch.subscribe();
        watch
    }

    fn subscribe(&mut self) {
        self.identity = self.identify();
        self.names.clear();
        let Some(inotify) = &self.inotify else { return };
        for path in fs::canonicalize(&self.path).iter().chain([&self.path]) {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            // A directory that is watched already keeps its watch.
            if let Err(errno) = inotify.add_watch(parent, self.events) {
                log::warn!("inotify_add_watch({}): {errno}", parent.display());
            }
            self.names.push(name.to_owned());
        }
    }

    fn identify(&self) -> Option<(u64, i64, i64, u64)> {
        let file = fs::metadata(&self.path).ok()?;
        Some((file.ino(), file.mtime(), file.mtime_nsec(), file.size()))
    }

    /// Readable after a change in one of the directories.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Whether the file has changed since the last call; `None` if nothing in its directory has. Also detects what
    /// caused no event, if it is called after other events.
    pub fn changed(&mut self) -> Option<bool> {
        // Non-blocking: an error means that nothing can be read.
        let events = self.inotify.as_ref().and_then(|inotify| inotify.read_events().ok());
        // An event without a name stands for events that were lost.
        let is_ours = |name: &OsString| self.names.contains(name);
        let changed = events.iter().flatten().any(|event| event.name.as_ref().is_none_or(is_ours));
        if changed || self.identity != self.identify() {
            // The link may have a new target.
            self.subscribe();
            return Some(true);
        }
        events.map(|_| false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_file_and_what_it_leads_to_are_heard_of_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let (etc, run) = (directory.path().join("etc"), directory.path().join("run"));
        fs::create_dir(&etc).unwrap();
        fs::create_dir(&run).unwrap();
        let file = etc.join("resolv.conf");
        fs::write(&file, "a").unwrap();
        let events = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO;
        let mut watch = FileWatch::begin(&file, events, "test");
        let mut changed = || watch.changed().unwrap_or_default();
        fs::write(etc.join("hosts"), "x").unwrap();
        assert!(!changed());
        fs::write(etc.join("new"), "b").unwrap();
        fs::rename(etc.join("new"), &file).unwrap();
        assert!(changed() && !changed());
        fs::remove_file(&file).unwrap();
        fs::write(run.join("resolv.conf"), "c").unwrap();
        symlink("../run/resolv.conf", &file).unwrap();
        assert!(changed());
        fs::write(run.join("resolv.conf"), "d").unwrap();
        assert!(changed() && !changed());
    }
}
