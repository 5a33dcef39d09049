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
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::unistd::execve;

use crate::call;
use crate::sys::descriptor::executable_memfd;

const PROGRAM: &str = "/proc/self/exe";

/// Replaces this process image by a copy of its program; `scratch` is a directory for the copy when there is no
/// memfd to be had. Returns only when nothing could be executed at all.
///
/// # Errors
/// Why not even the file on disk could be executed.
pub fn execute_copy(arguments: &[CString], environment: &[CString], scratch: &Path) -> Result<Infallible> {
    let ways: [fn(&Path) -> Result<OwnedFd>; 3] = [sealed, |scratch| unlinked(scratch), |_| on_disk()];
    let mut failure = anyhow::anyhow!("no way to run {PROGRAM}");
    for way in ways {
        let executed = way(scratch).and_then(|program| {
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

/// Whether this process runs from an anonymous copy.
#[must_use]
pub fn is_copy() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(PROGRAM).is_ok_and(|program| program.nlink() == 0)
}

fn sealed(_scratch: &Path) -> Result<OwnedFd> {
    let mut copy = File::from(call!(executable_memfd(c"ds"), "memfd_create")?);
    copy_program(&mut copy)?;
    let seals =
        SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    call!(fcntl(&copy, FcntlArg::F_ADD_SEALS(seals)), "fcntl(F_ADD_SEALS)")?;
    Ok(copy.into())
}

fn unlinked(scratch: &Path) -> Result<OwnedFd> {
    let mut copy = OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o500)
        .custom_flags(libc::O_TMPFILE)
        .open(scratch)
        .with_context(|| format!("open({}, O_TMPFILE)", scratch.display()))?;
    copy_program(&mut copy)?;
    // A file that is open for writing cannot be executed (ETXTBSY), and one that is executed not be written.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Ok(File::open(&path).with_context(|| format!("open {path}"))?.into())
}

fn on_disk() -> Result<OwnedFd> {
    Ok(File::open(PROGRAM).with_context(|| format!("open {PROGRAM}"))?.into())
}

fn copy_program(copy: &mut File) -> Result<()> {
    let mut program = File::open(PROGRAM).with_context(|| format!("open {PROGRAM}"))?;
    io::copy(&mut program, copy).with_context(|| format!("copy {PROGRAM}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_sealed_copy_is_whole_and_cannot_be_written() {
        let copy = File::from(sealed(Path::new("/nonexistent")).unwrap());
        assert_eq!(copy.metadata().unwrap().len(), std::fs::metadata(PROGRAM).unwrap().len());
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        let mut writable = OpenOptions::new().write(true).open(path).unwrap();
        assert_eq!(writable.write_all(b"x").unwrap_err().raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn the_unlinked_copy_is_whole_and_has_no_name() {
        use std::os::unix::fs::MetadataExt;
        let copy = File::from(unlinked(&std::env::temp_dir()).unwrap());
        assert_eq!(copy.metadata().unwrap().len(), std::fs::metadata(PROGRAM).unwrap().len());
        assert_eq!(copy.metadata().unwrap().nlink(), 0);
        assert!((&copy).write_all(b"x").is_err());
    }
}
