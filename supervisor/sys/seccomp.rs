//! Installing a seccomp filter: seccomp(2).
//!
//! seccompiler's own installer sets no_new_privs, which would break sudo and every set-user-ID program of a
//! distribution. Root may install a filter without it.

use nix::errno::Errno;
use seccompiler::BpfProgram;

use super::{check, unsupported};

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
    let length = libc::c_ushort::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let description = FilterProgram { length, filter: program.as_ptr().cast() };
    // SAFETY: sock_filter of seccompiler has the kernel's layout; pointer and length describe it and live
    // across the call.
    let done = check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const description)
    });
    match done {
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
