//! Deletes an untrusted directory tree: follows no link, and crosses no file system boundary.
//!
//! Owns the deletion. Every entry is addressed through its parent's descriptor, so concurrent changes cannot redirect
//! it. A tree may be deeper than the limit of descriptors: its deepest parts are moved up first. openat(2),
//! unlinkat(2), proc_pid_mountinfo(5).

use std::ffi::{CStr, CString};
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::call;
use crate::mount::info;

/// Maximum number of open directories.
const DEEPEST: usize = 64;

/// Fails if anything is mounted at or below a directory, for this process or for init.
///
/// # Errors
/// The mount.
pub fn refuse_mounts(directory: &Path) -> Result<()> {
    let resolved = match fs::canonicalize(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        resolved => resolved.with_context(|| format!("find {}", directory.display()))?,
    };
    for process in ["self", "1"] {
        // The mounts of init may not be readable; our own are the most important.
        let Ok(mounts) = info::read(process) else { continue };
        if let Some(mount) = info::below(&mounts, &resolved).next() {
            bail!("something is mounted at {}; unmount it first", mount.target.display());
        }
    }
    Ok(())
}

/// Deletes the directory at `path` and everything in it.
///
/// # Errors
/// If it contains a directory on another file system, or a system call fails. What was deleted until then stays
/// deleted.
pub fn delete(path: &Path) -> Result<()> {
    let top = call!(openat(AT_FDCWD, path, directory_flags(), Mode::empty()), "open({})", path.display())?;
    empty(top).with_context(|| path.display().to_string())?;
    call!(unlinkat(AT_FDCWD, path, UnlinkatFlags::RemoveDir), "rmdir({})", path.display())?;
    Ok(())
}

/// Deletes one entry of a directory, and everything in it.
///
/// # Errors
/// As for [`delete`].
pub(super) fn delete_entry(parent: impl AsFd, name: &CStr) -> Result<()> {
    let shown = name.to_string_lossy();
    match unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) => return Ok(()),
        // EPERM is what POSIX has for a directory.
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(errno) => call!(Err(errno), "unlink({shown})")?,
    }
    empty(call!(openat(&parent, name, directory_flags(), Mode::empty()), "open({shown})")?)?;
    Ok(call!(unlinkat(&parent, name, UnlinkatFlags::RemoveDir), "rmdir({shown})")?)
}

fn empty(top: OwnedFd) -> Result<()> {
    let device = call!(fstat(&top), "fstat")?.st_dev;
    let mut deletion = Deletion { top, device, moved: 0 };
    let top = deletion.top.try_clone()?;
    // Directories are moved up to the top while it is being emptied, so repeat until nothing is left.
    while deletion.empty(top.as_fd(), 0)? {}
    Ok(())
}

fn directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

struct Deletion {
    top: OwnedFd,
    device: libc::dev_t,
    /// The number of moved directories.
    moved: u64,
}

impl Deletion {
    /// Deletes the content of a directory; returns whether there was any.
    fn empty(&mut self, directory: impl AsFd, depth: usize) -> Result<bool> {
        let entries = entries(&directory)?;
        for name in &entries {
            match unlinkat(&directory, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                // POSIX specifies EPERM for a directory.
                Err(Errno::EISDIR | Errno::EPERM) => self.descend(&directory, name, depth)?,
                Err(errno) => call!(Err(errno), "unlink({})", name.to_string_lossy())?,
            }
        }
        Ok(!entries.is_empty())
    }

    fn descend(&mut self, parent: &impl AsFd, name: &CStr, depth: usize) -> Result<()> {
        let shown = name.to_string_lossy();
        let directory = call!(openat(parent, name, directory_flags(), Mode::empty()), "open({shown})")?;
        if call!(fstat(&directory), "fstat({shown})")?.st_dev != self.device {
            bail!("{shown} is another file system; unmount it first");
        }
        if depth + 1 >= DEEPEST {
            return self.move_up(parent, name);
        }
        while self.empty(&directory, depth + 1)? {}
        match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Ok(call!(Err(errno), "rmdir({shown})")?),
        }
    }

    fn move_up(&mut self, parent: &impl AsFd, name: &CStr) -> Result<()> {
        loop {
            self.moved += 1;
            let new = CString::new(format!(".deep-{}", self.moved))?;
            match renameat(parent, name, &self.top, new.as_c_str()) {
                Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
                other => return Ok(call!(other, "rename({})", name.to_string_lossy())?),
            }
        }
    }
}

fn entries(directory: &impl AsFd) -> Result<Vec<CString>> {
    // A duplicated descriptor would share the position in the listing.
    let mut listing = call!(Dir::openat(directory, ".", directory_flags(), Mode::empty()), "open(.)")?;
    let mut names = Vec::new();
    for entry in listing.iter() {
        let name = call!(entry, "getdents")?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::process::{Command, id};

    fn place(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ds-tree-{}-{name}", id()));
        fs::create_dir_all(path.join("tree/a/b")).unwrap();
        path
    }

    #[test]
    fn a_tree_is_deleted_without_the_targets_of_its_links() {
        let path = place("links");
        fs::create_dir(path.join("outside")).unwrap();
        fs::write(path.join("outside/file"), "keep").unwrap();
        symlink("../outside", path.join("tree/link")).unwrap();
        symlink("../../../outside/file", path.join("tree/a/b/link")).unwrap();
        fs::hard_link(path.join("outside/file"), path.join("tree/a/hard")).unwrap();
        fs::write(path.join("tree/a/\n-rf *"), "").unwrap();
        delete(&path.join("tree")).unwrap();
        assert!(!path.join("tree").exists());
        assert_eq!(fs::read_to_string(path.join("outside/file")).unwrap(), "keep");
        symlink("outside", path.join("tree")).unwrap();
        assert!(delete(&path.join("tree")).is_err(), "the tree itself may not be a link");
        assert!(path.join("outside/file").exists());
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_tree_deeper_than_the_limit_of_descriptors_is_deleted() {
        let path = place("deep");
        // Deeper than the maximum length of a path, so it is created step by step.
        let script =
            "cd \"$1\"; i=0; while [ $i -lt 3000 ]; do mkdir dddd; cd dddd; i=$((i+1)); done; echo x > f";
        let made = Command::new("/bin/sh").arg("-c").arg(script).arg("sh").arg(path.join("tree")).status();
        assert!(made.unwrap().success());
        fs::create_dir(path.join("tree/.deep-1")).unwrap();
        fs::write(path.join("tree/.deep-1/full"), "").unwrap();
        delete(&path.join("tree")).unwrap();
        assert!(!path.join("tree").exists());
        fs::remove_dir_all(path).unwrap();
    }
}
