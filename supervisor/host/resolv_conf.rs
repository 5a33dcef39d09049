//! The host's resolv.conf(5), and the detection of changes. inotify(7).
//!
//! Network managers replace the file, or the target of its link, by a rename; both directories are watched.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::call;

/// Its path.
pub const PATH: &str = "/etc/resolv.conf";

/// Reports changes.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    inotify: Inotify,
    names: Vec<(WatchDescriptor, OsString)>,
}

impl Watch {
    /// Subscribes to changes of a file, and of the target if it is a link.
    ///
    /// # Errors
    /// If the limit of inotify instances is reached, or the directory does not exist.
    pub fn begin(path: &Path) -> Result<Self> {
        let inotify = call!(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK), "inotify_init1")?;
        let mut watch = Self { path: path.to_owned(), inotify, names: Vec::new() };
        watch.add(path)?;
        if let Ok(target) = fs::canonicalize(path)
            && target != path
        {
            watch.add(&target)?;
        }
        Ok(watch)
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let events = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ONLYDIR;
        let parent = path.parent().unwrap_or(Path::new("/"));
        let name = path.file_name().context("it has no name")?;
        let added = call!(self.inotify.add_watch(parent, events), "inotify_add_watch({})", parent.display())?;
        self.names.push((added, name.to_owned()));
        Ok(())
    }

    /// Readable after a change in one of the directories.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Reads the pending events; returns whether the file has changed.
    pub fn changed(&mut self) -> bool {
        let is_ours = |descriptor: WatchDescriptor, name: Option<&OsStr>| {
            self.names.iter().any(|(one, own)| *one == descriptor && name == Some(own.as_os_str()))
        };
        let events = self.inotify.read_events().unwrap_or_default();
        let changed = events.iter().any(|event| is_ours(event.wd, event.name.as_deref()));
        // The link may have a new target.
        if changed && let Ok(new) = Self::begin(&self.path) {
            *self = new;
        }
        changed
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
        let mut watch = Watch::begin(&file).unwrap();
        fs::write(etc.join("hosts"), "x").unwrap();
        assert!(!watch.changed());
        fs::write(etc.join("new"), "b").unwrap();
        fs::rename(etc.join("new"), &file).unwrap();
        assert!(watch.changed() && !watch.changed());
        fs::remove_file(&file).unwrap();
        fs::write(run.join("resolv.conf"), "c").unwrap();
        symlink("../run/resolv.conf", &file).unwrap();
        assert!(watch.changed());
        fs::write(run.join("resolv.conf"), "d").unwrap();
        assert!(watch.changed() && !watch.changed());
    }
}
