//! Mount calls that nix lacks: mount_setattr(2).

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::check;

#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// `MOUNT_ATTR_RDONLY` of linux/mount.h.
const READ_ONLY: u64 = 1;
/// `AT_RECURSIVE` of linux/fcntl.h.
const AT_RECURSIVE: libc::c_uint = 0x8000;

/// Makes a mount and every mount below it read-only in one step, mount_setattr(2) (5.12).
///
/// # Errors
/// ENOSYS before 5.12; EINVAL when the descriptor is not the root of a mount.
pub fn read_only_recursive(mount: BorrowedFd<'_>) -> Result<(), Errno> {
    let attributes = MountAttributes { set: READ_ONLY, clear: 0, propagation: 0, user_namespace: 0 };
    let flags = AT_RECURSIVE | libc::AT_EMPTY_PATH.unsigned_abs();
    // SAFETY: the path is an empty NUL-terminated string, the structure lives across the call and its true size
    // is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    })
    .map(drop)
}
