//! The first files of a machine: the parts that xtask made, the scripts of `guest/`, and files of the test.
//!
//! Owns the archive format: cpio "newc" (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::fs;
use std::io::{Result, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// An archive under construction.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    folders: std::collections::BTreeSet<String>,
    count: u32,
}

impl Archive {
    /// Adds a file and its parent directories.
    pub fn file(&mut self, path: &str, mode: u32, contents: &[u8]) {
        for (slash, _) in path.match_indices('/') {
            let folder = &path[..slash];
            if self.folders.insert(folder.to_owned()) {
                self.entry(folder, 0o040_755, &[]);
            }
        }
        self.entry(path, 0o100_000 | mode, contents);
    }

    /// Adds all files below a folder, with their permissions to execute.
    pub fn tree(&mut self, from: &Path, to: &str) {
        let entries = fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
            let to = format!("{to}/{name}");
            if path.is_dir() {
                self.tree(&path, &to);
            } else {
                self.copy(&path, &to);
            }
        }
    }

    /// Adds one file of this machine, with its permission to execute.
    pub fn copy(&mut self, from: &Path, to: &str) {
        let contents = fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        let mode = fs::metadata(from).expect("metadata").permissions().mode();
        self.file(to, mode & 0o777, &contents);
    }

    pub fn write(mut self, file: &Path) -> Result<()> {
        self.entry("TRAILER!!!", 0, &[]);
        fs::File::create(file)?.write_all(&self.bytes)
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) {
        self.count += 1;
        let size = u32::try_from(contents.len()).expect("less than 4 GiB");
        let name_size = u32::try_from(name.len()).expect("a name") + 1;
        // Inode, mode, user, group, links, time, size, four device numbers, size of the name, no checksum.
        let fields = [self.count, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(contents);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
