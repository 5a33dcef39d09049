//! Mount calls that nix lacks: mount_setattr(2).

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::mount::MsFlags;

use super::check;

#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

// `MOUNT_ATTR_*` of linux/mount.h.
const READ_ONLY: u64 = 1;
const NO_SET_USER_ID: u64 = 2;
const NO_DEVICES: u64 = 4;
const NO_EXECUTION: u64 = 8;
/// `AT_RECURSIVE` of linux/fcntl.h.
const AT_RECURSIVE: libc::c_uint = 0x8000;

/// Sets `MS_RDONLY`, `MS_NOSUID`, `MS_NODEV` and `MS_NOEXEC` of `flags` for a mount and every mount below it in one
/// step, mount_setattr(2) (5.12).
///
/// # Errors
/// ENOSYS before 5.12; EINVAL if the descriptor is not the root of a mount.
pub fn restrict_recursive(mount: BorrowedFd<'_>, flags: MsFlags) -> Result<(), Errno> {
    let set = [
        (MsFlags::MS_RDONLY, READ_ONLY),
        (MsFlags::MS_NOSUID, NO_SET_USER_ID),
        (MsFlags::MS_NODEV, NO_DEVICES),
        (MsFlags::MS_NOEXEC, NO_EXECUTION),
    ]
    .into_iter()
    .filter(|(flag, _)| flags.contains(*flag))
    .fold(0, |set, (_, attribute)| set | attribute);
    let attributes = MountAttributes { set, clear: 0, propagation: 0, user_namespace: 0 };
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
