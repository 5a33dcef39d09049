//! Writes files in an untrusted tree: atomically, and never through a link.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};
use nix::unistd::{UnlinkatFlags, fchown, unlinkat};

use super::files::GuestFile;
use super::root::{Root, file_type, reopen};
use crate::call;

impl Root {
    /// Sets the content of a file. Replaces whatever has the name, including a link. Owner and mode of a regular file
    /// are kept; a new file gets `mode`. The directory of the path is resolved in the tree.
    ///
    /// # Errors
    /// If the directory cannot be created or written; nothing has then changed.
    pub fn replace(&self, file: GuestFile, bytes: &[u8], mode: u32) -> Result<()> {
        let path = file.path();
        let name = path.file_name().with_context(|| format!("{} has no name", path.display()))?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        let place = self.make_directories(parent)?;
        let directory: OwnedFd = reopen(place.as_fd(), OFlag::O_RDONLY | OFlag::O_DIRECTORY)?.into();
        let old = self.resolve_no_follow(path).ok().and_then(|found| fstat(&found).ok());
        let old = old.filter(|status| file_type(status) == SFlag::S_IFREG);
        let temporary = temporary(name);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = call!(
            openat(&directory, temporary.as_os_str(), flags, Mode::from_bits_truncate(0o600)),
            "create beside {}",
            path.display()
        )?;
        let mut file = File::from(file);
        let written = file.write_all(bytes).map_err(anyhow::Error::from).and_then(|()| {
            let mode = old.as_ref().map_or(mode, |status| status.st_mode & 0o7777);
            if let Some(status) = &old {
                call!(fchown(&file, Some(status.st_uid.into()), Some(status.st_gid.into())), "fchown")?;
            }
            call!(fchmod(&file, Mode::from_bits_truncate(mode)), "fchmod")?;
            call!(
                file.sync_all().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0))),
                "fsync"
            )?;
            Ok(call!(renameat(&directory, temporary.as_os_str(), &directory, name), "rename")?)
        });
        written
            .inspect_err(|_| {
                let _ = unlinkat(&directory, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir);
            })
            .with_context(|| format!("write {}", path.display()))
    }
}

fn temporary(name: &OsStr) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{:016x}", RandomState::new().hash_one(name)));
    temporary
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rootfs::files::{RESOLV_CONF, SHADOW};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let tree = tempfile::tempdir().unwrap();
        let outside = tree.path().join("outside");
        fs::write(&outside, "x").unwrap();
        fs::create_dir_all(tree.path().join("root/etc")).unwrap();
        symlink(&outside, tree.path().join("root/etc/resolv.conf")).unwrap();
        let root = Root::open(&tree.path().join("root")).unwrap();
        root.replace(RESOLV_CONF, b"new", 0o644).unwrap();
        assert_eq!(fs::read(&outside).unwrap(), b"x");
        assert_eq!(fs::read(tree.path().join("root/etc/resolv.conf")).unwrap(), b"new");
        let shadow = tree.path().join("root/etc/shadow");
        fs::write(&shadow, "old").unwrap();
        fs::set_permissions(&shadow, fs::Permissions::from_mode(0o640)).unwrap();
        root.replace(SHADOW, b"new", 0o600).unwrap();
        assert_eq!(fs::metadata(&shadow).unwrap().permissions().mode() & 0o777, 0o640);
        let left: Vec<_> = fs::read_dir(tree.path().join("root/etc")).unwrap().collect();
        assert_eq!(left.len(), 2);
    }
}
