//! renameat2(2), Linux 3.15: musl of most distributions has no function for it.

use std::ffi::CStr;

use nix::errno::Errno;

use super::check;

/// Renames, unless there is something of the new name. Relative paths begin at the working directory.
///
/// # Errors
/// EEXIST when there is; EINVAL from a file system that cannot tell; otherwise what rename(2) answers.
pub fn without_replacing(from: &CStr, to: &CStr) -> Result<(), Errno> {
    // SAFETY: both paths are NUL-terminated and outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    check(done).map(drop)
}
