//! Creates missing directories and files in an untrusted tree. Owns no file that exists. mkdirat(2), path_resolution(7).

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

use super::root::{Root, file_type};
use crate::call;

impl Root {
    /// Resolves a directory, and creates missing components with mode 0755.
    ///
    /// # Errors
    /// If a component is not a directory, or cannot be created.
    pub fn make_directories(&self, path: &Path) -> Result<OwnedFd> {
        let path = Path::new("/").join(path);
        // Usually, all but the last component exist.
        let mut missing = Vec::new();
        let mut current = None;
        for prefix in path.ancestors() {
            match self.resolve(prefix) {
                Ok(found) => {
                    current = Some(is_directory(found, prefix)?);
                    break;
                }
                Err(Errno::ENOENT | Errno::ENOTDIR) => missing.push(prefix),
                Err(errno) => call!(Err(errno), "open({})", prefix.display())?,
            }
        }
        let mut current = current.with_context(|| format!("{} is not in a directory", path.display()))?;
        for prefix in missing.into_iter().rev() {
            current = self.make_directory(&current, prefix)?;
        }
        Ok(current)
    }

    /// Creates a missing directory in its parent directory `above`.
    fn make_directory(&self, above: &OwnedFd, path: &Path) -> Result<OwnedFd> {
        let name = path.file_name().with_context(|| format!("{} names no directory", path.display()))?;
        match mkdirat(above, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => call!(Err(errno), "mkdir({})", path.display())?,
        }
        // A valid link would have been followed.
        let made = call!(self.resolve_no_follow(path), "open({})", path.display())?;
        is_directory(made, path)
    }

    /// A directory at the top of the tree that must not be a link, created with mode 0755 if missing: /dev, /proc, /sys
    /// and /run, the mount points of new file systems.
    ///
    /// # Errors
    /// If it is not a directory; the message names its kind.
    pub fn real_directory(&self, name: &str) -> Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o755);
        match mkdirat(self.directory(), name, mode) {
            // In a read-only tree, an existing directory is sufficient.
            Ok(()) | Err(Errno::EEXIST | Errno::EROFS) => {}
            Err(errno) => call!(Err(errno), "mkdir(/{name})")?,
        }
        let found = call!(openat(self.directory(), name, flags, Mode::empty()), "open(/{name})")?;
        match file_type(&call!(fstat(&found), "fstat(/{name})")?) {
            SFlag::S_IFDIR => Ok(found),
            SFlag::S_IFLNK => bail!("/{name} in the root file system is a link, not a directory; replace it"),
            _ => bail!("/{name} in the root file system is not a directory; replace it"),
        }
    }

    /// Resolves a regular file; creates an empty one with mode 0644 if it does not exist.
    ///
    /// # Errors
    /// If its directory cannot be created, or the last component is a dangling link.
    pub fn make_file(&self, path: &Path) -> Result<OwnedFd> {
        match self.resolve(path) {
            Ok(found) => return Ok(found),
            Err(Errno::ENOENT) => {}
            Err(errno) => call!(Err(errno), "open({})", path.display())?,
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            bail!("{} does not name a file", path.display());
        };
        let directory = self.make_directories(parent)?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o644);
        call!(openat(&directory, name, flags, mode), "create({})", path.display())?;
        Ok(call!(self.resolve(path), "open({})", path.display())?)
    }
}

fn is_directory(found: OwnedFd, path: &Path) -> Result<OwnedFd> {
    match file_type(&call!(fstat(&found), "fstat({})", path.display())?) {
        SFlag::S_IFDIR => Ok(found),
        SFlag::S_IFLNK => bail!("{} is a dangling link", path.display()),
        _ => bail!("{} is not a directory", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir(tree.path().join("a")).unwrap();
        std::fs::write(tree.path().join("a/file"), "").unwrap();
        tree
    }

    #[test]
    fn mount_points_must_be_real_directories() {
        let tree = tree();
        symlink("/tmp", tree.path().join("proc")).unwrap();
        std::fs::write(tree.path().join("sys"), "").unwrap();
        let root = Root::open(tree.path()).unwrap();
        assert!(root.real_directory("dev").is_ok(), "made when missing");
        assert!(root.real_directory("proc").unwrap_err().to_string().contains("is a link"));
        assert!(root.real_directory("sys").unwrap_err().to_string().contains("not a directory"));
    }

    #[test]
    fn directories_and_files_are_made_inside() {
        let tree = tree();
        symlink("/a", tree.path().join("to-a")).unwrap();
        symlink("/nowhere", tree.path().join("dangling")).unwrap();
        let root = Root::open(tree.path()).unwrap();
        root.make_directories(Path::new("/to-a/x/y")).unwrap();
        assert!(tree.path().join("a/x/y").is_dir());
        root.make_file(Path::new("/to-a/x/f")).unwrap();
        assert!(tree.path().join("a/x/f").is_file());
        let refusal = |path| root.make_directories(Path::new(path)).unwrap_err().to_string();
        assert_eq!(refusal("/dangling/x"), "/dangling is a dangling link");
        assert_eq!(refusal("/a/file/x/y"), "/a/file is not a directory");
    }
}
