//! Files that survive a power failure: after a crash, a reader finds the complete old or new content.
//!
//! Owns the sequence of writing a temporary file, fsync, rename and fsync of the directory, and the removal of
//! temporary files after a crash. Knows nothing about the content. open(2), fsync(2), rename(2), flock(2).
//!
//! A temporary file is named `.ds-HEX.tmp`. Its writer holds a lock on it with flock(2), so that a sweep can
//! distinguish abandoned files from those in use, without times or process ids.
//!
//! Files of the run directory are replaced in the same way, but not flushed.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// The number of attempts if a temporary file's name is taken, or a sweep removes the file before it is locked.
const ATTEMPTS: usize = 16;

/// Atomically replaces the file at `path` by one with the content `bytes` and the permission bits `mode`.
///
/// The directory must exist. A symbolic link at `path` is replaced, not followed. No temporary file is left behind.
///
/// # Errors
/// The system call's error. Nothing has then changed, unless the last step failed, the fsync of the directory: then the
/// new content is in place but may not survive a power failure.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (directory, mut temporary, name) = prepare(path, bytes, mode)?;
    temporary.file().sync_all()?;
    temporary.rename_to(name)?;
    File::from(directory).sync_all()
}

/// As [`write`], for files of the run directory: a reader finds the complete old or new content while the machine
/// runs. Nothing is flushed, since nothing there is valid after the next boot.
///
/// # Errors
/// The system call's error. Nothing has then changed.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (_, temporary, name) = prepare(path, bytes, mode)?;
    temporary.rename_to(name)
}

/// A temporary file with this content beside `path`, its directory, and the name that it will have.
fn prepare<'a>(path: &'a Path, bytes: &[u8], mode: u32) -> io::Result<(OwnedFd, Temporary, &'a OsStr)> {
    let Some(Component::Normal(name)) = path.components().next_back() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path does not end in a file name"));
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = open_directory(parent)?;
    let mut temporary = Temporary::create(directory.try_clone()?)?;
    let file = temporary.file();
    fchmod(&*file, Mode::from_bits_truncate(mode))?;
    file.write_all(bytes)?;
    Ok((directory, temporary, name))
}

/// The memory that is reserved at once for a file, in bytes: a sparse one claims any size.
const MAX_ROOM: u64 = 64 << 10;

/// The content of the regular file at `path`, if it has at most `limit` bytes.
///
/// # Errors
/// The system call's error; [`io::ErrorKind::InvalidInput`] if it is not a regular file (a FIFO would block, a device
/// might never end); [`io::ErrorKind::FileTooLarge`] if it is larger than `limit`.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    // Without room, it would be read in small pieces.
    let room = usize::try_from(about.len().min(MAX_ROOM)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(room + 1);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
        return Ok(bytes);
    }
    Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit} bytes")))
}

/// Removes temporary files of dead writers in `directory`; returns their number.
///
/// # Errors
/// If the directory cannot be read. A file that cannot be removed is left for the next sweep.
pub fn remove_stale_temporaries(directory: &Path) -> io::Result<usize> {
    let directory = open_directory(directory)?;
    let stale = stale_temporaries(&directory)?;
    let remove = |name: &CString| unlinkat(&directory, name.as_c_str(), UnlinkatFlags::NoRemoveDir).is_ok();
    Ok(stale.iter().filter(|(name, _lock)| remove(name)).count())
}

/// The temporary files in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Temporaries {
    /// There are none, or the directory cannot be read.
    None,
    /// Living writers hold all of them.
    Held,
    /// At least one belongs to a dead writer.
    Stale,
}

/// Searches `directory` for temporary files.
#[must_use]
pub fn temporaries(directory: &Path) -> Temporaries {
    let search = |directory: OwnedFd| -> io::Result<Temporaries> {
        if !stale_temporaries(&directory)?.is_empty() {
            return Ok(Temporaries::Stale);
        }
        let has_any = temporary_names(&directory)?.next().is_some();
        Ok(if has_any { Temporaries::Held } else { Temporaries::None })
    };
    open_directory(directory).and_then(search).unwrap_or(Temporaries::None)
}

/// The temporary files of dead writers, each with its lock.
fn stale_temporaries(directory: &OwnedFd) -> io::Result<Vec<(CString, Flock<File>)>> {
    let lock = |name: CString| {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(directory, name.as_c_str(), flags, Mode::empty()).ok()?);
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
        Some((name, lock))
    };
    Ok(temporary_names(directory)?.filter_map(lock).collect())
}

/// The names of all temporary files in `directory`.
///
/// # Errors
/// If the directory cannot be read.
pub fn temporary_names(directory: &OwnedFd) -> io::Result<impl Iterator<Item = CString>> {
    // A descriptor of its own, and thus a position of its own.
    let entries = Dir::openat(directory, ".", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let names = entries.into_iter().filter_map(|entry| entry.ok().map(|entry| entry.file_name().to_owned()));
    Ok(names.filter(|name| name.to_str().is_ok_and(is_temporary_name)))
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
}

fn is_temporary_name(name: &str) -> bool {
    let digits = name.strip_prefix(".ds-").and_then(|rest| rest.strip_suffix(".tmp"));
    digits.is_some_and(is_random)
}

/// Sixteen random hexadecimal digits, for a name that no other file has.
#[must_use]
pub fn random_digits() -> String {
    // The hasher's keys are random for each process and differ between instances.
    format!("{:016x}", RandomState::new().hash_one(0))
}

/// Whether a text has the form of [`random_digits`].
#[must_use]
pub fn is_random(digits: &str) -> bool {
    digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A new, locked file that is removed when dropped, unless it has got its final name.
#[derive(Debug)]
pub struct Temporary {
    directory: OwnedFd,
    name: String,
    file: Flock<File>,
    renamed: bool,
}

impl Temporary {
    /// Creates one that only root can access.
    ///
    /// # Errors
    /// The system call's error.
    pub fn create(directory: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        for _ in 0..ATTEMPTS {
            let name = format!(".ds-{}.tmp", random_digits());
            let file = match openat(&directory, name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR) {
                Ok(file) => File::from(file),
                Err(Errno::EEXIST) => continue,
                Err(error) => return Err(error.into()),
            };
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                // A sweep between creation and lock may have removed the file.
                Ok(file) if file.metadata()?.nlink() > 0 => {
                    return Ok(Self { directory, name, file, renamed: false });
                }
                Ok(_) | Err((_, Errno::EWOULDBLOCK)) => {}
                Err((_, error)) => {
                    unlinkat(&directory, name.as_str(), UnlinkatFlags::NoRemoveDir)?;
                    return Err(error.into());
                }
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "no temporary name is free"))
    }

    /// Its current name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives it its final name, and replaces a file of that name. The caller has flushed the content.
    ///
    /// # Errors
    /// The system call's error.
    pub fn rename_to(self, name: &OsStr) -> io::Result<()> {
        renameat(&self.directory, self.name.as_str(), &self.directory, name)?;
        self.keep();
        Ok(())
    }

    /// The caller has renamed it.
    pub fn keep(mut self) {
        self.renamed = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // The original error is reported; a remaining temporary file is swept later.
            let _ = unlinkat(&self.directory, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    use nix::sys::stat::Mode;
    use nix::unistd::{Uid, mkfifo};
    use tempfile::{TempDir, tempdir};

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_content_and_mode() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("a.ini");
        for write in [write, replace] {
            write(&path, b"one", 0o644).unwrap();
            write(&path, b"two", 0o600).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"two");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
            assert_eq!(names(directory.path()), ["a.ini"]);
        }
    }

    #[test]
    fn replaces_a_symbolic_link_and_leaves_its_target() {
        let directory = tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        fs::write(&target, "kept").unwrap();
        symlink(&target, &link).unwrap();
        write(&link, b"new", 0o600).unwrap();
        assert!(!fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(
            (fs::read(&target).unwrap(), fs::read(&link).unwrap()),
            (b"kept".to_vec(), b"new".to_vec())
        );
    }

    #[test]
    fn faults_leave_nothing_behind() {
        let directory = tempdir().unwrap();
        fs::create_dir(directory.path().join("dir")).unwrap();
        let error = write(&directory.path().join("dir"), b"x", 0o600).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::EISDIR as i32));
        assert_eq!(names(directory.path()), ["dir"]);
        assert!(names(&directory.path().join("dir")).is_empty());
        for bad in ["/", "..", "", "missing/.."] {
            assert_eq!(
                write(Path::new(bad), b"", 0o600).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{bad}"
            );
        }
        let missing = directory.path().join("missing/file");
        assert_eq!(write(&missing, b"", 0o600).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    /// Runs `act` in a directory on a separate file system, in a mount namespace of this test's thread.
    fn on_tmpfs(options: &'static str, act: impl FnOnce(&Path) + Send + 'static) {
        if !Uid::effective().is_root() {
            eprintln!("skipped: mounting a tmpfs needs root");
            return;
        }
        let alone = move || {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
                .unwrap();
            let directory: TempDir = tempdir().unwrap();
            mount(Some("tmpfs"), directory.path(), Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
            act(directory.path());
            nix::mount::umount(directory.path()).unwrap();
        };
        thread::spawn(alone).join().unwrap();
    }

    #[test]
    fn full_file_system() {
        on_tmpfs("size=64k,nr_inodes=8", |directory| {
            let path = directory.join("a.ini");
            write(&path, b"old", 0o600).unwrap();
            let error = write(&path, &[b'x'; 100_000], 0o600).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(Errno::ENOSPC as i32));
            assert_eq!(
                (names(directory), fs::read(&path).unwrap()),
                (vec!["a.ini".to_owned()], b"old".to_vec())
            );
            for number in 0..6 {
                fs::write(directory.join(number.to_string()), "").unwrap();
            }
            assert_eq!(write(&path, b"x", 0o600).unwrap_err().raw_os_error(), Some(Errno::ENOSPC as i32));
            assert_eq!(fs::read(&path).unwrap(), b"old");
        });
    }

    #[test]
    fn read_only_file_system() {
        on_tmpfs("size=64k", |directory| {
            let path = directory.join("a.ini");
            write(&path, b"old", 0o600).unwrap();
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(None::<&str>, directory, None::<&str>, flags, None::<&str>).unwrap();
            assert_eq!(write(&path, b"new", 0o600).unwrap_err().raw_os_error(), Some(Errno::EROFS as i32));
            assert_eq!(
                (names(directory), fs::read(&path).unwrap()),
                (vec!["a.ini".to_owned()], b"old".to_vec())
            );
        });
    }

    #[test]
    fn a_reader_never_sees_half_a_file() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("a.ini");
        let contents: [Vec<u8>; 2] = [vec![b'a'; 50_000], vec![b'b'; 70_000]];
        write(&path, &contents[0], 0o600).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..100 {
                    write(&path, &contents[round % 2], 0o600).unwrap();
                }
                done.store(true, Ordering::SeqCst);
            });
            // A concurrent sweep must not remove a temporary file in use.
            while !done.load(Ordering::SeqCst) {
                assert!(contents.contains(&fs::read(&path).unwrap()));
                remove_stale_temporaries(directory.path()).unwrap();
            }
        });
        assert_eq!(names(directory.path()), ["a.ini"]);
    }

    #[test]
    fn only_stale_temporaries_are_removed() {
        let directory = tempdir().unwrap();
        let (stale, used) = (".ds-0123456789abcdef.tmp", ".ds-00000000000000aa.tmp");
        let kept = [used, ".ds-1.tmp", "a.tmp", "x.ds-0123456789abcdef.tmp"];
        for name in kept.iter().chain([&stale]) {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let file = File::open(directory.path().join(used)).unwrap();
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
        assert_eq!(remove_stale_temporaries(directory.path()).unwrap(), 1);
        let mut expected = kept.map(str::to_owned);
        expected.sort();
        assert_eq!(names(directory.path()), expected);
        drop(lock);
        assert_eq!(remove_stale_temporaries(directory.path()).unwrap(), 1);
    }

    #[test]
    fn reading_is_bounded_and_takes_only_files() {
        let directory = tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let fifo = directory.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRUSR).unwrap();
        for bad in [&fifo, directory.path(), Path::new("/dev/zero")] {
            assert_eq!(read(bad, 5).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{}", bad.display());
        }
    }
}
