//! File descriptors: close_range(2), dup(2), memfd_create(2), fcntl(2), flock(2), and the one place where a number
//! becomes an owned descriptor.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::stat::Mode;

use super::{check, unsupported};

/// `CLOSE_RANGE_CLOEXEC`, since 5.11.
const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
/// `MFD_EXEC`, since 6.3: the copy may be executed regardless of `vm.memfd_noexec`.
const MFD_EXEC: libc::c_uint = 0x10;

/// Takes ownership of a descriptor that the kernel or a parent process passed as a number.
///
/// The number must be open, with no other owner in this process.
#[must_use]
pub fn adopt(number: RawFd) -> OwnedFd {
    // SAFETY: every caller passes a number that was just received from the kernel (SCM_RIGHTS, a new
    // descriptor) or inherited at exec, so nothing else in this process owns it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// The path of a descriptor of this process in /proc, proc_pid_fd(5): a link to the path with which it was opened.
#[must_use]
pub fn path(descriptor: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

/// The same, relative to /proc, for mount(2) in a trusted /proc as the working directory.
#[must_use]
pub fn name(descriptor: impl AsFd) -> String {
    format!("self/fd/{}", descriptor.as_fd().as_raw_fd())
}

/// Marks every descriptor from `first` on close-on-exec; the walk over /proc/self/fd on kernels without
/// [`close_range_on_exec`] needs `proc`, a trusted procfs directory.
///
/// # Errors
/// If neither way works.
pub fn close_on_exec_from(first: libc::c_uint, proc: BorrowedFd<'_>) -> Result<(), Errno> {
    match close_range_on_exec(first) {
        Err(errno) if unsupported(errno) || errno == Errno::EINVAL => walk_close_on_exec(first, proc),
        other => other,
    }
}

/// Marks every descriptor from `first` on close-on-exec, close_range(2) with CLOSE_RANGE_CLOEXEC (5.11).
///
/// # Errors
/// ENOSYS before 5.9, EINVAL before 5.11.
pub fn close_range_on_exec(first: libc::c_uint) -> Result<(), Errno> {
    // SAFETY: close_range with this flag changes descriptor flags only.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) })
        .map(drop)
}

/// The open descriptors of this process from `first` on, listed in `proc`, a procfs directory.
fn open_numbers(first: RawFd, proc: BorrowedFd<'_>) -> Result<Vec<RawFd>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = Dir::openat(proc, "self/fd", flags, Mode::empty())?;
    let own = listing.as_raw_fd();
    Ok(listing
        .iter()
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok())
        .filter(|number| *number >= first && *number != own)
        .collect())
}

/// Closes every descriptor from 3 on except `kept`: for a forked process that continues independently. The owners of
/// the others must never be used or dropped again.
///
/// # Errors
/// If the open descriptors cannot be listed.
pub fn close_others(kept: &[BorrowedFd<'_>], proc: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut kept: Vec<RawFd> = kept.iter().map(AsRawFd::as_raw_fd).chain([proc.as_raw_fd()]).collect();
    kept.sort_unstable();
    if close_between(&kept).is_ok() {
        return Ok(());
    }
    for number in open_numbers(3, proc)?.into_iter().filter(|number| !kept.contains(number)) {
        // SAFETY: by contract, these descriptors are not used any more.
        unsafe { libc::close(number) };
    }
    Ok(())
}

/// Closes every descriptor from 3 on except those in a sorted list, without a listing of them, for which the kernel
/// would make a file in /proc for each.
fn close_between(kept: &[RawFd]) -> Result<(), Errno> {
    let mut first = 3;
    for number in kept.iter().filter_map(|number| libc::c_uint::try_from(*number).ok()) {
        if first < number {
            close_range(first, number - 1)?;
        }
        first = first.max(number + 1);
    }
    close_range(first, libc::c_uint::MAX)
}

/// Closes the descriptors from `first` to `last`, close_range(2) (5.9).
fn close_range(first: libc::c_uint, last: libc::c_uint) -> Result<(), Errno> {
    // SAFETY: by the contract of the callers, these descriptors are not used any more.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

fn walk_close_on_exec(first: libc::c_uint, proc: BorrowedFd<'_>) -> Result<(), Errno> {
    for number in open_numbers(RawFd::try_from(first).map_err(|_| Errno::EINVAL)?, proc)? {
        // SAFETY: the descriptor is only borrowed for one fcntl; a number that has been closed since (the listing's
        // own) causes EBADF, which is ignored.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        match fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)) {
            Ok(_) | Err(Errno::EBADF) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Closes every descriptor from `first` on, close_range(2) (5.9); older kernels: those that `proc`, a trusted procfs
/// directory, lists.
///
/// For a newly forked process that leaves all state of its parent behind and never returns to it: the owners of the
/// descriptors must not be used again.
///
/// # Errors
/// If neither way works.
pub fn close_from(first: libc::c_uint, proc: BorrowedFd<'_>) -> Result<(), Errno> {
    match close_range(first, libc::c_uint::MAX) {
        Err(errno) if unsupported(errno) || errno == Errno::EINVAL => {
            for number in open_numbers(RawFd::try_from(first).map_err(|_| Errno::EINVAL)?, proc)? {
                // SAFETY: by the contract above.
                unsafe { libc::close(number) };
            }
            Ok(())
        }
        other => other,
    }
}

/// Makes a descriptor the standard stream `number` (0, 1 or 2) without close-on-exec, dup2(2).
///
/// # Errors
/// If dup2(2) or fcntl(2) fails.
pub fn make_standard(descriptor: BorrowedFd<'_>, number: RawFd) -> Result<(), Errno> {
    if descriptor.as_raw_fd() == number {
        return fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty())).map(drop);
    }
    // SAFETY: dup2 onto 0..=2 replaces a standard stream, which no OwnedFd of ours wraps.
    check(libc::c_long::from(unsafe { libc::dup2(descriptor.as_raw_fd(), number) })).map(drop)
}

/// Locks a file while any copy of the descriptor is open, flock(2) with LOCK_EX and LOCK_NB.
///
/// Unlike with nix's guard, closing one copy, as in a forked child, does not release the lock.
///
/// # Errors
/// EWOULDBLOCK if another open file description holds the lock.
pub fn try_lock(file: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: plain integers.
    let done = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    check(libc::c_long::from(done)).map(drop)
}

/// Makes the file `to` share all blocks of `from`, ioctl_ficlone(2) (4.5).
///
/// # Errors
/// EOPNOTSUPP if the file system does not support it, EXDEV for two file systems, or another error.
pub fn share_blocks(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    // The type of the request differs between C libraries.
    let request = libc::FICLONE as _;
    // SAFETY: plain integers.
    check(libc::c_long::from(unsafe { libc::ioctl(to.as_raw_fd(), request, from.as_raw_fd()) })).map(drop)
}

/// Takes a shared lock on a file, flock(2) with LOCK_SH and LOCK_NB; releases the previous lock first.
///
/// # Errors
/// EWOULDBLOCK if another open file description holds an exclusive lock.
pub fn try_lock_shared(file: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: plain integers.
    let done = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_SH | libc::LOCK_NB) };
    check(libc::c_long::from(done)).map(drop)
}

/// Makes the open file description non-blocking, O_NONBLOCK of fcntl(2).
///
/// # Errors
/// If fcntl(2) fails.
pub fn set_nonblocking(descriptor: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = OFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFL)?);
    fcntl(descriptor, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

/// Makes the open file description blocking, fcntl(2).
///
/// # Errors
/// If fcntl(2) fails.
pub fn set_blocking(descriptor: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = OFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFL)?);
    fcntl(descriptor, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK)).map(drop)
}

/// An anonymous file that can be sealed and executed, memfd_create(2) (3.17).
///
/// # Errors
/// ENOSYS before 3.17, or another error.
pub fn executable_memfd(name: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    let base = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a NUL-terminated string that outlives the call.
    let with_exec = check(unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), base | MFD_EXEC) });
    let number = match with_exec {
        // SAFETY: as above.
        Err(Errno::EINVAL) => check(unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), base) })?,
        other => other?,
    };
    Ok(adopt(RawFd::try_from(number).map_err(|_| Errno::EBADF)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::with_one_thread;
    use std::fs::File;

    #[test]
    fn only_the_kept_descriptors_stay_open() {
        let done = with_one_thread(|| {
            let (null, proc) = (File::open("/dev/null").unwrap(), File::open("/proc").unwrap());
            let list = || {
                let mut numbers = open_numbers(3, proc.as_fd()).unwrap();
                numbers.sort_unstable();
                numbers
            };
            // Among them is that for the result.
            let before = list();
            let copies: Vec<File> = (0..8).map(|_| null.try_clone().unwrap()).collect();
            let mut expected = before.clone();
            expected.extend([1, 2, 6].map(|index: usize| copies[index].as_raw_fd()));
            // SAFETY: they are open.
            let mut kept: Vec<_> =
                expected.iter().map(|number| unsafe { BorrowedFd::borrow_raw(*number) }).collect();
            kept.reverse();
            close_others(&kept, proc.as_fd()).map_err(|errno| errno.to_string())?;
            expected.sort_unstable();
            let left = list();
            std::mem::forget(copies);
            if left == expected { Ok(()) } else { Err(format!("{left:?} instead of {expected:?}")) }
        });
        assert_eq!(done, Ok(()));
    }
}
