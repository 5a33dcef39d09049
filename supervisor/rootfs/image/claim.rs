//! Access to an image: one writer, or any number of readers.
//!
//! Owns the locks. They are on the inode, so another name or a hard link refers to the same lock, and they end with the
//! last process that holds them: flock(2) for the use, an open file description lock of fcntl(2) for the one reader
//! that may check. Other programs do not use these locks, so loop devices are checked as well, and block devices are
//! opened with O_EXCL, open(2).

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use super::content::is_image;
use super::request::Access;
use crate::call;
use crate::poll::is_hung_up;
use crate::rootfs::loop_device::{Attached, Nodes, attached_as, has, wait_until};
use crate::rootfs::root::{file_type, reopen};
use crate::sys::descriptor;

/// The timeout for a device that is about to release a file, because its last user has just been killed.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A claimed image; dropping this releases it.
#[derive(Debug)]
pub struct Claim {
    file: OwnedFd,
    status: FileStat,
    size: u64,
    writable: bool,
    alone: bool,
}

/// Claims an image.
///
/// # Errors
/// If it is neither a file nor a block device, or is in use.
pub fn claim(
    image: &Path,
    access: Access,
    nodes: &Nodes,
    interrupt: Option<BorrowedFd<'_>>,
) -> Result<Claim> {
    let found = call!(
        nix::fcntl::open(image, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()),
        "open({})",
        image.display()
    )?;
    let status = call!(fstat(&found), "fstat({})", image.display())?;
    if is_image(file_type(&status))? {
        claim_file(&found, status, access, nodes, interrupt)
    } else {
        claim_device(&found, status, access)
    }
}

fn claim_file(
    found: &OwnedFd,
    status: FileStat,
    access: Access,
    nodes: &Nodes,
    interrupt: Option<BorrowedFd<'_>>,
) -> Result<Claim> {
    let (file, writable) = match reopen(found.as_fd(), OFlag::O_RDWR) {
        Ok(file) => (OwnedFd::from(file), true),
        Err(_) if access == Access::ReadOnly => (reopen(found.as_fd(), OFlag::O_RDONLY)?.into(), false),
        Err(error) if matches!(crate::sys::errno_of(&error), Some(Errno::EROFS | Errno::EPERM)) => {
            return Err(error.context(
                "the image cannot be written to; set volatile=yes to keep all changes in memory, or copy it",
            ));
        }
        Err(error) => return Err(error),
    };
    lock(file.as_fd(), access)?;
    let mut alone = access == Access::ReadWrite || reading(file.as_fd(), writable, interrupt)?;
    let others = |access| {
        let attached = attached_as(status.st_dev, status.st_ino, nodes);
        attached.into_iter().filter(|other| access == Access::ReadWrite || !other.read_only).collect()
    };
    refuse_attached(&mut || others(access))?;
    if access == Access::ReadOnly && alone {
        alone = others(Access::ReadWrite).is_empty();
    }
    let size = u64::try_from(status.st_size).unwrap_or(0);
    Ok(Claim { file, status, size, writable, alone })
}

/// Waits for devices that release the file by themselves, and refuses all others.
fn refuse_attached(others: &mut dyn FnMut() -> Vec<Attached>) -> Result<()> {
    let mut last = Vec::new();
    wait_until(TIMEOUT, &mut || {
        last = others();
        last.is_empty() || last.iter().any(|other| !other.autoclear)
    });
    match last.first() {
        None => Ok(()),
        Some(other) => {
            bail!("another program uses the image through loop{}; detach it, see 'losetup -l'", other.number)
        }
    }
}

/// Block devices are opened read-only: some kernels refuse to mount one that is open for writing.
fn claim_device(found: &OwnedFd, status: FileStat, access: Access) -> Result<Claim> {
    let file: OwnedFd = reopen(found.as_fd(), OFlag::O_RDONLY | OFlag::O_NONBLOCK)?.into();
    lock(file.as_fd(), access)?;
    let alone = match reopen(found.as_fd(), OFlag::O_RDONLY | OFlag::O_EXCL | OFlag::O_NONBLOCK) {
        Ok(_) => true,
        Err(error) if crate::sys::errno_of(&error) == Some(Errno::EBUSY) => {
            // Other volatile containers have it mounted, and hold the same lock.
            if access == Access::ReadWrite || descriptor::try_lock(file.as_fd()).is_ok() {
                bail!("the block device is mounted, swap, or part of another device; unmount it first");
            }
            lock(file.as_fd(), access)?;
            false
        }
        Err(error) => return Err(error),
    };
    let end = File::from(file.try_clone().context("dup")?).seek(SeekFrom::End(0));
    let size = call!(end, "lseek(the block device)")?;
    Ok(Claim { file, status, size, writable: true, alone })
}

/// A killed monitor holds its lock a moment longer than its socket answers: the kernel closes one after the other.
fn lock(file: BorrowedFd<'_>, access: Access) -> Result<()> {
    let mut locked = Ok(());
    wait_until(Duration::from_secs(1), &mut || {
        locked = match access {
            Access::ReadWrite => descriptor::try_lock(file),
            Access::ReadOnly => descriptor::try_lock_shared(file),
        };
        locked != Err(Errno::EWOULDBLOCK)
    });
    match locked {
        Err(Errno::EWOULDBLOCK) => bail!("another container or command uses the image"),
        other => Ok(call!(other, "flock(the image)")?),
    }
}

/// Becomes a reader. The first one may check, and the others wait for it: `true` for the first.
fn reading(file: BorrowedFd<'_>, writable: bool, interrupt: Option<BorrowedFd<'_>>) -> Result<bool> {
    if writable && set_range_lock(file, libc::F_WRLCK).is_ok() {
        return Ok(true);
    }
    let mut answer = Err(Errno::EAGAIN);
    let mut interrupted = false;
    while matches!(answer, Err(Errno::EAGAIN | Errno::EACCES)) && !interrupted {
        wait_until(Duration::from_secs(1), &mut || {
            answer = set_range_lock(file, libc::F_RDLCK);
            interrupted = interrupt.is_some_and(is_hung_up);
            interrupted || !matches!(answer, Err(Errno::EAGAIN | Errno::EACCES))
        });
    }
    if interrupted {
        bail!("interrupted");
    }
    // Without such locks, the check is skipped.
    Ok(false)
}

fn set_range_lock(file: BorrowedFd<'_>, kind: libc::c_int) -> Result<(), Errno> {
    let range = libc::flock {
        l_type: libc::c_short::try_from(kind).map_err(|_| Errno::EINVAL)?,
        l_whence: libc::c_short::try_from(libc::SEEK_SET).map_err(|_| Errno::EINVAL)?,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&range)).map(drop)
}

impl Claim {
    /// The open image.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Size of the file or device, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it is a block device, which needs no loop device.
    #[must_use]
    pub fn is_device(&self) -> bool {
        file_type(&self.status) == SFlag::S_IFBLK
    }

    /// Whether this is the only reader, and it is writable: then it may be checked.
    #[must_use]
    pub fn may_be_checked(&self) -> bool {
        self.alone && self.writable
    }

    /// Whether this is the only reader.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// Whether loop device `number` has the image.
    #[must_use]
    pub fn is_attached_to(&self, number: u32, nodes: &Nodes) -> bool {
        has(number, (self.status.st_dev, self.status.st_ino), nodes)
    }

    /// Admits other readers, once the check is complete.
    pub fn share(&mut self) {
        // A writer has no such lock, and releasing it is harmless.
        let _ = set_range_lock(self.file.as_fd(), libc::F_RDLCK);
    }

    /// A path that always refers to the open image.
    #[must_use]
    pub fn path(&self) -> String {
        descriptor::path(self.file.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixStream;

    fn take(image: &Path, access: Access) -> Result<Claim> {
        claim(image, access, &Nodes::system(None), None)
    }

    fn refusal(result: Result<Claim>) -> String {
        format!("{:#}", result.map(drop).unwrap_err())
    }

    #[test]
    fn there_is_one_writer_or_any_number_of_readers_under_any_name() {
        let directory = tempfile::tempdir().unwrap();
        let names = ["image", "hard", "soft"].map(|name| directory.path().join(name));
        fs::write(&names[0], "x").unwrap();
        fs::hard_link(&names[0], &names[1]).unwrap();
        symlink(&names[0], &names[2]).unwrap();
        let writer = take(&names[0], Access::ReadWrite).unwrap();
        assert!(writer.may_be_checked());
        for name in &names {
            for access in [Access::ReadWrite, Access::ReadOnly] {
                assert!(refusal(take(name, access)).contains("uses the image"));
            }
        }
        drop(writer);
        let mut first = take(&names[1], Access::ReadOnly).unwrap();
        assert!(first.may_be_checked(), "the first may check");
        first.share();
        let second = take(&names[2], Access::ReadOnly).unwrap();
        assert!(!second.may_be_checked(), "the second may not");
        assert!(refusal(take(&names[0], Access::ReadWrite)).contains("uses the image"));
        drop((first, second));
        take(&names[0], Access::ReadWrite).unwrap();
    }

    #[test]
    fn what_is_no_image_is_refused_without_being_opened() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::from_bits_truncate(0o600)).unwrap();
        assert!(refusal(take(&fifo, Access::ReadWrite)).contains("neither a file nor a block device"));
        assert!(refusal(take(directory.path(), Access::ReadOnly)).contains("is a directory"));
        assert!(refusal(take(Path::new("/dev/null"), Access::ReadOnly)).contains("neither"));
        assert!(refusal(take(&directory.path().join("none"), Access::ReadOnly)).contains("ENOENT"));
    }

    #[test]
    fn a_reader_waits_for_the_check_until_it_is_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        fs::write(&image, "x").unwrap();
        let _checking = take(&image, Access::ReadOnly).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let waiting = claim(&image, Access::ReadOnly, &Nodes::system(None), Some(ours.as_fd()));
        assert_eq!(refusal(waiting), "interrupted");
    }

    #[test]
    fn a_device_that_is_being_released_is_awaited() {
        let autoclear = Attached { number: 3, read_only: false, autoclear: true };
        let mut left = 3;
        let mut others = || {
            left -= 1;
            if left == 0 { Vec::new() } else { vec![autoclear] }
        };
        refuse_attached(&mut others).unwrap();
        let kept = Attached { autoclear: false, ..autoclear };
        let error = refuse_attached(&mut || vec![kept]).unwrap_err();
        assert!(error.to_string().contains("loop3"), "{error:#}");
    }
}
