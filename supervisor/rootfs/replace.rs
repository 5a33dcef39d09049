//! Writes files in an untrusted tree: atomically, and never through a link.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};
use nix::unistd::{UnlinkatFlags, fchown, unlinkat};

use super::files::GuestFile;
use super::root::{Root, file_type, open_regular, reopen};
use crate::call;
use crate::durable::{Temporary, temporary_names};
use crate::sys::descriptor::try_lock;

impl Root {
    /// Sets the content of a file. Replaces whatever has the name, including a link. Owner and mode of a regular file
    /// are kept; a new file gets `mode`. The directory of the path is resolved in the tree. The next attempt removes what
    /// a killed one has left there.
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
        remove_stale(&directory);
        let write = || -> Result<()> {
            let mut temporary = Temporary::create(directory)?;
            let file = temporary.file();
            file.write_all(bytes)?;
            let mode = old.as_ref().map_or(mode, |status| status.st_mode & 0o7777);
            if let Some(status) = &old {
                call!(fchown(&*file, Some(status.st_uid.into()), Some(status.st_gid.into())), "fchown")?;
            }
            call!(fchmod(&*file, Mode::from_bits_truncate(mode)), "fchmod")?;
            file.sync_all()?;
            Ok(temporary.rename_to(name)?)
        };
        write().with_context(|| format!("write {}", path.display()))
    }
}

/// Removes the temporary files of dead writers. They are in an untrusted tree, where such a name may be a device's.
fn remove_stale(directory: &OwnedFd) {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    for name in temporary_names(directory).into_iter().flatten() {
        let found = openat(directory, name.as_c_str(), flags, Mode::empty());
        let file = found.ok().and_then(|found| open_regular(found.as_fd()).ok());
        if file.as_ref().is_some_and(|file| try_lock(file.as_fd()).is_ok()) {
            // If it cannot be removed, the next attempt tries again.
            let _ = unlinkat(directory, name.as_c_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rootfs::files::{RESOLV_CONF, SHADOW};
    use nix::unistd::mkfifo;
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

    #[test]
    fn what_a_killed_writer_left_is_removed_and_nothing_else() {
        let tree = tempfile::tempdir().unwrap();
        let etc = tree.path().join("etc");
        fs::create_dir(&etc).unwrap();
        let path = |digit: u8| etc.join(format!(".ds-{digit:016x}.tmp"));
        fs::write(path(1), "half").unwrap();
        fs::write(path(2), "in progress").unwrap();
        let held = fs::File::open(path(2)).unwrap();
        try_lock(held.as_fd()).unwrap();
        mkfifo(&path(3), Mode::S_IRUSR).unwrap();
        symlink(path(2), path(4)).unwrap();
        let root = Root::open(tree.path()).unwrap();
        root.replace(RESOLV_CONF, b"new", 0o644).unwrap();
        let left = [1, 2, 3, 4].map(|digit| path(digit).symlink_metadata().is_ok());
        assert_eq!(left, [false, true, true, true]);
    }
}
