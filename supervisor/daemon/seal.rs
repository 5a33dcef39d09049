//! Executes a copy of the program that no container can modify.
//!
//! Workers, monitors and the first stage of a container's PID 1 are forks of the supervisor, so a container can reach
//! the supervisor's program through /proc/PID/exe. That must not be the file on disk (CVE-2019-5736). Owns the choice
//! of the copy: an unnamed file on the file system of the data directory, whose pages the kernel can drop and read
//! again. While a process executes it, it cannot be opened for writing (ETXTBSY); afterwards, no process ever executes
//! it again. Kernels 6.11 and 6.12 temporarily lacked ETXTBSY, and some file systems are shared with other machines;
//! then a sealed memfd is used, which stays in memory. memfd_create(2), fcntl(2) F_ADD_SEALS, open(2) O_TMPFILE,
//! execve(2), statfs(2).

use std::convert::Infallible;
use std::env;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, OVERLAYFS_SUPER_MAGIC, fstatfs};
use nix::unistd::execve;

use crate::call;
use crate::paths::{self, Paths};
use crate::sys::descriptor;
use crate::sys::descriptor::executable_memfd;

const PROGRAM: &str = "/proc/self/exe";

/// In order of preference.
const WAYS: [fn(&Path, &Paths) -> Result<OwnedFd>; 4] = [in_data, sealed, in_run, on_disk];

/// Local file systems on which an unnamed file exists until it is closed: ext2 to ext4, btrfs, overlayfs, XFS and F2FS.
/// On others, another machine may change the file, access may be slow, or the file is in memory anyway.
const LOCAL: [FsType; 5] =
    [EXT4_SUPER_MAGIC, BTRFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, FsType(0x5846_5342), FsType(0xF2F5_2010)];

/// Replaces this process image by a copy of its program. Returns only if nothing could be executed.
///
/// # Errors
/// Why not even the file on disk could be executed.
pub fn execute_copy(arguments: &[CString], environment: &[CString], paths: &Paths) -> Result<Infallible> {
    let mut failure = anyhow::anyhow!("no way to run {PROGRAM}");
    for way in WAYS {
        let executed = way(Path::new(PROGRAM), paths).and_then(|copy| execute(&copy, arguments, environment));
        match executed {
            Ok(never) => match never {},
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// In a program that was just executed: switches to a sealed memfd if the program's file is writable. Returns if that
/// is unnecessary or impossible; [`is_protected`] tells which.
pub fn leave_writable_copy() {
    if is_protected() {
        return;
    }
    let words =
        |words: &mut dyn Iterator<Item = Vec<u8>>| words.map(CString::new).collect::<Result<Vec<_>, _>>();
    let joined = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        [name.into_vec(), value.into_vec()].join(&b'=')
    };
    let arguments = words(&mut env::args_os().map(OsStringExt::into_vec));
    let environment = words(&mut env::vars_os().map(joined));
    if let (Ok(arguments), Ok(environment), Ok(copy)) = (arguments, environment, memfd(Path::new(PROGRAM))) {
        // The supervisor reports this once it has a log.
        let _ = execute(&copy, &arguments, &environment);
    }
}

/// A copy of another program, or the program itself if no copy works, that `runs` accepts.
///
/// # Errors
/// The error of the last attempt.
pub fn copy_that_runs(
    program: &Path,
    paths: &Paths,
    runs: &mut dyn FnMut(BorrowedFd<'_>) -> Result<()>,
) -> Result<OwnedFd> {
    let mut failure = anyhow::anyhow!("it cannot be run");
    for way in WAYS {
        match way(program, paths).and_then(|copy| runs(copy.as_fd()).map(|()| copy)) {
            Ok(copy) => return Ok(copy),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Whether this process runs from an unnamed copy that cannot be written.
#[must_use]
pub fn is_protected() -> bool {
    let Ok(program) = File::open(PROGRAM) else { return false };
    if !program.metadata().is_ok_and(|program| program.nlink() == 0) {
        return false;
    }
    // A sealed memfd can be opened for writing, but not written.
    if fcntl(&program, FcntlArg::F_GET_SEALS).is_ok_and(|seals| seals & SealFlag::F_SEAL_WRITE.bits() != 0) {
        return true;
    }
    let opened = OpenOptions::new().write(true).open(PROGRAM);
    opened.is_err_and(|error| error.raw_os_error() == Some(libc::ETXTBSY))
}

fn execute(program: &OwnedFd, arguments: &[CString], environment: &[CString]) -> Result<Infallible> {
    // Not fexecve(3): TOMOYO on kernels before 6 needs /dev/fd, which some machines lack.
    let path = CString::new(descriptor::path(program.as_fd()))?;
    Ok(call!(execve(&path, arguments, environment), "execve({PROGRAM})")?)
}

fn in_data(program: &Path, paths: &Paths) -> Result<OwnedFd> {
    let directory = &paths.data;
    paths::create_private(directory)?;
    let opened = File::open(directory).with_context(|| format!("open {}", directory.display()))?;
    let kind = call!(fstatfs(&opened), "fstatfs({})", directory.display())?.filesystem_type();
    ensure!(LOCAL.contains(&kind), "{} is not on a local file system", directory.display());
    unlinked(program, directory)
}

fn sealed(program: &Path, _paths: &Paths) -> Result<OwnedFd> {
    memfd(program)
}

fn in_run(program: &Path, paths: &Paths) -> Result<OwnedFd> {
    unlinked(program, &paths.run)
}

fn on_disk(program: &Path, _paths: &Paths) -> Result<OwnedFd> {
    Ok(File::open(program).with_context(|| format!("open {}", program.display()))?.into())
}

fn memfd(program: &Path) -> Result<OwnedFd> {
    let mut copy = File::from(call!(executable_memfd(c"ds"), "memfd_create")?);
    copy_program(program, &mut copy)?;
    let seals =
        SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    call!(fcntl(&copy, FcntlArg::F_ADD_SEALS(seals)), "fcntl(F_ADD_SEALS)")?;
    Ok(copy.into())
}

fn unlinked(program: &Path, directory: &Path) -> Result<OwnedFd> {
    let mut copy = OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o500)
        // With O_EXCL, it can never get a name.
        .custom_flags(libc::O_TMPFILE | libc::O_EXCL)
        .open(directory)
        .with_context(|| format!("open({}, O_TMPFILE)", directory.display()))?;
    copy_program(program, &mut copy)?;
    // A file that is open for writing cannot be executed (ETXTBSY), and an executing file cannot be written.
    let path = descriptor::path(copy.as_fd());
    Ok(File::open(&path).with_context(|| format!("open {path}"))?.into())
}

fn copy_program(program: &Path, copy: &mut File) -> Result<()> {
    let mut file = File::open(program).with_context(|| format!("open {}", program.display()))?;
    io::copy(&mut file, copy).with_context(|| format!("copy {}", program.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_sealed_copy_is_whole_and_cannot_be_written() {
        let copy = File::from(memfd(Path::new(PROGRAM)).unwrap());
        assert_eq!(copy.metadata().unwrap().len(), std::fs::metadata(PROGRAM).unwrap().len());
        let path = descriptor::path(copy.as_fd());
        let mut writable = OpenOptions::new().write(true).open(path).unwrap();
        assert_eq!(writable.write_all(b"x").unwrap_err().raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn the_unlinked_copy_is_whole_and_has_no_name() {
        let copy = File::from(unlinked(Path::new(PROGRAM), &std::env::temp_dir()).unwrap());
        assert_eq!(copy.metadata().unwrap().len(), std::fs::metadata(PROGRAM).unwrap().len());
        assert_eq!(copy.metadata().unwrap().nlink(), 0);
        assert!((&copy).write_all(b"x").is_err());
    }

    #[test]
    fn the_data_directory_of_a_file_system_in_memory_has_no_copy() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        assert!(in_data(Path::new(PROGRAM), &Paths::below(directory.path())).is_err());
    }
}
