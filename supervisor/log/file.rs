//! The log file: several processes append to it, and a full one is rotated.
//!
//! Owns the format of the file (time, process, level, text) and the rotation. The supervisor and every monitor have it
//! open. A process that finds it full renames it; the others compare the inode of their file with that of the path.
//! open(2) with O_APPEND, flock(2), rename(2).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;

use log::Level;
use nix::fcntl::{Flock, FlockArg};

use crate::clock::unix_s;

/// Maximum length of a line of any sink, in bytes.
pub const LONGEST: usize = 4000;

/// Limits of the log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Size at which a file is rotated, in bytes.
    pub size: u64,
    /// The number of rotated files that are kept.
    pub count: u32,
}

/// A log file and its rotated files: `supervisor.log`, `supervisor.log.1`, …
#[derive(Debug)]
pub struct RotatedFile {
    path: PathBuf,
    bounds: Bounds,
    file: Option<File>,
}

impl RotatedFile {
    /// The file at `path`; it is opened for the first line.
    pub fn new(path: &Path, bounds: Bounds) -> Self {
        Self { path: path.to_owned(), bounds, file: None }
    }

    /// Appends one line.
    pub fn write(&mut self, level: Level, text: &str) -> io::Result<()> {
        let now = unix_s();
        let line = format!("{} {} {}: {text}\n", timestamp(now), process::id(), word(level));
        if self.size()?.is_none_or(|size| size > 0 && size + line.len() as u64 > self.bounds.size) {
            self.renew()?;
        }
        // One write(2) with O_APPEND: lines of several processes never mix.
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(line.as_bytes()))
    }

    /// Size of the file, if the open one is still the one at the path.
    fn size(&self) -> io::Result<Option<u64>> {
        let Some(file) = &self.file else { return Ok(None) };
        let ours = file.metadata()?;
        let there = fs::symlink_metadata(&self.path);
        let same = there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
        Ok(same.then_some(ours.len()))
    }

    /// Opens the file at the path. Rotates it first if it is full.
    fn renew(&mut self) -> io::Result<()> {
        let file = self.open()?;
        if file.metadata()?.len() + LONGEST as u64 <= self.bounds.size {
            self.file = Some(file);
            return Ok(());
        }
        // Only one process may rename. The others continue in the old file, slightly above the limit.
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => {
                let ours = locked.metadata()?;
                let there = fs::symlink_metadata(&self.path)?;
                if ours.len() > 0 && (there.dev(), there.ino()) == (ours.dev(), ours.ino()) {
                    self.put_aside();
                }
                drop(locked);
                self.file = Some(self.open()?);
            }
            Err((file, _)) => self.file = Some(file),
        }
        Ok(())
    }

    fn open(&self) -> io::Result<File> {
        if let Some(directory) = self.path.parent().filter(|directory| !directory.exists()) {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let flags = libc::O_NOFOLLOW | libc::O_NOCTTY | libc::O_NONBLOCK;
        OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(&self.path)
    }

    /// `.2` becomes `.3`, `.1` becomes `.2`, the file becomes `.1`. A failure leaves a gap or an old file behind, and
    /// logging continues.
    fn put_aside(&self) {
        for number in (1..self.bounds.count).rev() {
            let _ = fs::rename(self.numbered(number), self.numbered(number + 1));
        }
        let _ = match self.bounds.count {
            0 => fs::remove_file(&self.path),
            _ => fs::rename(&self.path, self.numbered(1)),
        };
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

/// `2026-09-21T12:34:56Z`, from seconds since 1970.
fn timestamp(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // In years that begin in March, the leap day is the last day; 400 of them have 146097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + carry;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The level as text.
pub fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug | Level::Trace => "debug",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;
    use std::os::unix::fs::{PermissionsExt, symlink};

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("ds-log-{}-{name}", process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("log/supervisor.log")
        }

        fn lines(&self, suffix: &str) -> Vec<String> {
            let path = format!("{}{suffix}", self.file().display());
            fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        // From date(1): date -u -d @N +%FT%TZ
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(seconds), text);
        }
    }

    #[test]
    fn the_file_is_private_bounded_and_the_oldest_goes() {
        let directory = Directory::new("bounded");
        let mut file = RotatedFile::new(&directory.file(), Bounds { size: 5000, count: 2 });
        for number in 0..9 {
            file.write(Level::Warn, &format!("{number} {}", "x".repeat(1500))).unwrap();
        }
        let first = |suffix: &str| directory.lines(suffix).len();
        assert_eq!((first(""), first(".1"), first(".2"), first(".3")), (3, 3, 3, 0));
        assert!(directory.lines(".2")[0].contains(" warning: 0 x"), "{}", &directory.lines(".2")[0][..60]);
        file.write(Level::Warn, &"x".repeat(1500)).unwrap();
        assert!(directory.lines(".2")[0].contains(" warning: 3 x"), "the oldest file went");
        assert_eq!(fs::metadata(directory.file()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn several_writers_lose_no_line_of_the_kept_files() {
        let directory = Directory::new("writers");
        let bounds = Bounds { size: 6000, count: 100 };
        let mut writers: Vec<_> = (0..4).map(|_| RotatedFile::new(&directory.file(), bounds)).collect();
        for round in 0..50 {
            for (writer, file) in writers.iter_mut().enumerate() {
                file.write(Level::Info, &format!("{round}.{writer} {}", "x".repeat(200))).unwrap();
            }
        }
        let mut found: Vec<String> = directory.lines("");
        for number in 1..100 {
            found.extend(directory.lines(&format!(".{number}")));
        }
        assert_eq!(found.len(), 200);
    }

    #[test]
    fn a_deleted_log_begins_anew_and_a_link_is_not_followed() {
        let directory = Directory::new("deleted");
        let mut file = RotatedFile::new(&directory.file(), Bounds { size: 100_000, count: 1 });
        file.write(Level::Info, "one").unwrap();
        fs::remove_dir_all(&directory.0).unwrap();
        file.write(Level::Info, "two").unwrap();
        assert_eq!(directory.lines("").len(), 1);
        fs::remove_file(directory.file()).unwrap();
        symlink("/dev/null", directory.file()).unwrap();
        assert!(file.write(Level::Info, "three").is_err());
    }
}
