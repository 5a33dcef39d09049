//! A tree with changes in memory: overlayfs with the root file system as the lower and a tmpfs as the upper layer.
//!
//! Runs in the child that becomes PID 1, in its own mount namespace, so that every boot begins without changes and
//! nothing must be cleaned up. Directories are passed as descriptors, so that no character of a path has a meaning for
//! overlayfs. Documentation/filesystems/overlayfs.rst of the kernel, tmpfs(5).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Error, Result, anyhow};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, fchmod, fstat, fstatat, mkdirat};
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::{Gid, Uid, fchown};

use super::root::Root;
use crate::call;
use crate::sys::descriptor::name;
use crate::sys::{describe, xattr};

/// File systems that overlayfs is known to refuse, by their magic numbers (linux/magic.h).
const SUSPECTS: [(FsType, &str); 3] =
    [(FsType(0xF2F5_2010), "f2fs"), (FsType(0x794C_7630), "overlayfs"), (FsType(0x6573_5546), "FUSE")];

/// Covers the tree `lower`, mounted at `place`, with a writable overlay. `size` is the maximum size of the changes in
/// bytes; half of the machine's memory if `None`. The working directory is /proc.
///
/// # Errors
/// If the kernel has no overlayfs, or that refuses the tree: one line with the remedy.
pub fn cover(lower: &Root, place: &Path, size: Option<u64>) -> Result<Root> {
    let target = name(lower.directory());
    let data = size.map_or_else(|| "mode=700".to_owned(), |size| format!("mode=700,size={size}"));
    call!(
        mount(Some("tmpfs"), target.as_str(), Some("tmpfs"), MsFlags::empty(), Some(data.as_str())),
        "mount(tmpfs, {}, {data})",
        place.display()
    )?;
    let memory = Root::open(place)?;
    for directory in ["changes", "work"] {
        call!(mkdirat(memory.directory(), directory, Mode::S_IRWXU), "mkdir({directory})")?;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let changes = call!(openat(memory.directory(), "changes", flags, Mode::empty()), "open(changes)")?;
    resemble(lower.directory(), &changes)?;
    let above = name(memory.directory());
    let options = format!("lowerdir={target},upperdir={above}/changes,workdir={above}/work");
    match mount(Some("overlay"), above.as_str(), Some("overlay"), MsFlags::empty(), Some(options.as_str())) {
        Ok(()) => {}
        Err(errno) => return Err(refusal(lower, errno)),
    }
    let root = Root::open(place)?;
    match is_whole(lower, &root) {
        Ok(()) => Ok(root),
        Err(errno) => Err(refusal(lower, errno)),
    }
}

fn refusal(lower: &Root, errno: Errno) -> Error {
    let kind = fstatfs(lower.directory()).map(|status| status.filesystem_type());
    explain(kind.ok(), errno)
}

/// Explains an error of overlayfs, with a remedy.
fn explain(kind: Option<FsType>, errno: Errno) -> Error {
    if errno == Errno::ENODEV {
        return anyhow!(
            "the kernel has no overlayfs (CONFIG_OVERLAY_FS), which volatile needs; set volatile=no"
        );
    }
    let suspect = SUSPECTS.iter().find(|(magic, _)| kind == Some(*magic));
    anyhow!(
        "overlayfs does not support the root file system{} for a volatile container: {}; use an image, which 'ds \
         convert NAME image' makes of a directory",
        suspect.map(|(_, name)| format!(" on {name}")).unwrap_or_default(),
        describe(errno)
    )
}

/// Gives the top directory of the upper layer the owner, mode and attributes of the tree's top.
fn resemble(lower: BorrowedFd<'_>, changes: &OwnedFd) -> Result<()> {
    let status = call!(fstat(lower), "fstat")?;
    let (user, group) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
    call!(fchown(changes, Some(user), Some(group)), "fchown(changes)")?;
    call!(fchmod(changes, Mode::from_bits_truncate(status.st_mode)), "fchmod(changes)")?;
    for attribute in xattr::list(lower).unwrap_or_default() {
        // Attributes that a tmpfs does not support are not needed there.
        if let Ok(value) = xattr::get(lower, &attribute) {
            let _ = xattr::set(changes.as_fd(), &attribute, &value);
        }
    }
    Ok(())
}

/// Whether the top of the tree is readable. Some file systems accept the mount and fail at the first access.
fn is_whole(lower: &Root, upper: &Root) -> Result<(), Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = Dir::openat(lower.directory(), ".", flags, Mode::empty())?;
    for entry in listing.iter() {
        fstatat(upper.directory(), entry?.file_name(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_way_out() {
        let told = |kind, errno| explain(kind, errno).to_string();
        assert!(told(None, Errno::ENODEV).contains("CONFIG_OVERLAY_FS"));
        let f2fs = told(Some(FsType(0xF2F5_2010)), Errno::EINVAL);
        assert!(
            f2fs.contains("on f2fs") && f2fs.contains("EINVAL") && f2fs.contains("'ds convert NAME image'"),
            "{f2fs}"
        );
        assert!(!told(Some(FsType(0xEF53)), Errno::ELOOP).contains(" on "));
    }
}
