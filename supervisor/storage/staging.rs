//! Staging directories, in which a result is prepared before it is moved into place, and their removal after a crash.
//!
//! Owns their names: `containers/.new-NAME-HEX` for a new container, `containers/.trash-NAME-PID` for one that is being
//! deleted, and `.ds-job-HEX` next to a file that is replaced. All are locked (flock(2)) while any process of the job
//! lives, so that a sweep removes only abandoned ones. None is a valid name of a container. rename(2), fsync(2).

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, renameat};

use super::delete::delete;
use super::mounted::PLACE;
use crate::call;
use crate::config::value::Name;
use crate::durable;
use crate::monitor::last_exit;
use crate::paths::Paths;
use crate::sys::descriptor::try_lock;
use crate::sys::rename::rename_no_replace;

/// Prefix of the directories of new containers.
pub const NEW: &str = ".new-";
/// Prefix of the directories for changes.
pub const JOB: &str = ".ds-job-";
/// Prefix of the directories of deleted containers.
const TRASH: &str = ".trash-";
/// The number of attempts if a name is taken, or a sweep removes the directory before it is locked.
const ATTEMPTS: usize = 16;

/// A directory that is deleted when dropped, unless it has become a container.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    _lock: File,
    published: bool,
}

impl Staging {
    /// Creates one for a new container.
    ///
    /// # Errors
    /// If the directory of the containers is not writable.
    pub fn for_new(paths: &Paths, name: &Name) -> Result<Self> {
        Self::make(&paths.containers(), &format!("{NEW}{name}-"))
    }

    /// Creates one for a replacement of a file in `directory`.
    ///
    /// # Errors
    /// If the directory is not writable.
    pub fn beside(directory: &Path) -> Result<Self> {
        Self::make(directory, JOB)
    }

    fn make(parent: &Path, prefix: &str) -> Result<Self> {
        for _ in 0..ATTEMPTS {
            let path = parent.join(format!("{prefix}{}", durable::random_digits()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                other => other.with_context(|| format!("create {}", path.display()))?,
            }
            match lock(&path) {
                Ok(Some(lock)) => return Ok(Self { path, _lock: lock, published: false }),
                // A sweep has removed it.
                Ok(None) => {}
                Err(error) => {
                    let _ = fs::remove_dir(&path);
                    return Err(error);
                }
            }
        }
        bail!("no temporary name is free in {}", parent.display())
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Renames it to the container `name`. The caller holds the container's lock and has flushed the content.
    ///
    /// # Errors
    /// If there is a container of that name; nothing has then changed.
    pub fn publish(mut self, paths: &Paths, name: &Name) -> Result<()> {
        // If it exists, it is empty again.
        let _ = fs::remove_dir(self.join(PLACE));
        sync_directory(&self.path)?;
        // The record of a previous container of this name, whose rename or deletion was interrupted.
        if paths.container(name).symlink_metadata().is_err() {
            last_exit::forget(paths, name);
        }
        rename_to_free(&self.path, &paths.container(name))?;
        self.published = true;
        sync_directory(&paths.containers())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // If it cannot be deleted now, a sweep deletes it later.
        if !self.published
            && let Err(error) = delete(&self.path)
        {
            log::warn!("{} could not be deleted: {error:#}", self.path.display());
        }
    }
}

/// Locks a directory; `None` if another process has locked it or it no longer exists.
///
/// # Errors
/// If it cannot be opened.
pub fn lock(path: &Path) -> Result<Option<File>> {
    let opened =
        fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path);
    let directory = match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("open {}", path.display()))?,
    };
    match try_lock(directory.as_fd()) {
        Err(Errno::EWOULDBLOCK) => return Ok(None),
        other => call!(other, "flock({})", path.display())?,
    }
    // The previous owner may have deleted it.
    let same = fs::symlink_metadata(path).is_ok_and(|there| {
        directory.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
    });
    Ok(same.then_some(directory))
}

/// rename(2) that never replaces an existing target.
///
/// # Errors
/// EEXIST if the target exists; otherwise the error of rename(2).
pub fn rename_to_free(from: &Path, to: &Path) -> Result<()> {
    let renamed = rename_no_replace(from, to);
    let renamed = match renamed {
        // The file system does not support the flag. The locks prevent a race with other processes of ds.
        Err(Errno::EINVAL | Errno::ENOSYS) if to.symlink_metadata().is_err() => {
            renameat(AT_FDCWD, from, AT_FDCWD, to)
        }
        Err(Errno::EINVAL | Errno::ENOSYS) => Err(Errno::EEXIST),
        other => other,
    };
    Ok(call!(renamed, "rename({}, {})", from.display(), to.display())?)
}

/// Flushes the entries of a directory to disk.
///
/// # Errors
/// If fsync(2) fails.
pub fn sync_directory(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.with_context(|| format!("write {}", path.display()))
}

/// The directory to which this process renames a container before it deletes it.
#[must_use]
pub fn trash(paths: &Paths, name: &Name) -> PathBuf {
    paths.containers().join(format!("{TRASH}{name}-{}", process::id()))
}

/// The container that a directory had before its deletion began; `None` for any other directory.
#[must_use]
pub fn deleted(file_name: &str) -> Option<Name> {
    let (name, process) = file_name.strip_prefix(TRASH)?.rsplit_once('-')?;
    process.parse::<u32>().ok()?;
    name.parse().ok()
}

/// Whether a file name is that of a [`Staging`].
#[must_use]
pub fn is_staging(name: &str) -> bool {
    let digits = name.strip_prefix(JOB).or_else(|| {
        let (_, digits) = name.strip_prefix(NEW)?.rsplit_once('-')?;
        Some(digits)
    });
    digits.is_some_and(durable::is_random)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Paths, Name) {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::below(directory.path());
        fs::create_dir_all(paths.containers()).unwrap();
        (directory, paths, "web".parse().unwrap())
    }

    fn names(paths: &Paths) -> Vec<String> {
        let entries = fs::read_dir(paths.containers()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn an_unpublished_directory_is_removed() {
        let (_directory, paths, name) = place();
        let staging = Staging::for_new(&paths, &name).unwrap();
        fs::create_dir_all(staging.join("rootfs/etc")).unwrap();
        let file_name = names(&paths).remove(0);
        assert!(is_staging(&file_name), "{file_name}");
        assert!(file_name.parse::<Name>().is_err(), "it must be no container's name");
        assert!(lock(staging.path()).unwrap().is_none(), "it is in use");
        drop(staging);
        assert!(names(&paths).is_empty());
    }

    #[test]
    fn a_container_is_published_completely_and_never_replaces_another() {
        let (_directory, paths, name) = place();
        let staging = Staging::for_new(&paths, &name).unwrap();
        fs::write(staging.join("container.ini"), "x").unwrap();
        staging.publish(&paths, &name).unwrap();
        assert_eq!(fs::read(paths.container_ini(&name)).unwrap(), b"x");
        let second = Staging::for_new(&paths, &name).unwrap();
        assert!(second.publish(&paths, &name).is_err());
        assert_eq!(names(&paths), ["web"]);
        fs::remove_file(paths.container_ini(&name)).unwrap();
        let third = Staging::for_new(&paths, &name).unwrap();
        assert!(third.publish(&paths, &name).is_err(), "not over an empty directory either");
    }

    #[test]
    fn the_directory_of_a_deletion_has_the_name_of_its_container() {
        let (_directory, paths, _) = place();
        for name in ["web", "a-1", "a.b-c"] {
            let path = trash(&paths, &name.parse().unwrap());
            let file_name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(deleted(file_name).unwrap().as_str(), name);
            assert!(file_name.parse::<Name>().is_err());
        }
        for name in
            ["web", ".trash-web", ".trash-web-", ".trash--1", ".trash-web-1x", ".new-web-0123456789abcdef"]
        {
            assert_eq!(deleted(name), None, "{name}");
        }
    }

    #[test]
    fn only_our_own_names_are_taken_for_staging() {
        for name in [".new-web-0123456789abcdef", ".new-a-b.c-0123456789abcdef", ".ds-job-0123456789abcdef"] {
            assert!(is_staging(name), "{name}");
        }
        for name in [".new-web", ".new-0123456789abcdef", ".ds-job-0123", ".ds-job-", "web", ".trash-web-12"]
        {
            assert!(!is_staging(name), "{name}");
        }
    }
}
