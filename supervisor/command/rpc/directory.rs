//! `directory`: what a directory of the host contains, for the file chooser of a page.
//!
//! Reads names and metadata, never contents, and changes nothing. The number of entries is bounded, before they are
//! sorted as well as after, so that no directory uses the memory of a phone. readdir(3), stat(2).

use std::fs::{self, DirEntry, FileType};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::command::output;
use crate::config::value::HostPath;
use crate::exit::ExitCode;

/// Maximum number of entries in one answer.
const MAX: usize = 2000;
/// Maximum number of entries that are read; larger directories are listed in part.
const MAX_READ: usize = 20_000;
/// The directories to begin with, if they exist.
const PLACES: [&str; 8] =
    ["/data/media/0", "/data/media/0/Download", "/storage", "/root", "/home", "/mnt", "/media", "/"];

/// The answer.
#[derive(Debug, Serialize)]
struct Listing {
    path: String,
    /// `None` for the root directory.
    parent: Option<String>,
    entries: Vec<Entry>,
    /// Number of omitted entries: beyond the limit, or with a name that is not UTF-8.
    omitted: usize,
    /// Directories to begin with.
    places: Vec<&'static str>,
}

/// One entry of a directory. Symbolic links are followed.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Entry {
    name: String,
    kind: Kind,
    /// Size of a file in bytes.
    size: Option<u64>,
    /// Seconds since 1970.
    changed: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Directory,
    File,
    /// A block device, which may hold a file system.
    Block,
    Other,
}

/// Prints the entries of a directory: directories first, then by name.
///
/// # Errors
/// If it cannot be read.
pub(super) fn run(path: &HostPath) -> Result<ExitCode> {
    output::json(&listing(path.as_path())?)
}

fn listing(path: &Path) -> Result<Listing> {
    let directory = fs::read_dir(path).with_context(|| format!("open {}", path.display()))?;
    let mut omitted = 0;
    let mut names = Vec::new();
    for entry in directory {
        let entry = entry.with_context(|| format!("read {}", path.display()))?;
        match entry.file_name().into_string() {
            Ok(name) if names.len() < MAX_READ => names.push((name, entry)),
            _ => omitted += 1,
        }
    }
    let mut entries: Vec<Entry> = names.into_iter().map(|(name, entry)| describe(name, &entry)).collect();
    entries.sort_by_cached_key(|entry| {
        (entry.kind != Kind::Directory, entry.name.to_lowercase(), entry.name.clone())
    });
    omitted += entries.len().saturating_sub(MAX);
    entries.truncate(MAX);
    Ok(Listing {
        path: path.to_string_lossy().into_owned(),
        parent: path.parent().map(|parent| parent.to_string_lossy().into_owned()),
        entries,
        omitted,
        places: PLACES.into_iter().filter(|place| Path::new(place).is_dir()).collect(),
    })
}

/// An entry that vanishes meanwhile and a dangling link have the kind `other`.
fn describe(name: String, entry: &DirEntry) -> Entry {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = fs::metadata(entry.path()) else {
        return Entry { name, kind: Kind::Other, size: None, changed: None };
    };
    let kind = kind(metadata.file_type());
    let size = (kind == Kind::File).then_some(metadata.len());
    Entry { name, kind, size, changed: Some(metadata.mtime()) }
}

fn kind(of: FileType) -> Kind {
    if of.is_dir() {
        Kind::Directory
    } else if of.is_file() {
        Kind::File
    } else if of.is_block_device() {
        Kind::Block
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::fs::File;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    #[test]
    fn directories_come_first_and_links_count_as_what_they_lead_to() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("b.tar"), "12345").unwrap();
        fs::create_dir(place.path().join("z")).unwrap();
        symlink("z", place.path().join("Link")).unwrap();
        symlink("nowhere", place.path().join("a")).unwrap();
        File::create(place.path().join(OsStr::from_bytes(b"\xff"))).unwrap();
        let listing = listing(place.path()).unwrap();
        let found: Vec<_> =
            listing.entries.iter().map(|one| (one.name.as_str(), one.kind, one.size)).collect();
        let expected = [
            ("Link", Kind::Directory, None),
            ("z", Kind::Directory, None),
            ("a", Kind::Other, None),
            ("b.tar", Kind::File, Some(5)),
        ];
        assert_eq!((found, listing.omitted), (expected.to_vec(), 1));
        assert_eq!(listing.parent.as_deref(), place.path().parent().unwrap().to_str());
    }

    #[test]
    fn a_large_directory_is_listed_in_part() {
        let place = tempfile::tempdir().unwrap();
        for number in 0..MAX + 5 {
            File::create(place.path().join(number.to_string())).unwrap();
        }
        let listing = listing(place.path()).unwrap();
        assert_eq!((listing.entries.len(), listing.omitted), (MAX, 5));
    }

    #[test]
    fn a_file_is_no_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(listing(file.path()).unwrap_err().to_string().starts_with("open "));
    }
}
