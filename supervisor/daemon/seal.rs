//! Runs the program again from a copy of itself that nothing can change.
//!
//! Workers, monitors and the first moments of a container's PID 1 are forks of the supervisor, so a container can
//! reach its program through /proc/PID/exe. That must not be the file on disk (CVE-2019-5736): it is a sealed memfd,
//! or on kernels and policies that refuse to run one, an unlinked copy that nobody has open for writing.
//! memfd_create(2), fcntl(2) F_ADD_SEALS, open(2) O_TMPFILE, execve(2).

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::unistd::execve;

use crate::call;
use crate::sys::descriptor::executable_memfd;

const PROGRAM: &str = "/proc/self/exe";

/// From the best to the last.
const WAYS: [fn(&Path, &Path) -> Result<OwnedFd>; 3] = [sealed, unlinked, on_disk];

/// Replaces this process image by a copy of its program; `scratch` is a directory for the copy when there is no
/// memfd to be had. Returns only when nothing could be executed at all.
///
/// # Errors
/// Why not even the file on disk could be executed.
pub fn execute_copy(arguments: &[CString], environment: &[CString], scratch: &Path) -> Result<Infallible> {
    let mut failure = anyhow::anyhow!("no way to run {PROGRAM}");
    for way in WAYS {
        let executed = way(Path::new(PROGRAM), scratch).and_then(|program| {
            // Not fexecve(3): TOMOYO on kernels before 6 looks for /dev/fd, which not every machine has.
            let path = CString::new(format!("/proc/self/fd/{}", program.as_raw_fd()))?;
            Ok(call!(execve(&path, arguments, environment), "execve({PROGRAM})")?)
        });
        match executed {
            Ok(never) => match never {},
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// A copy of another program, or where there is none to be had, the program itself, that `runs` is content with.
///
/// # Errors
/// What was wrong with the last of them.
pub fn copy_that_runs(
    program: &Path,
    scratch: &Path,
    runs: &mut dyn FnMut(BorrowedFd<'_>) -> Result<()>,
) -> Result<OwnedFd> {
    let mut failure = anyhow::anyhow!("it cannot be run");
    for way in WAYS {
        match way(program, scratch).and_then(|copy| runs(copy.as_fd()).map(|()| copy)) {
            Ok(copy) => return Ok(copy),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Whether this process runs from an anonymous copy.
#[must_use]
pub fn is_copy() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(PROGRAM).is_ok_and(|program| program.nlink() == 0)
}

fn sealed(program: &Path, _scratch: &Path) -> Result<OwnedFd> {
    let mut copy = File::from(call!(executable_memfd(c"ds"), "memfd_create")?);
    copy_program(program, &mut copy)?;
    let seals =
        SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    call!(fcntl(&copy, FcntlArg::F_ADD_SEALS(seals)), "fcntl(F_ADD_SEALS)")?;
    Ok(copy.into())
}

fn unlinked(program: &Path, scratch: &Path) -> Result<OwnedFd> {
    let mut copy = OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o500)
        .custom_flags(libc::O_TMPFILE)
        .open(scratch)
        .with_context(|| format!("open({}, O_TMPFILE)", scratch.display()))?;
    copy_program(program, &mut copy)?;
    // A file that is open for writing cannot be executed (ETXTBSY), and one that is executed not be written.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Ok(File::open(&path).with_context(|| format!("open {path}"))?.into())
}

fn on_disk(program: &Path, _scratch: &Path) -> Result<OwnedFd> {
    Ok(File::open(program).with_context(|| format!("open {}", program.display()))?.into())
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
        let copy = File::from(sealed(Path::new(PROGRAM), Path::new("/nonexistent")).unwrap());
        assert_eq!(copy.metadata().unwrap().len(), std::fs::metadata(PROGRAM).unwrap().len());
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        let mut writable = OpenOptions::new().write(true).open(path).unwrap();
        assert_eq!(writable.write_all(b"x").unwrap_err().raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn the_unlinked_copy_is_whole_and_has_no_name() {
        use std::os::unix::fs::MetadataExt;
        let copy = File::from(unlinked(Path::new(PROGRAM), &std::env::temp_dir()).unwrap());
        assert_eq!(copy.metadata().unwrap().len(), std::fs::metadata(PROGRAM).unwrap().len());
        assert_eq!(copy.metadata().unwrap().nlink(), 0);
        assert!((&copy).write_all(b"x").is_err());
    }
}
