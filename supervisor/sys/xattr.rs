//! Extended attributes of the file behind a descriptor: listxattr(2), getxattr(2), setxattr(2), removexattr(2).
//!
//! Also supports O_PATH descriptors, including those of symbolic links: the calls on descriptors refuse them, but
//! /proc/self/fd/N refers to the same inode and is not followed any further (proc_pid_fd(5)).

use std::ffi::{CStr, CString, c_char, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::check;
use crate::sys::descriptor;

/// Maximum size of a value, `XATTR_SIZE_MAX` of linux/limits.h.
pub const LARGEST_VALUE: usize = 64 << 10;
/// Size of the first buffer in bytes, sufficient for most attributes.
const USUAL: usize = 256;

/// The names of all attributes that are visible to the caller.
///
/// # Errors
/// EOPNOTSUPP where the file system has none, or if listxattr(2) fails.
pub fn list(target: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let path = path_of(target);
    let names = sized(|buffer, size| {
        // SAFETY: the buffer is valid for `size` bytes.
        let done = unsafe { libc::flistxattr(target.as_raw_fd(), buffer.cast::<c_char>(), size) };
        if check_size(done) != Err(Errno::EBADF) {
            return check_size(done);
        }
        // SAFETY: as above; the path is NUL-terminated.
        check_size(unsafe { libc::listxattr(path.as_ptr(), buffer.cast::<c_char>(), size) })
    })?;
    Ok(names
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|name| CString::from_vec_with_nul(name.into()).ok())
        .collect())
}

/// The value of one attribute.
///
/// # Errors
/// ENODATA when it is not there, EOPNOTSUPP where the file system has none, or if getxattr(2) fails.
pub fn get(target: BorrowedFd<'_>, name: &CStr) -> Result<Vec<u8>, Errno> {
    let path = path_of(target);
    sized(|buffer, size| {
        // SAFETY: the name is NUL-terminated and the buffer valid for `size` bytes.
        let done = unsafe { libc::fgetxattr(target.as_raw_fd(), name.as_ptr(), buffer, size) };
        if check_size(done) != Err(Errno::EBADF) {
            return check_size(done);
        }
        // SAFETY: as above; the path is NUL-terminated.
        check_size(unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), buffer, size) })
    })
}

/// Sets one attribute, whether or not it exists.
///
/// # Errors
/// EPERM or EACCES when the caller may not, EOPNOTSUPP, ENOSPC, or if setxattr(2) fails.
pub fn set(target: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    let (bytes, length) = (value.as_ptr().cast::<c_void>(), value.len());
    // SAFETY: the name is NUL-terminated and the value valid for its length.
    let done = unsafe { libc::fsetxattr(target.as_raw_fd(), name.as_ptr(), bytes, length, 0) };
    match check(libc::c_long::from(done)).map(drop) {
        Err(Errno::EBADF) => {
            let path = path_of(target);
            // SAFETY: as above; the path is NUL-terminated.
            let done = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), bytes, length, 0) };
            check(libc::c_long::from(done)).map(drop)
        }
        other => other,
    }
}

/// Removes one attribute.
///
/// # Errors
/// ENODATA when it is not there, or if removexattr(2) fails.
pub fn remove(target: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    // SAFETY: the name is NUL-terminated.
    let done = unsafe { libc::fremovexattr(target.as_raw_fd(), name.as_ptr()) };
    match check(libc::c_long::from(done)).map(drop) {
        Err(Errno::EBADF) => {
            let path = path_of(target);
            // SAFETY: both are NUL-terminated.
            check(libc::c_long::from(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) })).map(drop)
        }
        other => other,
    }
}

fn path_of(target: BorrowedFd<'_>) -> CString {
    CString::new(descriptor::path(target)).unwrap_or_default()
}

fn check_size(value: libc::ssize_t) -> Result<usize, Errno> {
    usize::try_from(value).map_err(|_| Errno::last())
}

/// Calls with a small buffer, and with a sufficient one if that was too small; the value may grow between two calls.
fn sized(mut call: impl FnMut(*mut c_void, usize) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0_u8; USUAL];
    loop {
        match call(buffer.as_mut_ptr().cast(), buffer.len()) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::ERANGE) if buffer.len() < LARGEST_VALUE => buffer.resize(LARGEST_VALUE, 0),
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File, OpenOptions};
    use std::os::fd::AsFd;
    use std::os::unix::fs::{OpenOptionsExt, symlink};

    #[test]
    fn attributes_are_set_listed_read_and_removed_with_and_without_o_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "").unwrap();
        let open = File::open(&path).unwrap();
        let named = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&path).unwrap();
        for target in [open.as_fd(), named.as_fd()] {
            if set(target, c"user.short", b"1") == Err(Errno::EOPNOTSUPP) {
                // A temporary directory without user attributes (tmpfs before 6.6): nothing to test.
                assert_eq!(get(target, c"user.short"), Err(Errno::EOPNOTSUPP));
                return;
            }
            let long = vec![b'x'; USUAL * 3];
            set(target, c"user.long", &long).unwrap();
            assert_eq!(get(target, c"user.long").unwrap(), long);
            assert_eq!(get(target, c"user.short").unwrap(), b"1");
            let names = list(target).unwrap();
            assert!(names.iter().any(|name| name.as_c_str() == c"user.long"), "{names:?}");
            remove(target, c"user.short").unwrap();
            remove(target, c"user.long").unwrap();
            assert_eq!(get(target, c"user.short"), Err(Errno::ENODATA));
            assert_eq!(remove(target, c"user.short"), Err(Errno::ENODATA));
        }
    }

    #[test]
    fn a_link_is_looked_at_itself() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "").unwrap();
        symlink(&file, &link).unwrap();
        let flags = libc::O_PATH | libc::O_NOFOLLOW;
        let link = OpenOptions::new().read(true).custom_flags(flags).open(&link).unwrap();
        // User attributes are for regular files and directories only: xattr(7).
        let refused = set(link.as_fd(), c"user.x", b"1");
        assert!(matches!(refused, Err(Errno::EPERM | Errno::EOPNOTSUPP)), "{refused:?}");
        let untouched = get(File::open(&file).unwrap().as_fd(), c"user.x");
        assert!(matches!(untouched, Err(Errno::ENODATA | Errno::EOPNOTSUPP)), "{untouched:?}");
    }
}
