//! The download cache: complete files by their SHA-256, and incomplete ones.
//!
//! Owns `data/cache/`. `SHA256` is a complete and verified file and `SHA256.json` its description. `KEY.part` is an
//! incomplete file, locked while a process writes it, and `KEY.tag` the server's tag for that version. `index.json` is
//! the last list of images. A complete file gets its name by a rename after its data is on disk. flock(2), fsync(2).

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::index::is_sha256;
use crate::call;
use crate::clock::unix_s;
use crate::durable;
use crate::fault;
use crate::paths::Paths;
use crate::sys::descriptor::try_lock;

/// Maximum size of a description, in bytes.
const MAX: u64 = 64 << 10;

/// The cache.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
    /// The maximum total size, in bytes.
    most: u64,
}

/// The description of a complete file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The source: the name of an image with its build, or an address.
    pub source: String,
    /// Download time, in seconds since 1970.
    pub fetched: u64,
}

/// One file of the cache, for display.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The source.
    pub source: String,
    /// Its SHA-256; `None` while it is incomplete.
    pub sha256: Option<String>,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last use, in seconds since 1970.
    pub used: u64,
    #[serde(skip)]
    path: PathBuf,
}

/// An incomplete file. Dropping it releases the lock.
#[derive(Debug)]
pub struct Part {
    key: String,
    file: Flock<File>,
}

impl Cache {
    /// The cache of this machine.
    ///
    /// # Errors
    /// If its directory cannot be created.
    pub fn open(paths: &Paths, most: u64) -> Result<Self> {
        let directory = paths.cache();
        match fs::DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("create {}", directory.display()))
            }
            _ => Ok(Self { directory, most }),
        }
    }

    /// The path of the list of images.
    pub(super) fn listing(&self) -> PathBuf {
        self.directory.join("index.json")
    }

    /// Opens a complete file and marks it as used now.
    ///
    /// # Errors
    /// If it exists and cannot be read.
    pub fn whole(&self, sha256: &str) -> Result<Option<File>> {
        let path = self.directory.join(sha256);
        match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            other => {
                let file = other.with_context(|| format!("open {}", path.display()))?;
                // On a read-only file system, it keeps the old time.
                let _ = file.set_modified(SystemTime::now());
                Ok(Some(file))
            }
        }
    }

    /// Removes a complete file whose content does not match its name.
    pub fn discard(&self, sha256: &str) {
        for path in [self.directory.join(sha256), self.described(sha256)] {
            // The file may already have been removed.
            let _ = fs::remove_file(path);
        }
    }

    fn described(&self, sha256: &str) -> PathBuf {
        self.directory.join(format!("{sha256}.json"))
    }

    /// Opens an incomplete file, which may be empty. Waits for a process that writes it.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn part(&self, key: &str) -> Result<Part> {
        let path = self.part_path(key);
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path);
            let file = file.with_context(|| format!("create {}", path.display()))?;
            let file = match Flock::lock(file, FlockArg::LockExclusive) {
                Ok(file) => file,
                Err((_, Errno::EINTR)) => continue,
                Err((_, errno)) => return Err(errno).with_context(|| format!("lock {}", path.display())),
            };
            // The previous owner may have renamed or removed it.
            let same = fs::symlink_metadata(&path).is_ok_and(|there| {
                file.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
            });
            if same {
                return Ok(Part { key: key.to_owned(), file });
            }
        }
    }

    fn part_path(&self, key: &str) -> PathBuf {
        self.directory.join(format!("{key}.part"))
    }

    fn tag_path(&self, key: &str) -> PathBuf {
        self.directory.join(format!("{key}.tag"))
    }

    /// The server's tag for the version of the incomplete file.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<String> {
        String::from_utf8(durable::read(&self.tag_path(key), MAX).ok()?).ok()
    }

    /// Stores the server's tag for the version of this download.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn set_tag(&self, key: &str, tag: Option<&str>) -> Result<()> {
        let path = self.tag_path(key);
        match tag {
            Some(tag) => durable::write(&path, tag.as_bytes(), 0o600)
                .with_context(|| format!("write {}", path.display())),
            None => {
                let _ = fs::remove_file(path);
                Ok(())
            }
        }
    }

    /// Makes a completed download a file of the cache, and makes room for it.
    ///
    /// # Errors
    /// If it cannot be written; it then stays incomplete.
    pub fn keep(&self, part: &Part, sha256: &str, source: &str) -> Result<()> {
        let about = About { source: source.to_owned(), fetched: unix_s() };
        let path = self.directory.join(sha256);
        call!(nix::unistd::fsync(part.file.as_fd()), "fsync({}.part)", part.key)?;
        durable::write(&self.described(sha256), &serde_json::to_vec(&about)?, 0o600)?;
        fault::point("pull-described")?;
        fs::rename(self.part_path(&part.key), &path)
            .with_context(|| format!("rename to {}", path.display()))?;
        File::open(&self.directory)?.sync_all().context("write the cache's directory")?;
        self.set_tag(&part.key, None)?;
        let _ = part.file.set_modified(SystemTime::now());
        self.make_room(sha256);
        Ok(())
    }

    /// Deletes an incomplete file.
    pub fn abandon(&self, part: Part) {
        let _ = fs::remove_file(self.part_path(&part.key));
        let _ = fs::remove_file(self.tag_path(&part.key));
        drop(part);
    }

    /// The files, the most recently used first.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let listed =
            fs::read_dir(&self.directory).with_context(|| format!("list {}", self.directory.display()))?;
        let mut entries: Vec<Entry> = listed.filter_map(|entry| self.entry(&entry.ok()?.path())).collect();
        entries.sort_by(|a, b| (b.used, &a.path).cmp(&(a.used, &b.path)));
        Ok(entries)
    }

    fn entry(&self, path: &Path) -> Option<Entry> {
        let name = path.file_name()?.to_str()?;
        let about = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
        let whole = is_sha256(name);
        let key = name.strip_suffix(".part").filter(|_| !whole);
        if !whole && key.is_none() {
            return None;
        }
        let described = durable::read(&self.described(name), MAX).ok();
        let described = described.and_then(|bytes| serde_json::from_slice::<About>(&bytes).ok());
        let source = described
            .map_or_else(|| if whole { "?".into() } else { "(incomplete)".into() }, |about| about.source);
        Some(Entry {
            source,
            sha256: whole.then(|| name.to_owned()),
            size: about.len(),
            used: u64::try_from(about.mtime()).unwrap_or(0),
            path: path.to_owned(),
        })
    }

    /// Removes all files that are not in use; returns their number and total size in bytes.
    ///
    /// # Errors
    /// If the directory cannot be read, or a file cannot be removed.
    pub fn prune(&self) -> Result<(usize, u64)> {
        let (mut files, mut bytes) = (0, 0);
        for entry in self.entries()? {
            if self.remove(&entry)? {
                (files, bytes) = (files + 1, bytes + entry.size);
            }
        }
        let _ = fs::remove_file(self.listing());
        Ok((files, bytes))
    }

    /// Removes the least recently used files until the rest fits.
    fn make_room(&self, newest: &str) {
        let Ok(mut entries) = self.entries() else { return };
        let mut total: u64 = entries.iter().map(|entry| entry.size).sum();
        while total > self.most
            && let Some(entry) = entries.pop()
        {
            if entry.sha256.as_deref() != Some(newest) && self.remove(&entry).unwrap_or(false) {
                total -= entry.size;
            }
        }
    }

    /// Removes a file unless a process writes it.
    fn remove(&self, entry: &Entry) -> Result<bool> {
        if entry.sha256.is_none() {
            let Ok(file) = File::open(&entry.path) else { return Ok(false) };
            if try_lock(file.as_fd()).is_err() {
                return Ok(false);
            }
            let _ = fs::remove_file(entry.path.with_extension("tag"));
        }
        fs::remove_file(&entry.path).with_context(|| format!("remove {}", entry.path.display()))?;
        if let Some(sha256) = &entry.sha256 {
            let _ = fs::remove_file(self.described(sha256));
        }
        Ok(true)
    }
}

impl Part {
    /// The file, for reading and writing.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Truncates it.
    ///
    /// # Errors
    /// If ftruncate(2) fails.
    pub fn clear(&mut self) -> Result<()> {
        self.file.set_len(0).context("truncate the incomplete download")?;
        self.file.rewind().context("lseek")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn cache(most: u64) -> (tempfile::TempDir, Cache) {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::below(directory.path());
        paths.create().unwrap();
        let cache = Cache::open(&paths, most).unwrap();
        (directory, cache)
    }

    fn sum(letter: char) -> String {
        letter.to_string().repeat(64)
    }

    fn add(cache: &Cache, letter: char, size: usize) {
        let part = cache.part(&sum(letter)).unwrap();
        part.file().write_all(&vec![b'x'; size]).unwrap();
        cache.keep(&part, &sum(letter), "debian:trixie").unwrap();
    }

    #[test]
    fn a_file_is_kept_and_found() {
        let (_directory, cache) = cache(1 << 20);
        assert!(cache.whole(&sum('a')).unwrap().is_none());
        add(&cache, 'a', 10);
        assert_eq!(cache.whole(&sum('a')).unwrap().unwrap().metadata().unwrap().len(), 10);
        let entries = cache.entries().unwrap();
        assert_eq!((entries.len(), entries[0].source.as_str(), entries[0].size), (1, "debian:trixie", 10));
        cache.discard(&sum('a'));
        assert!(cache.entries().unwrap().is_empty());
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let (_directory, cache) = cache(25);
        add(&cache, 'a', 10);
        add(&cache, 'b', 10);
        let old = SystemTime::now() - std::time::Duration::from_secs(100);
        File::open(cache.directory.join(sum('a'))).unwrap().set_modified(old).unwrap();
        add(&cache, 'c', 10);
        let left: Vec<_> = cache.entries().unwrap().into_iter().filter_map(|entry| entry.sha256).collect();
        assert!(left.contains(&sum('b')) && left.contains(&sum('c')) && left.len() == 2, "{left:?}");
        add(&cache, 'd', 100);
        assert_eq!(cache.entries().unwrap().len(), 1, "one that is larger than the limit is kept alone");
    }

    #[test]
    fn pruning_leaves_what_is_written_now() {
        let (_directory, cache) = cache(1 << 20);
        add(&cache, 'a', 10);
        let mut part = cache.part("u-1").unwrap();
        part.file().write_all(b"abc").unwrap();
        cache.set_tag("u-1", Some("\"v1\"")).unwrap();
        assert_eq!(cache.prune().unwrap(), (1, 10));
        assert_eq!(cache.tag("u-1").as_deref(), Some("\"v1\""));
        part.clear().unwrap();
        drop(part);
        assert_eq!(cache.prune().unwrap(), (1, 0));
        assert_eq!(cache.tag("u-1"), None);
    }
}
