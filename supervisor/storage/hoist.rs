//! Archives with a tree below one directory: moves the content of the directory up.
//!
//! Works on descriptors of a newly unpacked tree: it follows no link and addresses nothing outside.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::AsFd;

use anyhow::{Context, Result, bail, ensure};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, fchmod, fstat, fstatat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};

use super::delete::delete_entry;
use crate::archive::name;
use crate::call;
use crate::rootfs::root::{Root, exists_at, file_type};

/// Directories at the top of a system; at least one must exist.
pub(super) const OF_A_SYSTEM: [&str; 4] = ["etc", "usr", "bin", "sbin"];
/// The directory that every new ext4 file system contains.
const LOST_AND_FOUND: &[u8] = b"lost+found";
/// The temporary name of the directory; an archive that also contains it is refused.
const ASIDE: &str = ".ds-top";

/// The name of the tree's directory in archives of LXD, Incus and LXC.
const ROOTFS: &CStr = c"rootfs";
/// The files next to it: in an image and in a backup of LXD or Incus, and in a container of LXC.
const BESIDE: [&str; 3] = ["metadata.yaml", "backup.yaml", "config"];
/// Directories above it, at most: `backup/container/rootfs`.
const DEEPEST: usize = 2;
/// Directories above a tree that has nothing beside it, at most: `srv/lxc/debian/rootfs` and more.
const LONGEST_WAY: usize = 8;
/// Maximum number of entries of a directory that are inspected.
const MAX: usize = 256;

/// The original position of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hoisted {
    /// The directory in the archive.
    pub path: String,
    /// It was an image or a backup of LXD, Incus or LXC; the files beside the tree are deleted.
    pub packed: bool,
    /// Its owner.
    pub owner: u32,
}

/// If everything is below one directory with a system, moves its content up. The same applies to `rootfs` in an image or
/// a backup of LXD, Incus or LXC; the files beside it are deleted.
///
/// # Errors
/// If there are several, if it is a link, or if a call fails.
pub fn hoist(root: &Root) -> Result<Option<Hoisted>> {
    let top = open(root.directory(), c".")?;
    if OF_A_SYSTEM.iter().any(|name| exists(&top, OsStr::new(name))) {
        return Ok(None);
    }
    let mut found = Vec::new();
    search(&top, &mut Vec::new(), &mut found)?;
    match &found[..] {
        [] => {}
        [path] => {
            let owner = raise(&top, path)?;
            return Ok(Some(Hoisted { path: shown(path), packed: true, owner }));
        }
        [one, other, ..] => bail!(
            "it holds several root file systems, {} and {}; give an archive of one of them",
            shown(one),
            shown(other)
        ),
    }
    let Some(path) = only_way(&top)? else { return Ok(None) };
    let owner = raise(&top, &path)?;
    Ok(Some(Hoisted { path: shown(&path), packed: false, owner }))
}

/// The directory with a system, if nothing is beside it or beside a directory above it.
fn only_way(top: &Dir) -> Result<Option<Vec<CString>>> {
    let mut path: Vec<CString> = Vec::new();
    let mut directory = open(top, c".")?;
    while path.len() < LONGEST_WAY {
        let mut names = entries(&directory)?;
        names.retain(|name| !path.is_empty() || name.as_bytes() != LOST_AND_FOUND);
        let [only] = &names[..] else { return Ok(None) };
        // A link is never followed.
        let Ok(inner) = open(&directory, only) else { return Ok(None) };
        path.push(only.clone());
        if OF_A_SYSTEM.iter().any(|name| exists(&inner, OsStr::new(name))) {
            return Ok(Some(path));
        }
        directory = inner;
    }
    Ok(None)
}

/// Searches for directories with a system in `rootfs` and one of the files next to it.
fn search(directory: &Dir, above: &mut Vec<CString>, found: &mut Vec<Vec<CString>>) -> Result<()> {
    let container = above.last().is_some_and(|name| name.as_bytes() == b"container");
    let marked = container || BESIDE.iter().any(|name| exists(directory, OsStr::new(name)));
    if marked && let Ok(status) = fstatat(directory, ROOTFS, AtFlags::AT_SYMLINK_NOFOLLOW) {
        let path = [&above[..], &[ROOTFS.to_owned()]].concat();
        ensure!(
            file_type(&status) == SFlag::S_IFDIR,
            "{} in it is not a directory but a link or a file; it is refused",
            shown(&path)
        );
        let inner = open(directory, ROOTFS)?;
        if OF_A_SYSTEM.iter().any(|name| exists(&inner, OsStr::new(name))) {
            found.push(path);
            return Ok(());
        }
    }
    if above.len() == DEEPEST {
        return Ok(());
    }
    for name in entries(directory)?.into_iter().take(MAX) {
        // Snapshots of LXD lie beside the container itself.
        if name.as_bytes() == b"snapshots" || name.as_c_str() == ROOTFS {
            continue;
        }
        // A link is never followed.
        if let Ok(inner) = open(directory, &name) {
            above.push(name);
            search(&inner, above, found)?;
            above.pop();
        }
    }
    Ok(())
}

/// Replaces the content of the tree by that of a directory below the top; returns the owner of that directory.
fn raise(top: &Dir, path: &[CString]) -> Result<u32> {
    let mut parent = open(top, c".")?;
    let (name, above) = path.split_last().context("it has no name")?;
    for part in above {
        parent = open(&parent, part)?;
    }
    let inner = open(&parent, name)?;
    // Moving changes its time.
    let status = call!(fstat(&inner), "stat")?;
    // An entry in it may have the same name.
    call!(renameat(&parent, name.as_c_str(), top, ASIDE), "rename")?;
    for other in entries(top)? {
        if other.as_bytes() != ASIDE.as_bytes() && other.as_bytes() != LOST_AND_FOUND {
            delete_entry(top, &other)?;
        }
    }
    for name in entries(&inner)? {
        // The image in which the tree is unpacked has its own one, which is kept.
        if name.as_bytes() == LOST_AND_FOUND && exists(top, OsStr::new("lost+found")) {
            delete_entry(&inner, &name)?;
            continue;
        }
        call!(renameat(&inner, name.as_c_str(), top, name.as_c_str()), "rename({})", name.to_string_lossy())?;
    }
    call!(unlinkat(top, ASIDE, UnlinkatFlags::RemoveDir), "rmdir")?;
    let owner = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
    call!(fchown(top, Some(owner.0), Some(owner.1)), "chown")?;
    call!(fchmod(top, Mode::from_bits_truncate(status.st_mode & 0o7777)), "chmod")?;
    let modified = TimeSpec::new(status.st_mtime, status.st_mtime_nsec);
    call!(utimensat(top, ".", &modified, &modified, UtimensatFlags::FollowSymlink), "utimensat")?;
    Ok(status.st_uid)
}

fn exists(directory: &Dir, name: &OsStr) -> bool {
    exists_at(directory.as_fd(), name)
}

fn shown(path: &[CString]) -> String {
    let parts: Vec<String> = path.iter().map(|part| name::shown(part.to_bytes())).collect();
    parts.join("/")
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
        hoist(&Root::open(directory).unwrap()).unwrap().map(|hoisted| hoisted.path)
    }

    fn files(top: &Path, names: &[&str]) {
        for name in names {
            fs::create_dir_all(top.join(name).parent().unwrap()).unwrap();
            fs::write(top.join(name), *name).unwrap();
        }
    }

    #[test]
    fn images_and_backups_of_lxd_and_lxc_are_unwrapped() {
        for (names, place) in [
            (&["metadata.yaml", "templates/hostname.tpl", "rootfs/etc/passwd"][..], "rootfs"),
            (&["image/metadata.yaml", "image/rootfs/etc/passwd"], "image/rootfs"),
            (
                &[
                    "backup/index.yaml",
                    "backup/container/backup.yaml",
                    "backup/container/rootfs/etc/passwd",
                    "backup/snapshots/one/rootfs/etc/passwd",
                    "backup/snapshots/one/backup.yaml",
                ],
                "backup/container/rootfs",
            ),
            (&["config", "rootfs/etc/passwd"], "rootfs"),
            (&["web/config", "web/rootfs/etc/passwd", "web/rootfs/rootfs/etc/x", "web/fstab"], "web/rootfs"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            files(directory.path(), names);
            let hoisted = hoist(&Root::open(directory.path()).unwrap()).unwrap().unwrap();
            assert_eq!((hoisted.path.as_str(), hoisted.packed), (place, true));
            let left: Vec<_> =
                fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert!(
                left.contains(&"etc".into()) && left.iter().all(|name| name == "etc" || name == "rootfs"),
                "{left:?}"
            );
            assert!(directory.path().join("etc/passwd").is_file());
        }
    }

    #[test]
    fn what_is_ambiguous_or_a_link_is_refused_in_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        files(top, &["a/config", "a/rootfs/etc/passwd", "b/config", "b/rootfs/etc/passwd"]);
        let refused = |top: &Path| hoist(&Root::open(top).unwrap()).unwrap_err().to_string();
        let error = refused(top);
        assert!(error.contains("several root file systems, ") && error.contains("a/rootfs"), "{error}");
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        files(top, &["metadata.yaml", "elsewhere/etc/passwd"]);
        symlink("elsewhere", top.join("rootfs")).unwrap();
        assert!(refused(top).contains("rootfs in it is not a directory but a link"));
        // A link above it is not followed, so no tree is found.
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        files(top, &["real/container/backup.yaml"]);
        symlink("/", top.join("backup")).unwrap();
        assert_eq!(hoisted(top), None);
        // A system that contains such files remains a system.
        files(top, &["etc/passwd", "metadata.yaml", "rootfs/etc/passwd"]);
        assert_eq!(hoisted(top), None);
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
        assert!(top.join("bookworm/inner").is_dir(), "an entry of the same name");
        assert_eq!(fs::metadata(top).unwrap().permissions().mode() & 0o7777, 0o751);
        assert!(!top.join(ASIDE).exists());
    }

    #[test]
    fn a_system_below_several_directories_comes_up() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        files(top, &["srv/lxc/debian/etc/passwd", "srv/lxc/debian/srv/data"]);
        assert_eq!(hoisted(top).as_deref(), Some("srv/lxc/debian"));
        assert!(top.join("etc/passwd").is_file() && top.join("srv/data").is_file());
        assert_eq!(fs::read_dir(top).unwrap().count(), 2);
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        files(top, &["srv/lxc/debian/etc/passwd", "srv/readme"]);
        assert_eq!(hoisted(top), None, "a file beside it");
        files(directory.path(), &["srv/lxc/1/2/3/4/5/6/7/8/9/etc/passwd"]);
        fs::remove_file(top.join("srv/readme")).unwrap();
        fs::remove_dir_all(top.join("srv/lxc/debian")).unwrap();
        assert_eq!(hoisted(top), None, "too deep");
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
