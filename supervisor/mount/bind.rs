//! Mounts by descriptors: binding one over another, and changing and verifying the flags of one.
//!
//! Owns the calls; decides nothing. The working directory must be the trusted /proc
//! ([`super::perform::enter_proc`]): mount(2) is called with `self/fd/N`. For mounts of a container's tree.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Result, bail};
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, fstatvfs};

use crate::call;
use crate::sys::descriptor::name;

/// Changes flags of the mount whose root is a descriptor, and keeps all others.
///
/// # Errors
/// If mount(2) fails; EINVAL if the descriptor is not the root of a mount.
pub fn remount(mounted: &OwnedFd, change: impl Fn(MsFlags) -> MsFlags) -> Result<()> {
    let flags = change(mount_flags(mounted)?) | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    call!(
        mount(None::<&str>, name(mounted).as_str(), None::<&str>, flags, None::<&str>),
        "mount(remount, {flags:?})"
    )?;
    Ok(())
}

/// Makes a mount and its submounts private.
pub(super) fn make_private(mounted: impl AsFd) -> Result<()> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    call!(mount(None::<&str>, name(mounted).as_str(), None::<&str>, flags, None::<&str>), "mount(private)")?;
    Ok(())
}

pub(super) fn verify(mounted: &OwnedFd, target: &str, flags: MsFlags) -> Result<()> {
    if !mount_flags(mounted)?.contains(flags) {
        bail!("the kernel did not restrict {target} ({flags:?})");
    }
    Ok(())
}

fn mount_flags(mounted: &OwnedFd) -> Result<MsFlags> {
    let status = call!(fstatvfs(mounted), "fstatvfs")?.flags();
    let table = [
        (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        // A remount keeps or sets MS_RELATIME by itself: mount(2), "Remounting an existing mount".
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
    ];
    Ok(table
        .into_iter()
        .filter(|(seen, _)| status.contains(*seen))
        .fold(MsFlags::empty(), |flags, (_, flag)| flags | flag))
}

pub(super) fn open_path(path: &Path) -> Result<OwnedFd, Errno> {
    nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}

/// Binds one descriptor over another.
pub(super) fn bind(source: &OwnedFd, target: &OwnedFd, more: MsFlags) -> Result<()> {
    let (from, onto) = (name(source), name(target));
    let flags = MsFlags::MS_BIND | more;
    call!(mount(Some(from.as_str()), onto.as_str(), None::<&str>, flags, None::<&str>), "mount({flags:?})")?;
    Ok(())
}

/// The names of the directories in a directory.
pub(super) fn directories(top: &OwnedFd) -> Result<Vec<CString>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = call!(Dir::openat(top, ".", flags, Mode::empty()), "open")?;
    let mut names = Vec::new();
    for entry in listing.iter() {
        let entry = call!(entry, "getdents")?;
        let is_own = [c".", c".."].contains(&entry.file_name());
        if entry.file_type() == Some(Type::Directory) && !is_own {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}
