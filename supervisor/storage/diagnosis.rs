//! Archives without a root file system: detects their kind and suggests a remedy.
//!
//! Owns the messages. It checks the first bytes before anything is unpacked, and the tree afterwards. Changes nothing,
//! and follows no link out of the tree.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Result, bail};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::format::MANIFEST;
use super::hoist::{OF_A_SYSTEM, entries, open};
use crate::archive::header::{BLOCK, Block, Header};
use crate::archive::name::shown;
use crate::config::value::ContainerPath;
use crate::rootfs::root::{Root, exists_at, file_type, reopen};
use crate::rootfs::superblock::{FileSystem, PROBED, probe};

/// Maximum number of entries at the top that are checked or named.
const MAX_FILES: usize = 32;
const MAX_NAMED: usize = 5;
/// The command that passes a subdirectory of an archive.
const ALONE: &str = "tar -C DIRECTORY -c . | ds create NAME --from -";

/// Why the first bytes are not those of an archive, and the remedy; `None` if they may be. `compression` is that of the
/// file.
#[must_use]
pub fn of_front(front: &[u8], compression: Option<&str>) -> Option<String> {
    if front.starts_with(MANIFEST.as_bytes()) {
        return Some("it was written by 'ds export'; use it with 'ds import'".to_owned());
    }
    if is_tar(front) {
        return None;
    }
    let unpacked = match compression {
        Some("gzip") => "unpack it with 'gzip -dk', and use that with --image",
        Some("xz") => "unpack it with 'xz -dk', and use that with --image",
        Some(_) => "unpack it with 'zstd -d', and use that with --image",
        None => "use it with --image",
    };
    Some(match probe(front) {
        FileSystem::Unknown => return None,
        // A damaged header.
        FileSystem::Foreign(foreign) if foreign.kind.contains("tar archive") => return None,
        FileSystem::Foreign(foreign) => {
            format!("it is {}, not a tar archive; {}", foreign.kind, foreign.remedy)
        }
        FileSystem::Partitioned => {
            format!("it is an image of a disk with partitions, not an archive; {unpacked}")
        }
        system @ (FileSystem::Btrfs | FileSystem::Erofs | FileSystem::Squashfs) => {
            format!(
                "it is an image of a {} file system, not an archive; {unpacked} and volatile=yes",
                system.name()
            )
        }
        FileSystem::Other(name) => {
            format!("it holds {name}, not an archive; give a tar archive of the tree in it")
        }
        system @ FileSystem::Ext(_) => {
            format!("it is an image of a file system ({}), not an archive; {unpacked}", system.name())
        }
    })
}

/// Whether the first bytes are a member's header.
#[must_use]
pub fn is_tar(front: &[u8]) -> bool {
    front.first_chunk::<BLOCK>().is_some_and(|block: &Block| Header::verify(block).is_ok())
}

/// Refuses a tree that is not a root file system. A tree with the program for PID 1 is always accepted.
///
/// # Errors
/// Its kind, and the remedy.
pub fn refuse(root: &Root, init: &ContainerPath) -> Result<()> {
    let top = open(root.directory(), c".")?;
    if is_system(top.as_fd()) || root.resolve(init.as_str().as_ref()).is_ok() {
        return Ok(());
    }
    let mut names: Vec<_> =
        entries(&top)?.into_iter().filter(|name| name.as_bytes() != b"lost+found").collect();
    names.sort();
    if let Some(known) = image_in_parts(top.as_fd()) {
        bail!("the archive is not a root file system: {known}");
    }
    if let [only] = &names[..]
        && let Ok(inner) = open(top.as_fd(), only)
    {
        let place = shown(only.to_bytes());
        match image_in_parts(inner.as_fd()) {
            Some(known) => bail!("the archive is not a root file system: below {place}/, {known}"),
            None => tree_below(inner.as_fd(), &format!("{place}/"))?,
        }
        bail!(
            "the archive is not a root file system: everything is below {place}/, and it has none of {}; \
             use an archive of the tree itself",
            OF_A_SYSTEM.join(", ")
        );
    }
    if names.is_empty() {
        bail!("the archive is empty");
    }
    tree_below(top.as_fd(), "")?;
    for name in names.iter().take(MAX_FILES) {
        if let Some(what) = file_in(top.as_fd(), name) {
            bail!("the archive is not a root file system: {what}");
        }
    }
    let more = if names.len() > MAX_NAMED { ", …" } else { "" };
    let named: Vec<String> = names.iter().take(MAX_NAMED).map(|name| shown(name.to_bytes())).collect();
    bail!(
        "the archive is not a root file system: at its top is none of {}, but {}{more}; use an archive of the tree itself",
        OF_A_SYSTEM.join(", "),
        named.join(", ")
    )
}

fn has(directory: BorrowedFd<'_>, name: &str) -> bool {
    exists_at(directory, OsStr::new(name))
}

fn is_system(directory: BorrowedFd<'_>) -> bool {
    OF_A_SYSTEM.iter().any(|name| has(directory, name))
}

/// Images of other programs, with a tree in parts or next to other files.
fn image_in_parts(top: BorrowedFd<'_>) -> Option<&'static str> {
    let layers = "it is an image in layers (OCI), not one tree; 'podman load', 'podman create' and 'podman export' make one";
    match () {
        () if has(top, "rootfs.img") || has(top, "virtual-machine.img") => Some(
            "it is a virtual machine of LXD or Incus; unpack its .img file, make a raw image of it with 'qemu-img convert -O raw', and use that with --image",
        ),
        () if has(top, "metadata.yaml") => Some(
            "it is the metadata half of a split LXD or Incus image; use the other one: rootfs.tar.xz, rootfs.squashfs or disk.qcow2",
        ),
        () if has(top, "manifest.json") => Some(
            "it is a Docker image in layers (docker save), not one tree; 'docker create IMAGE' and 'docker export CONTAINER' make one",
        ),
        () if has(top, "oci-layout") || has(top, "index.json") && has(top, "blobs") => Some(layers),
        () => None,
    }
}

/// A directory that contains a system, next to others.
fn tree_below(top: BorrowedFd<'_>, place: &str) -> Result<()> {
    let mut names = entries(&open(top, c".")?)?;
    names.sort();
    for name in names.iter().take(MAX_FILES) {
        if open(top, name).is_ok_and(|inner| is_system(inner.as_fd())) {
            bail!(
                "the archive is not a root file system: there is one below {place}{}/, next to other files; \
                 unpack it, and pass only that directory: {ALONE}",
                shown(name.to_bytes())
            );
        }
    }
    Ok(())
}

/// The kind of a file at the top, if it may contain the system.
fn file_in(top: BorrowedFd<'_>, name: &CStr) -> Option<String> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let found: OwnedFd = openat(top, name, flags, Mode::empty()).ok()?;
    if file_type(&fstat(&found).ok()?) != SFlag::S_IFREG {
        return None;
    }
    let mut front = Vec::new();
    let file: File = reopen(found.as_fd(), OFlag::O_RDONLY).ok()?;
    file.take(PROBED as u64).read_to_end(&mut front).ok()?;
    let file = shown(name.to_bytes());
    match probe(&front) {
        FileSystem::Unknown => None,
        FileSystem::Foreign(foreign) => {
            Some(format!("it holds {file}, which is {}; unpack that, and {}", foreign.kind, foreign.remedy))
        }
        FileSystem::Partitioned => {
            Some(format!("it holds {file}, an image of a disk; unpack that, and use it with --image"))
        }
        system => Some(format!(
            "it holds {file}, an image of a file system ({}); unpack that, and use it with --image",
            system.name()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn refused(files: &[&str]) -> String {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, if file.ends_with(".img") { &b"hsqs"[..] } else { b"PK\x03\x04" }).unwrap();
        }
        let root = Root::open(Path::new(directory.path())).unwrap();
        let refused = refuse(&root, &"/sbin/init".parse().unwrap());
        refused.map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn the_kind_of_an_archive_is_detected() {
        for (files, told) in [
            (&["etc/passwd"][..], ""),
            (&["manifest.json", "abc/layer.tar"], "a Docker image in layers"),
            (&["index.json", "oci-layout", "blobs/sha256/x"], "an image in layers (OCI)"),
            (&["metadata.yaml", "templates/x"], "the metadata half of a split LXD or Incus image"),
            (&["metadata.yaml", "rootfs.img"], "a virtual machine of LXD or Incus; unpack its .img file"),
            (&["backup/index.yaml", "backup/virtual-machine.img"], "below backup/, it is a virtual machine"),
            (&["readme", "rootfs/etc/passwd"], "there is one below rootfs/"),
            (&["backup/readme", "backup/rootfs/etc/passwd"], "there is one below backup/rootfs/"),
            (&["source/README"], "everything is below source/"),
            (&["lost+found/x"], "the archive is empty"),
            (&["readme", "system.img"], "it holds readme, which is a zip archive"),
            (&["disk.img", "readme"], "it holds disk.img, an image of a file system (squashfs)"),
            (&["a/x", "b/x"], "at its top is none of etc, usr, bin, sbin, but a, b; use an archive"),
        ] {
            let text = refused(files);
            assert!(text.contains(told) && text.is_empty() == told.is_empty(), "{files:?}: {text}");
            assert_eq!(text.lines().count(), usize::from(!told.is_empty()));
        }
    }

    #[test]
    fn the_first_bytes_distinguish_images_from_archives() {
        let squashfs = [&b"hsqs"[..], &[0; 2000]].concat();
        assert!(of_front(&squashfs, None).unwrap().contains("use it with --image and volatile=yes"));
        assert!(of_front(&squashfs, Some("xz")).unwrap().contains("unpack it with 'xz -dk'"));
        assert!(of_front(b"PK\x03\x04", None).unwrap().contains("a zip archive, not a tar archive"));
        assert!(of_front(b"droidspaces/manifest.json", Some("zstd")).unwrap().contains("'ds import'"));
        assert_eq!(of_front(&[7; 2000], None), None);
        assert_eq!(of_front(b"", None), None);
    }
}
