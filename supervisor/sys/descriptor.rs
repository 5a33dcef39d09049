//! File descriptors: close_range(2), dup(2), memfd_create(2), fcntl(2), flock(2), and the one place where a number
//! becomes an owned descriptor.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::{check, unsupported};

/// `CLOSE_RANGE_CLOEXEC`, since 5.11.
const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
/// `MFD_EXEC`, since 6.3: the copy may be executed whatever `vm.memfd_noexec` says.
const MFD_EXEC: libc::c_uint = 0x10;

/// Takes ownership of a descriptor that the kernel or a parent process handed over by number.
///
/// The number must be open and owned by nobody else in this process.
#[must_use]
pub fn adopt(number: RawFd) -> OwnedFd {
    // SAFETY: every caller passes a number that was just received from the kernel (SCM_RIGHTS, a new
    // descriptor) or inherited at exec, so nothing else in this process owns it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Marks every descriptor from `first` on close-on-exec, close_range(2) with CLOSE_RANGE_CLOEXEC (5.11);
/// older kernels: a walk over /proc/self/fd. The walk needs `proc`, a trusted procfs directory.
///
/// # Errors
/// When neither way works.
pub fn close_on_exec_from(first: libc::c_uint, proc: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: close_range with this flag changes descriptor flags only.
    let done =
        check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) });
    match done {
        Ok(_) => Ok(()),
        Err(errno) if unsupported(errno) || errno == Errno::EINVAL => walk_close_on_exec(first, proc),
        Err(errno) => Err(errno),
    }
}

fn walk_close_on_exec(first: libc::c_uint, proc: BorrowedFd<'_>) -> Result<(), Errno> {
    use nix::dir::Dir;
    use nix::fcntl::OFlag;
    use nix::sys::stat::Mode;

    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = Dir::openat(proc, "self/fd", flags, Mode::empty())?;
    let numbers: Vec<RawFd> = listing
        .iter()
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok())
        .filter(|number| libc::c_uint::try_from(*number).is_ok_and(|number| number >= first))
        .collect();
    drop(listing);
    for number in numbers {
        // SAFETY: the descriptor is only borrowed for one fcntl; a number that has been closed since (the
        // listing's own) answers EBADF, which is ignored.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        match fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)) {
            Ok(_) | Err(Errno::EBADF) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Makes a descriptor the standard stream `number` (0, 1 or 2) without close-on-exec, dup2(2).
///
/// # Errors
/// What dup2(2) or fcntl(2) answers.
pub fn make_standard(descriptor: BorrowedFd<'_>, number: RawFd) -> Result<(), Errno> {
    if descriptor.as_raw_fd() == number {
        return fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty())).map(drop);
    }
    // SAFETY: dup2 onto 0..=2 replaces a standard stream, which no OwnedFd of ours wraps.
    check(libc::c_long::from(unsafe { libc::dup2(descriptor.as_raw_fd(), number) })).map(drop)
}

/// Locks a file for as long as any copy of the descriptor is open, flock(2) with LOCK_EX and LOCK_NB.
///
/// Unlike nix's guard, closing one copy, as a forked child does, leaves the lock with the others.
///
/// # Errors
/// EWOULDBLOCK when another open file holds the lock.
pub fn try_lock(file: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: plain integers.
    let done = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    check(libc::c_long::from(done)).map(drop)
}

/// An anonymous file that can be sealed and executed, memfd_create(2) (3.17).
///
/// # Errors
/// ENOSYS before 3.17, otherwise what the kernel answers.
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
