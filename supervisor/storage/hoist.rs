//! Archives with a tree below one directory: moves the content of the directory up.
//!
//! Works on descriptors of a newly unpacked tree: it follows no link and addresses nothing outside.

use std::ffi::CString;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, UtimensatFlags, fchmod, fstat, fstatat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid};
use nix::unistd::{UnlinkatFlags, fchown, unlinkat};

use crate::call;
use crate::rootfs::root::{Root, file_type};
use nix::sys::stat::SFlag;

/// Directories at the top of a system; at least one must exist.
pub(super) const OF_A_SYSTEM: [&str; 4] = ["etc", "usr", "bin", "sbin"];
/// The temporary name of the directory; an archive that also contains it is refused.
const ASIDE: &str = ".ds-top";

/// If the tree contains only one directory and that contains a system, moves its content up; returns its name.
///
/// # Errors
/// If a system call fails.
pub fn hoist(root: &Root) -> Result<Option<String>> {
    let top = open(root.directory(), c".")?;
    let names = entries(&top)?;
    let mut others = names.iter().filter(|name| name.as_bytes() != b"lost+found");
    let (Some(only), None) = (others.next(), others.next()) else { return Ok(None) };
    let status = call!(fstatat(&top, only.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW), "stat")?;
    if file_type(&status) != SFlag::S_IFDIR {
        return Ok(None);
    }
    let inner = open(top.as_fd(), only)?;
    let has = |name: &&str| fstatat(&inner, *name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok();
    if !OF_A_SYSTEM.iter().any(has) {
        return Ok(None);
    }
    // Moving changes its time.
    let status = call!(fstat(&inner), "stat")?;
    // An entry in it may have the same name.
    call!(renameat(&top, only.as_c_str(), &top, ASIDE), "rename")?;
    for name in entries(&inner)? {
        call!(
            renameat(&inner, name.as_c_str(), &top, name.as_c_str()),
            "rename({})",
            name.to_string_lossy()
        )?;
    }
    call!(unlinkat(&top, ASIDE, UnlinkatFlags::RemoveDir), "rmdir")?;
    let owner = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
    call!(fchown(&top, Some(owner.0), Some(owner.1)), "chown")?;
    call!(fchmod(&top, Mode::from_bits_truncate(status.st_mode & 0o7777)), "chmod")?;
    let modified = TimeSpec::new(status.st_mtime, status.st_mtime_nsec);
    call!(utimensat(&top, ".", &modified, &modified, UtimensatFlags::FollowSymlink), "utimensat")?;
    Ok(Some(only.to_string_lossy().into_owned()))
}

pub(super) fn open(parent: impl AsFd, name: &std::ffi::CStr) -> Result<Dir> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = call!(openat(parent, name, flags, Mode::empty()), "open({})", name.to_string_lossy())?;
    Dir::from_fd(directory).context("opendir")
}

pub(super) fn entries(directory: &Dir) -> Result<Vec<CString>> {
    let own = open(directory.as_fd(), c".")?;
    let mut names = Vec::new();
    for entry in own {
        let name = entry.context("readdir")?.file_name().to_owned();
        if ![c".", c".."].contains(&name.as_c_str()) {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    fn hoisted(directory: &Path) -> Option<String> {
        hoist(&Root::open(directory).unwrap()).unwrap()
    }

    #[test]
    fn a_system_below_one_directory_comes_up() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        fs::create_dir_all(top.join("bookworm/etc")).unwrap();
        fs::create_dir_all(top.join("bookworm/bookworm/inner")).unwrap();
        fs::create_dir(top.join("lost+found")).unwrap();
        fs::write(top.join("bookworm/etc/passwd"), "x").unwrap();
        fs::set_permissions(top.join("bookworm"), fs::Permissions::from_mode(0o751)).unwrap();
        assert_eq!(hoisted(top).as_deref(), Some("bookworm"));
        assert_eq!(fs::read(top.join("etc/passwd")).unwrap(), b"x");
        assert!(top.join("bookworm/inner").is_dir(), "one of its own name");
        assert_eq!(fs::metadata(top).unwrap().permissions().mode() & 0o7777, 0o751);
        assert!(!top.join(ASIDE).exists());
    }

    #[test]
    fn anything_else_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        assert_eq!(hoisted(top), None);
        fs::create_dir_all(top.join("data/files")).unwrap();
        assert_eq!(hoisted(top), None, "no system");
        fs::create_dir_all(top.join("data/etc")).unwrap();
        fs::write(top.join("readme"), "").unwrap();
        assert_eq!(hoisted(top), None, "two things");
        fs::remove_file(top.join("readme")).unwrap();
        fs::remove_dir_all(top.join("data")).unwrap();
        symlink("/usr", top.join("link")).unwrap();
        assert_eq!(hoisted(top), None, "a link is never followed");
    }
}
