//! renameat2(2) without replacement, which nix supports only with glibc.

use std::path::Path;

use nix::NixPath;
use nix::errno::Errno;

/// rename(2) that fails if the new name exists (3.15).
///
/// # Errors
/// EEXIST if it exists; EINVAL if the file system does not support the flag, ENOSYS if the kernel lacks the call.
pub fn rename_no_replace(from: &Path, to: &Path) -> Result<(), Errno> {
    let renamed = from.with_nix_path(|from| {
        to.with_nix_path(|to| {
            // SAFETY: both paths are NUL-terminated and live across the call.
            unsafe {
                libc::syscall(
                    libc::SYS_renameat2,
                    libc::AT_FDCWD,
                    from.as_ptr(),
                    libc::AT_FDCWD,
                    to.as_ptr(),
                    libc::RENAME_NOREPLACE,
                )
            }
        })
    })??;
    Errno::result(renamed).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::rename_no_replace;
    use nix::errno::Errno;
    use std::fs;

    #[test]
    fn an_existing_target_is_not_replaced() {
        let place = tempfile::tempdir().unwrap();
        let (one, two) = (place.path().join("one"), place.path().join("two"));
        fs::write(&one, "one").unwrap();
        rename_no_replace(&one, &two).unwrap();
        fs::write(&one, "another").unwrap();
        assert_eq!(rename_no_replace(&one, &two), Err(Errno::EEXIST));
        assert_eq!(fs::read_to_string(&two).unwrap(), "one");
    }
}
