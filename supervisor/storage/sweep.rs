//! Removes the remains of dead jobs and interrupted deletions, and completes decided steps.
//!
//! A job that replaces a root file system first records both ([`Intent`]). If it dies in between, the configuration
//! determines which one is in use, and the other one is deleted. Never touches files that a living process holds, or
//! that no job has recorded.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::delete::{delete, refuse_mounts};
use super::staging::{self, JOB, NEW, deleted, is_staging, sync_directory};
use crate::clock::now;
use crate::config::value::Name;
use crate::config::{Config, RootSource};
use crate::container::{Lock, forget, occupied};
use crate::durable::{self, Temporaries};
use crate::paths::Paths;
use crate::paths::names_in;

/// The file of an [`Intent`].
pub const INTENT: &str = "intent";
/// A link to the directory outside the data directory in which a job writes a file.
const ELSEWHERE: &str = "elsewhere";
/// The name for files to be deleted.
pub const LET_GO: &str = "let-go";
/// The timeout for a killed process to close its files. It may be flushing one of them to a slow disk.
const DEATH: Duration = Duration::from_secs(5);
/// The interval of the checks.
const PAUSE: Duration = Duration::from_millis(10);
/// Maximum size of an intent, in bytes.
const LARGEST: u64 = 4096;

/// The planned replacement of one root file system in a container's directory by another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The new one: a name in the container's directory.
    pub new: String,
    /// The old one, if it is in the same directory.
    pub old: Option<String>,
}

impl Intent {
    /// Writes it durably.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn record(&self, staging: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).context("encode the intent")?;
        durable::write(&staging.join(INTENT), &bytes, 0o600).context("record the intent")
    }

    /// Deletes the unused root file system in the container's directory `container`. `root` is the one in the
    /// configuration.
    ///
    /// # Errors
    /// If it cannot be renamed.
    pub fn recover(&self, container: &Path, root: &Path, staging: &Path) -> Result<()> {
        let of = |name: &String| container.join(name);
        let loser = if root == of(&self.new) {
            self.old.as_ref().map(of)
        } else if self.old.as_ref().is_none_or(|old| root == of(old)) {
            Some(of(&self.new))
        } else {
            // The user has selected a third one since.
            None
        };
        let Some(loser) = loser.filter(|loser| loser.symlink_metadata().is_ok()) else { return Ok(()) };
        refuse_mounts(&loser)?;
        let away = staging.join(LET_GO);
        fs::rename(&loser, &away).with_context(|| format!("rename {}", loser.display()))?;
        sync_directory(container)
    }
}

/// Records the directory outside the data directory in which a job writes a file that must be removed if it dies.
///
/// # Errors
/// If the record cannot be made.
pub fn writes_in(staging: &Path, directory: &Path) -> Result<()> {
    let directory = fs::canonicalize(directory).with_context(|| format!("find {}", directory.display()))?;
    symlink(directory, staging.join(ELSEWHERE)).context("record where the job writes")
}

/// Existing remains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leftovers {
    /// Nothing.
    None,
    /// Only files that a living process holds.
    Held,
    /// Files that no process holds.
    Dead,
}

/// Searches for incomplete and deleted containers, jobs, and temporary files.
#[must_use]
pub fn look(paths: &Paths) -> Leftovers {
    let names = names_in(&paths.containers());
    let files = writing_places(paths).into_iter().map(|place| match durable::temporaries(&place) {
        Temporaries::None => Leftovers::None,
        Temporaries::Held => Leftovers::Held,
        Temporaries::Stale => Leftovers::Dead,
    });
    let jobs = names.iter().flat_map(|name| jobs(paths, name));
    let directories = entries(&paths.containers()).into_iter().filter(|path| is_unfinished(path)).chain(jobs);
    let held = directories.map(|path| match staging::lock(&path) {
        Ok(None) if path.symlink_metadata().is_err() => Leftovers::None,
        Ok(None) => Leftovers::Held,
        _ => Leftovers::Dead,
    });
    files.chain(held).max().unwrap_or(Leftovers::None)
}

/// Removes all remains. The caller must not hold a container's lock.
pub fn all(paths: &Paths) {
    containers(paths);
    for place in writing_places(paths) {
        // An unreadable directory contains nothing that could be removed.
        let _ = durable::remove_stale_temporaries(&place);
    }
    for name in names_in(&paths.containers()) {
        if jobs(paths, &name).is_empty() {
            continue;
        }
        let recovered = Lock::take(paths, &name).map(|_lock| match occupied::is_occupied(paths, &name) {
            // Its own job has cleaned up, or will.
            true => Dead::default(),
            false => recover(paths, &name),
        });
        match recovered {
            Ok(dead) => dead.delete(),
            Err(error) => log::warn!("{name}: the remains of a job cannot be removed: {error:#}"),
        }
    }
}

/// The directories in which ds replaces files.
fn writing_places(paths: &Paths) -> Vec<PathBuf> {
    let containers = names_in(&paths.containers()).into_iter().map(|name| paths.container(&name));
    let run = names_in(&paths.run_containers()).into_iter().map(|name| paths.run_container(&name));
    [paths.data.clone(), paths.run.clone()].into_iter().chain(containers).chain(run).collect()
}

/// Whether this is an incomplete container, or one that is being deleted.
fn is_unfinished(path: &Path) -> bool {
    file_name(path).is_some_and(|name| (name.starts_with(NEW) && is_staging(name)) || deleted(name).is_some())
}

/// Removes incomplete containers, and completes interrupted deletions; returns the names of the latter.
pub fn containers(paths: &Paths) -> Vec<Name> {
    let mut completed = Vec::new();
    for path in entries(&paths.containers()).iter().filter(|path| is_unfinished(path)) {
        report(path, remove(paths, path));
        if path.symlink_metadata().is_err() {
            completed.extend(file_name(path).and_then(deleted));
        }
    }
    completed
}

/// The remains of dead jobs that only need to be deleted.
#[derive(Debug, Default)]
#[must_use]
pub struct Dead(Vec<(PathBuf, File)>);

impl Dead {
    /// Deletes them, which may take a while: the container's lock is no longer needed.
    pub fn delete(self) {
        for (path, _lock) in self.0 {
            report(&path, refuse_mounts(&path).and_then(|()| delete(&path)));
        }
    }
}

/// Completes or undoes the interrupted steps of dead jobs of one container. The caller holds the container's lock.
pub fn recover(paths: &Paths, name: &Name) -> Dead {
    let mut dead = Dead::default();
    for path in jobs(paths, name) {
        match end(paths, name, &path) {
            Ok(lock) => dead.0.extend(lock.map(|lock| (path, lock))),
            Err(error) => report(&path, Err(error)),
        }
    }
    dead
}

/// The directories of jobs: in the container's own directory, and next to an image used in place.
fn jobs(paths: &Paths, name: &Name) -> Vec<PathBuf> {
    let is_job =
        |path: &PathBuf| file_name(path).is_some_and(|name| name.starts_with(JOB) && is_staging(name));
    places(paths, name).iter().flat_map(|place| entries(place)).filter(is_job).collect()
}

fn places(paths: &Paths, name: &Name) -> Vec<PathBuf> {
    let container = paths.container(name);
    let config = Config::load(&paths.container_ini(name), name).ok();
    let beside = config.and_then(|config| match config.container.root {
        RootSource::Image(path) => path.as_path().parent().map(Path::to_owned),
        RootSource::Directory(_) => None,
    });
    // If an image is a device, there is no directory next to it.
    let beside = beside.filter(|beside| *beside != container && !beside.starts_with("/dev"));
    [container].into_iter().chain(beside).collect()
}

/// Processes one directory; does nothing if a living process holds it.
fn end(paths: &Paths, name: &Name, path: &Path) -> Result<Option<File>> {
    let Some(lock) = staging::lock(path)? else { return Ok(None) };
    if let Ok(place) = fs::read_link(path.join(ELSEWHERE)) {
        remove_temporaries(&place);
    }
    if let Ok(bytes) = durable::read(&path.join(INTENT), LARGEST) {
        let intent: Intent = serde_json::from_slice(&bytes).context("its intent cannot be read")?;
        // An invalid configuration decides nothing; a later sweep tries again.
        let config = Config::load(&paths.container_ini(name), name)?;
        intent.recover(&paths.container(name), config.container.root.path().as_path(), path)?;
    }
    Ok(Some(lock))
}

/// Removes the files of a dead job from a directory. A process that has just been killed may keep its file open for a
/// moment; a file of another, living job is left alone after the timeout.
fn remove_temporaries(directory: &Path) {
    let end = now() + DEATH;
    loop {
        // Its file system may be unmounted.
        let _ = durable::remove_stale_temporaries(directory);
        if durable::temporaries(directory) != Temporaries::Held || now() >= end {
            return;
        }
        sleep(PAUSE);
    }
}

/// Deletes a directory that no process holds.
fn remove(paths: &Paths, path: &Path) -> Result<()> {
    let Some(_lock) = staging::lock(path)? else { return Ok(()) };
    if let Some(name) = file_name(path).and_then(deleted) {
        forget(paths, &name);
    }
    refuse_mounts(path)?;
    delete(path)
}

fn report(path: &Path, done: Result<()>) {
    if let Err(error) = done {
        log::warn!("cannot delete the remains {}: {error:#}", path.display());
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path()).collect()
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::staging::Staging;

    struct Machine {
        _directory: tempfile::TempDir,
        paths: Paths,
        name: Name,
    }

    impl Machine {
        /// A container with both a tree and an image in its directory; the configuration selects one.
        fn new(key: &str, root: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let paths = Paths::below(directory.path());
            let name: Name = "web".parse().unwrap();
            fs::create_dir_all(paths.container(&name).join("rootfs/etc")).unwrap();
            fs::write(paths.container(&name).join("rootfs.img"), "image").unwrap();
            let root = paths.container(&name).join(root).display().to_string();
            Config::create(&paths.container_ini(&name), &name, &[(key, root.as_str())]).unwrap();
            Self { _directory: directory, paths, name }
        }

        fn die(&self, intent: &Intent) -> PathBuf {
            let path = self.paths.container(&self.name).join(format!("{JOB}0123456789abcdef"));
            fs::create_dir(&path).unwrap();
            fs::write(path.join("half"), "").unwrap();
            intent.record(&path).unwrap();
            path
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<String> = entries(&self.paths.container(&self.name))
                .iter()
                .filter_map(|path| file_name(path).map(str::to_owned))
                .collect();
            names.sort();
            names
        }
    }

    fn intent(new: &str, old: Option<&str>) -> Intent {
        Intent { new: new.to_owned(), old: old.map(str::to_owned) }
    }

    #[test]
    fn the_configuration_decides_which_root_file_system_stays() {
        let cases = [
            ("rootfs", "rootfs", Some("rootfs"), vec!["container.ini", "rootfs"]),
            ("image", "rootfs.img", Some("rootfs"), vec!["container.ini", "rootfs.img"]),
            ("image", "rootfs.img", None, vec!["container.ini", "rootfs", "rootfs.img"]),
            ("image", "other.img", Some("rootfs"), vec!["container.ini", "rootfs", "rootfs.img"]),
        ];
        for (key, root, old, left) in cases {
            let machine = Machine::new(key, root);
            machine.die(&intent("rootfs.img", old));
            assert_eq!(look(&machine.paths), Leftovers::Dead);
            all(&machine.paths);
            assert_eq!(machine.names(), left, "{root} {old:?}");
            assert_eq!(look(&machine.paths), Leftovers::None);
        }
    }

    #[test]
    fn nothing_is_decided_by_a_broken_configuration() {
        let machine = Machine::new("rootfs", "rootfs");
        let left = machine.die(&intent("rootfs.img", Some("rootfs")));
        fs::write(machine.paths.container_ini(&machine.name), "broken").unwrap();
        recover(&machine.paths, &machine.name).delete();
        assert!(left.exists());
        assert_eq!(machine.names().len(), 4);
    }

    #[test]
    fn what_a_living_job_holds_stays() {
        let machine = Machine::new("rootfs", "rootfs");
        let new = Staging::for_new(&machine.paths, &"other".parse().unwrap()).unwrap();
        let job = Staging::beside(&machine.paths.container(&machine.name)).unwrap();
        assert_eq!(look(&machine.paths), Leftovers::Held);
        all(&machine.paths);
        assert!(new.path().exists() && job.path().exists());
        // A dying process does not clean up.
        let (new_path, job_path) = (new.path().to_owned(), job.path().to_owned());
        let locks = (staging::lock(&new_path).unwrap(), staging::lock(&job_path).unwrap());
        assert!(locks.0.is_none() && locks.1.is_none());
        drop((new, job));
        fs::create_dir(&new_path).unwrap();
        fs::create_dir(&job_path).unwrap();
        all(&machine.paths);
        assert!(!new_path.exists() && !job_path.exists());
    }

    #[test]
    fn leftovers_beside_an_image_used_in_place_are_found() {
        let machine = Machine::new("rootfs", "rootfs");
        let elsewhere = tempfile::tempdir().unwrap();
        let image = elsewhere.path().join("disk.img").display().to_string();
        let file = machine.paths.container_ini(&machine.name);
        Config::edit(&file, &machine.name, &[("rootfs", ""), ("image", image.as_str())]).unwrap();
        let left = elsewhere.path().join(format!("{JOB}0123456789abcdef"));
        let others = elsewhere.path().join(".ds-job-mine");
        fs::create_dir(&left).unwrap();
        fs::create_dir(&others).unwrap();
        assert_eq!(look(&machine.paths), Leftovers::Dead);
        all(&machine.paths);
        assert!(!left.exists() && others.exists());
    }
}
