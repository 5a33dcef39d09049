//! The SELinux label of an image: selinux(8), the attribute `security.selinux`.
//!
//! Owns the label. The kernel reads and writes an image in its own domain; if the policy denies that, programs get I/O
//! errors without an explanation. Therefore the label is set before a loop device opens the file; if that fails, the
//! start fails.

use std::fs;
use std::os::fd::BorrowedFd;

use anyhow::{Context, Result};
use nix::errno::Errno;

use crate::call;
use crate::sys::xattr;

/// Sets the label `wanted`, unless the file already has it.
///
/// # Errors
/// If the policy or the file system refuses the label.
pub fn ensure(file: BorrowedFd<'_>, wanted: &str) -> Result<()> {
    apply(wanted, &|| xattr::get(file, c"security.selinux"), &|value| {
        xattr::set(file, c"security.selinux", value)
    })
}

/// Whether SELinux is enforcing.
#[must_use]
pub fn is_enforced() -> bool {
    fs::read_to_string("/sys/fs/selinux/enforce").is_ok_and(|text| text.trim() == "1")
}

fn apply(
    wanted: &str,
    get: &dyn Fn() -> Result<Vec<u8>, Errno>,
    set: &dyn Fn(&[u8]) -> Result<(), Errno>,
) -> Result<()> {
    // The kernel's own tools include the NUL.
    if get().is_ok_and(|value| value.strip_suffix(b"\0").unwrap_or(&value) == wanted.as_bytes()) {
        return Ok(());
    }
    let value = [wanted.as_bytes(), b"\0"].concat();
    call!(set(&value), "setxattr(security.selinux, {wanted})").with_context(|| {
        "cannot set the SELinux label that the kernel needs to use the image; set container.image-label to \
         another one, or to 'no'"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const LABEL: &str = "u:object_r:vold_data_file:s0";

    #[test]
    fn a_label_is_set_once_and_a_refusal_is_an_error() {
        let written = RefCell::new(Vec::new());
        let set = |value: &[u8]| {
            written.borrow_mut().push(value.to_vec());
            Ok(())
        };
        for right in [LABEL.as_bytes().to_vec(), [LABEL.as_bytes(), b"\0"].concat()] {
            apply(LABEL, &|| Ok(right.clone()), &set).unwrap();
        }
        assert!(written.borrow().is_empty(), "already right");
        apply(LABEL, &|| Ok(b"u:object_r:system_data_file:s0\0".to_vec()), &set).unwrap();
        apply(LABEL, &|| Err(Errno::ENODATA), &set).unwrap();
        assert_eq!(*written.borrow(), vec![[LABEL.as_bytes(), b"\0"].concat(); 2]);
        let error = apply(LABEL, &|| Err(Errno::ENODATA), &|_| Err(Errno::EACCES)).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("image-label") && text.contains("EACCES"), "{text}");
    }
}
