//! Home directories: their creation from /etc/skel, and SSH keys.
//!
//! Every step uses directory descriptors and does not follow a link in the last component, because the tree may be
//! malicious. sshd(8), AUTHORIZED_KEYS FILE FORMAT.

use std::ffi::CStr;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, symlinkat, unlinkat};

use crate::call;
use crate::rootfs::root::{Root, file_type, open_regular, reopen};

/// The maximum depth, number of files and file size of /etc/skel.
const DEEPEST: u32 = 8;
const MAX: u32 = 1000;
const LARGEST: u64 = 1 << 20;
/// The properties of a new home directory.
const SKELETON: &str = "/etc/skel";
/// The file of keys.
const KEYS: &str = "authorized_keys";
/// Its temporary name.
const TEMPORARY: &str = ".authorized_keys.new";

/// The owner of new files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub user: u32,
    pub group: u32,
}

impl Owner {
    fn takes(self, descriptor: impl AsFd, mode: u32) -> Result<()> {
        let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.group));
        call!(fchown(&descriptor, Some(user), Some(group)), "fchown")?;
        Ok(call!(fchmod(&descriptor, Mode::from_bits_truncate(mode)), "fchmod")?)
    }
}

fn directory(parent: impl AsFd, name: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Opens a home directory; creates a missing one, with the files of /etc/skel if `skeleton`.
pub(super) fn furnish(root: &Root, home: &Path, owner: Owner, skeleton: bool) -> Result<OwnedFd> {
    let shown = home.display();
    match root.resolve(home) {
        Ok(found) => return Ok(reopen(found.as_fd(), OFlag::O_RDONLY | OFlag::O_DIRECTORY)?.into()),
        Err(Errno::ENOENT) => {}
        Err(errno) => call!(Err(errno), "open({shown})")?,
    }
    let (Some(parent), Some(name)) = (home.parent(), home.file_name()) else { bail!("{shown} has no name") };
    let parent = root.make_directories(parent)?;
    call!(mkdirat(&parent, name, Mode::from_bits_truncate(0o700)), "mkdir({shown})")?;
    let made = call!(directory(&parent, Path::new(name)), "open({shown})")?;
    owner.takes(&made, 0o700)?;
    if skeleton && let Ok(found) = root.resolve(Path::new(SKELETON)) {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let source: OwnedFd = reopen(found.as_fd(), flags).context("open /etc/skel")?.into();
        copy(&source, &made, owner, 0, &mut 0).context("copy /etc/skel")?;
    }
    Ok(made)
}

fn copy(source: &OwnedFd, target: &OwnedFd, owner: Owner, depth: u32, count: &mut u32) -> Result<()> {
    ensure!(depth < DEEPEST, "it is deeper than {DEEPEST} directories");
    let listing = Dir::from_fd(source.try_clone().context("dup")?).context("opendir")?;
    for entry in listing {
        let entry = entry.context("readdir")?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        *count += 1;
        ensure!(*count <= MAX, "it has more than {MAX} files");
        one(source, target, name, owner, depth, count)
            .with_context(|| name.to_string_lossy().into_owned())?;
    }
    Ok(())
}

fn one(
    source: &OwnedFd,
    target: &OwnedFd,
    name: &CStr,
    owner: Owner,
    depth: u32,
    count: &mut u32,
) -> Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let found = call!(openat(source, name, flags, Mode::empty()), "open")?;
    let status = call!(fstat(&found), "fstat")?;
    let mode = status.st_mode & 0o777;
    match file_type(&status) {
        SFlag::S_IFDIR => {
            call!(mkdirat(target, name, Mode::from_bits_truncate(0o700)), "mkdir")?;
            let path = Path::new(OsStr::from_bytes(name.to_bytes()));
            let made = call!(directory(target, path), "open")?;
            owner.takes(&made, mode)?;
            let inner: OwnedFd = reopen(found.as_fd(), OFlag::O_RDONLY | OFlag::O_DIRECTORY)?.into();
            copy(&inner, &made, owner, depth + 1, count)
        }
        SFlag::S_IFLNK => {
            let to = call!(readlinkat(source, name), "readlink")?;
            Ok(call!(symlinkat(to.as_os_str(), target, name), "symlink")?)
        }
        SFlag::S_IFREG => {
            let mut content = Vec::new();
            open_regular(found.as_fd())?.take(LARGEST + 1).read_to_end(&mut content)?;
            ensure!(content.len() as u64 <= LARGEST, "it is larger than {LARGEST} bytes");
            let flags =
                OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let made = call!(openat(target, name, flags, Mode::from_bits_truncate(0o600)), "create")?;
            let mut made = File::from(made);
            made.write_all(&content)?;
            owner.takes(&made, mode)
        }
        // Other kinds of files are skipped.
        _ => Ok(()),
    }
}

/// Adds SSH keys.
pub(super) fn authorize(home: &OwnedFd, owner: Owner, keys: &[String]) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    match mkdirat(home, ".ssh", Mode::from_bits_truncate(0o700)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        other => call!(other, "mkdir")?,
    }
    let place = match directory(home, Path::new(".ssh")) {
        Err(Errno::ELOOP | Errno::ENOTDIR) => {
            bail!("it is not a directory; remove it from the root file system")
        }
        other => call!(other, "open")?,
    };
    owner.takes(&place, 0o700)?;
    let mut text = current(&place)?;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for key in keys {
        if !text.lines().any(|line| line == key) {
            text.push_str(key);
            text.push('\n');
        }
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let _ = unlinkat(&place, TEMPORARY, UnlinkatFlags::NoRemoveDir);
    let file = call!(openat(&place, TEMPORARY, flags, Mode::from_bits_truncate(0o600)), "create")?;
    let mut file = File::from(file);
    file.write_all(text.as_bytes()).context("write")?;
    owner.takes(&file, 0o600)?;
    file.sync_all().context("fsync")?;
    Ok(call!(renameat(&place, TEMPORARY, &place, KEYS), "rename")?)
}

/// The existing keys. Replaces anything that is not a regular file.
fn current(place: &OwnedFd) -> Result<String> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let found = match openat(place, KEYS, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(String::new()),
        other => call!(other, "open({KEYS})")?,
    };
    if file_type(&call!(fstat(&found), "fstat")?) != SFlag::S_IFREG {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    open_regular(found.as_fd())?.take(LARGEST).read_to_end(&mut bytes).context("read")?;
    String::from_utf8(bytes).context("its authorized_keys is not text")
}
