//! Installing a seccomp filter: seccomp(2).
//!
//! seccompiler's own installer sets no_new_privs, which would break sudo and every set-user-ID program of a
//! distribution. Root may install a filter without it.

use std::os::fd::{OwnedFd, RawFd};

use nix::errno::Errno;
use seccompiler::BpfProgram;

use super::{check, descriptor, unsupported};

/// `SECCOMP_FILTER_FLAG_TSYNC` (3.17).
const ALL_THREADS: libc::c_ulong = 1;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER` (5.0).
const NEW_LISTENER: libc::c_ulong = 8;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` (5.19): once a call was received, only a fatal signal interrupts it.
const WAIT_KILLABLE: libc::c_ulong = 32;

#[repr(C)]
struct FilterProgram {
    length: libc::c_ushort,
    filter: *const libc::c_void,
}

/// Installs a filter for the calling thread without no_new_privs, SECCOMP_SET_MODE_FILTER (3.17), else
/// PR_SET_SECCOMP (3.5). Needs CAP_SYS_ADMIN.
///
/// # Errors
/// EINVAL if the kernel has no CONFIG_SECCOMP_FILTER or the program is invalid, EACCES without the capability.
pub fn install(program: &BpfProgram) -> Result<(), Errno> {
    install_with(program, 0)
}

/// The same for all threads of the process; with PR_SET_SECCOMP only for the calling one.
///
/// # Errors
/// As for [`install`]; ESRCH if a thread has another filter.
pub fn install_for_all_threads(program: &BpfProgram) -> Result<(), Errno> {
    install_with(program, ALL_THREADS)
}

fn install_with(program: &BpfProgram, flags: libc::c_ulong) -> Result<(), Errno> {
    let length = libc::c_ushort::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let description = FilterProgram { length, filter: program.as_ptr().cast() };
    // SAFETY: sock_filter of seccompiler has the kernel's layout; pointer and length describe it and live
    // across the call.
    let done = check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const description)
    });
    match done {
        // The number of a thread that could not be synchronised.
        Ok(1..) => Err(Errno::ESRCH),
        Err(errno) if unsupported(errno) => {
            // SAFETY: as above.
            check(libc::c_long::from(unsafe {
                libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const description, 0, 0)
            }))
            .map(drop)
        }
        other => other.map(drop),
    }
}

/// Installs a filter as [`install`] does, and returns the descriptor on which its notified calls are answered (5.0);
/// closed on exec.
///
/// # Errors
/// As for [`install`]; EINVAL before 5.0, EBUSY if an earlier filter has such a descriptor.
pub fn install_with_listener(program: &BpfProgram) -> Result<OwnedFd, Errno> {
    let length = libc::c_ushort::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let description = FilterProgram { length, filter: program.as_ptr().cast() };
    let install = |flags: libc::c_ulong| {
        // SAFETY: as for `install`.
        check(unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const description)
        })
    };
    let number = match install(NEW_LISTENER | WAIT_KILLABLE) {
        Err(Errno::EINVAL) => install(NEW_LISTENER)?,
        other => other?,
    };
    Ok(descriptor::adopt(RawFd::try_from(number).map_err(|_| Errno::EBADF)?))
}
