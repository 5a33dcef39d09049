//! Performs mount operations in a container's tree, in the child that becomes PID 1.
//!
//! Owns their safety. mount(2) takes paths, and a path can be changed between two lookups. Here every target is
//! resolved once to a descriptor, and mount(2) is called with `self/fd/N` and a trusted /proc as the working directory.
//! This works on every kernel from 4.9 on, until the old root is unmounted with the host's /proc.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, major, makedev, minor, mkdirat, mknodat, umask};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{Gid, Pid, UnlinkatFlags, fchdir, fchownat, unlinkat};

use super::bind::{bind, directories, make_private, open_path, remount, verify};
use super::entries::Entries;
use super::info;
use super::op::{DeviceKind, Operation};
use super::sockets;
use crate::call;
use crate::rootfs::root::{Root, file_type};
use crate::sys::descriptor::{self, name};
use crate::sys::mount::restrict_recursive;
use crate::sys::unsupported;

/// Inode number of the root directory of every procfs (proc_fs.h of the kernel).
const PROC_ROOT_INODE: libc::ino_t = 1;

/// Opens the host's /proc and verifies it.
///
/// # Errors
/// If /proc does not exist or is something else.
pub fn trusted_proc() -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let proc = call!(nix::fcntl::open("/proc", flags, Mode::empty()), "open(/proc)")?;
    let kind = call!(fstatfs(&proc), "fstatfs(/proc)")?.filesystem_type();
    if kind != PROC_SUPER_MAGIC || call!(fstat(&proc), "fstat(/proc)")?.st_ino != PROC_ROOT_INODE {
        bail!("/proc is not the kernel's process file system");
    }
    Ok(proc)
}

/// Makes the trusted /proc the working directory, which every operation here requires.
///
/// # Errors
/// If fchdir(2) fails.
pub fn enter_proc(proc: BorrowedFd<'_>) -> Result<()> {
    Ok(call!(fchdir(proc), "fchdir(/proc)")?)
}

/// Performs operations in one tree. The working directory must be the trusted /proc while this lives.
#[derive(Debug)]
pub struct Performer {
    root: Root,
    entries: RefCell<Entries>,
    /// The host's /dev/null, the source of masks: 1:3 is verified before any tree is accessible.
    null: OwnedFd,
    /// Both sides of the FIFO that masks silent files.
    silent: RefCell<Option<OwnedFd>>,
    /// The host's mounts propagate here, so new bind mounts must be made private.
    follows: bool,
}

impl Performer {
    /// Prepares for a tree; [`enter_proc`] must have been called.
    ///
    /// # Errors
    /// If /dev/null is not the expected device.
    pub fn new(root: Root) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let null = call!(nix::fcntl::open("/dev/null", flags, Mode::empty()), "open(/dev/null)")?;
        let status = call!(fstat(&null), "fstat(/dev/null)")?;
        if file_type(&status) != SFlag::S_IFCHR || status.st_rdev != makedev(1, 3) {
            bail!("/dev/null is not the null device");
        }
        umask(Mode::empty());
        Ok(Self { root, entries: RefCell::default(), null, silent: RefCell::new(None), follows: false })
    }

    /// The mounts of this namespace are slaves of the host's (MS_SLAVE). From now on each mount is made private, first
    /// that of the tree, except those with requested propagation.
    ///
    /// # Errors
    /// If mount(2) fails.
    pub fn follow_what_is_asked_for(&mut self) -> Result<()> {
        self.follows = true;
        make_private(self.root.directory())
    }

    /// The tree.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Performs one operation. `Ok(Some(text))` is a warning: it failed but is not required.
    ///
    /// # Errors
    /// The operation and the system call that failed.
    pub fn perform(&self, operation: &Operation) -> Result<Option<String>> {
        self.attempt(operation).with_context(|| format!("{operation}"))
    }

    fn attempt(&self, operation: &Operation) -> Result<Option<String>> {
        if !operation.makes_an_entry() {
            *self.entries.borrow_mut() = Entries::default();
        }
        match operation {
            Operation::Mount { kind, target, flags, data, required } => {
                return self.mount(kind, target, *flags, data, *required);
            }
            Operation::Directory { target, mode } => self.directory(target, *mode)?,
            Operation::Device { target, kind, major, minor, mode, group } => {
                let number = makedev(u64::from(*major), u64::from(*minor));
                self.device(target, (*kind, number), *mode, *group)?;
            }
            Operation::Symlink { target, to } => self.entries.borrow_mut().link(&self.root, target, to)?,
            Operation::File { target, content } => {
                self.entries.borrow_mut().file(&self.root, target, content)?;
            }
            Operation::Bind { source, target, flags, required } => {
                return self.bind(source, target, *flags, *required);
            }
            Operation::Socket { sources, target, also, remedy } => {
                return sockets::bind_first(&self.root, sources, (target, also.as_deref()), remedy);
            }
            Operation::Punch { target } => self.punch(target)?,
            Operation::Memory { target, flags, data } => self.memory(target, *flags, data)?,
            Operation::Follow { source, target } => {
                let origin = call!(open_path(Path::new(source)), "open({source})")?;
                bind(&origin, &self.root.make_directories(Path::new(target))?, MsFlags::MS_REC)?;
            }
            Operation::Cover { source, target } => {
                // The owner of the tree may have put anything there, so this must not prevent the start.
                let covered = self.cover(source, target);
                return Ok(covered.err().map(|error| format!("{target} is not provided: {error:#}")));
            }
            Operation::ReadOnly { target } => {
                if let Some(found) = self.present(target)? {
                    bind(&found, &found, MsFlags::empty())?;
                    self.restrict(target)?;
                }
            }
            Operation::Writable { target } => {
                if let Some(found) = self.present(target)? {
                    bind(&found, &found, MsFlags::empty())?;
                    self.remount(target, |flags| flags - MsFlags::MS_RDONLY)?;
                }
            }
            Operation::Mask { target } => self.mask(target)?,
            Operation::Silence { target } => self.silence(target)?,
            Operation::Seal { target } => self.seal(target)?,
        }
        Ok(None)
    }

    fn present(&self, target: &str) -> Result<Option<OwnedFd>> {
        match self.root.resolve_no_follow(Path::new(target)) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(errno) => Ok(Some(call!(Err(errno), "open({target})")?)),
        }
    }

    fn mount(
        &self,
        kind: &str,
        target: &str,
        flags: MsFlags,
        data: &str,
        required: bool,
    ) -> Result<Option<String>> {
        let top = target.trim_start_matches('/');
        let place = if top.contains('/') {
            call!(self.root.resolve_no_follow(Path::new(target)), "open({target})")?
        } else {
            self.root.real_directory(top)?
        };
        let done = mount(Some(kind), name(&place).as_str(), Some(kind), flags, Some(data));
        match done {
            Err(errno @ (Errno::ENODEV | Errno::EINVAL | Errno::EBUSY | Errno::ENOENT)) if !required => {
                Ok(Some(format!("the container has no {target}: {kind}: {}", crate::sys::describe(errno))))
            }
            other => {
                call!(other, "mount({kind}, {target}, {kind}, {data})")?;
                Ok(None)
            }
        }
    }

    fn directory(&self, target: &str, mode: u32) -> Result<()> {
        let (parent, last) = self.entries.borrow_mut().parent(&self.root, target)?;
        match mkdirat(&parent, last, Mode::from_bits_truncate(mode)) {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Ok(call!(Err(errno), "mkdir({target})")?),
        }
    }

    fn device(
        &self,
        target: &str,
        (kind, number): (DeviceKind, libc::dev_t),
        mode: u32,
        group: u32,
    ) -> Result<()> {
        let (parent, last) = self.entries.borrow_mut().parent(&self.root, target)?;
        let permissions = Mode::from_bits_truncate(mode);
        let kind = match kind {
            DeviceKind::Character => SFlag::S_IFCHR,
            DeviceKind::Block => SFlag::S_IFBLK,
        };
        match mknodat(&parent, last, kind, permissions, number) {
            Ok(()) if group == 0 => Ok(()),
            Ok(()) => {
                let (flags, group) = (AtFlags::AT_SYMLINK_NOFOLLOW, Some(Gid::from_raw(group)));
                Ok(call!(fchownat(&parent, last, None, group, flags), "chown({target})")?)
            }
            // CAP_MKNOD is missing, or a device controller denies it: use the host's node instead.
            Err(Errno::EPERM) => {
                let host = call!(open_path(Path::new(target)), "open({target}) on the host")?;
                let status = call!(fstat(&host), "fstat({target})")?;
                if file_type(&status) != kind || status.st_rdev != number {
                    bail!("mknod is refused, and {target} of the host is another device");
                }
                let place = self.root.make_file(Path::new(target))?;
                bind(&host, &place, MsFlags::empty())
            }
            Err(errno) => Ok(call!(Err(errno), "mknod({target}, {}:{})", major(number), minor(number))?),
        }
    }

    fn bind(&self, source: &str, target: &str, flags: MsFlags, required: bool) -> Result<Option<String>> {
        let origin = match open_path(Path::new(source)) {
            Ok(origin) => origin,
            Err(errno) if !required => {
                return Ok(Some(format!(
                    "{source} is not bound to {target}: {}",
                    crate::sys::describe(errno)
                )));
            }
            Err(errno) => call!(Err(errno), "open({source})")?,
        };
        let status = call!(fstat(&origin), "fstat({source})")?;
        let place = if file_type(&status) == SFlag::S_IFDIR {
            self.root.make_directories(Path::new(target))?
        } else {
            self.root.make_file(Path::new(target))?
        };
        bind(&origin, &place, MsFlags::MS_REC)?;
        let bound = call!(self.root.resolve(Path::new(target)), "open({target})")?;
        let seen = call!(fstat(&bound), "fstat({target})")?;
        if (seen.st_dev, seen.st_ino) != (status.st_dev, status.st_ino) {
            bail!("{target} changed while {source} was bound to it");
        }
        if self.follows {
            make_private(&bound).with_context(|| format!("keep {target} unchanged"))?;
        }
        if !flags.is_empty() {
            match restrict_recursive(bound.as_fd(), flags) {
                Ok(()) => {}
                Err(errno) if unsupported(errno) || errno == Errno::EPERM => {
                    self.restrict_below(target, &bound, flags)?;
                }
                Err(errno) => call!(Err(errno), "mount_setattr({target}, {flags:?})")?,
            }
            verify(&bound, target, flags)?;
        }
        Ok(None)
    }

    /// Restricts every mount below, one after the other, for kernels without mount_setattr(2).
    fn restrict_below(&self, target: &str, bound: &OwnedFd, flags: MsFlags) -> Result<()> {
        let top = std::fs::read_link(descriptor::path(bound.as_fd()))?;
        let mounts = info::read("self")?;
        let below: Vec<PathBuf> = info::below(&mounts, &top)
            .filter_map(|mount| mount.target.strip_prefix(&top).ok().map(Path::to_owned))
            .collect();
        for relative in below {
            // The target itself may be reached through links of the tree; nothing below it may.
            let is_top = relative.as_os_str().is_empty();
            let path = if is_top { PathBuf::from(target) } else { Path::new(target).join(&relative) };
            let found = if is_top { self.root.resolve(&path) } else { self.root.resolve_no_follow(&path) };
            let mounted = call!(found, "open({})", path.display())?;
            remount(&mounted, |old| old | flags).with_context(|| format!("remount {}", path.display()))?;
            let mounted = call!(self.root.resolve(&path), "open({})", path.display())?;
            verify(&mounted, &path.to_string_lossy(), flags)?;
        }
        Ok(())
    }

    /// A memory file system on a directory of the tree.
    fn memory(&self, target: &str, flags: MsFlags, data: &str) -> Result<()> {
        let place = self.root.make_directories(Path::new(target))?;
        let covered = call!(fstat(&place), "fstat({target})")?;
        call!(
            mount(Some("tmpfs"), name(&place).as_str(), Some("tmpfs"), flags, Some(data)),
            "mount(tmpfs, {target}, {data})"
        )?;
        let mounted = call!(self.root.resolve(Path::new(target)), "open({target})")?;
        if call!(fstat(&mounted), "fstat({target})")?.st_dev == covered.st_dev {
            bail!("{target} changed while it was mounted");
        }
        verify(&mounted, target, flags)
    }

    fn punch(&self, target: &str) -> Result<()> {
        let top = call!(self.root.resolve_no_follow(Path::new(target)), "open({target})")?;
        for name in directories(&top).with_context(|| format!("list {target}"))? {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let found =
                call!(openat(&top, name.as_c_str(), flags, Mode::empty()), "open({target}/{name:?})")?;
            bind(&found, &found, MsFlags::empty())?;
        }
        Ok(())
    }

    fn cover(&self, source: &str, target: &str) -> Result<()> {
        let origin = call!(self.root.resolve_no_follow(Path::new(source)), "open({source})")?;
        let place = self.root.make_file(Path::new(target))?;
        bind(&origin, &place, MsFlags::empty())
    }

    fn mask(&self, target: &str) -> Result<()> {
        let Some(found) = self.present(target)? else { return Ok(()) };
        if file_type(&call!(fstat(&found), "fstat({target})")?) == SFlag::S_IFDIR {
            let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            let data = Some("size=0,nr_inodes=2,mode=555");
            call!(
                mount(Some("tmpfs"), name(&found).as_str(), Some("tmpfs"), flags, data),
                "mount(tmpfs, {target})"
            )?;
            return Ok(());
        }
        bind(&self.null, &found, MsFlags::empty())
    }

    /// Masks a file with a FIFO. The null device would return end-of-file immediately, and a program that expects more
    /// data would read in an endless loop. A FIFO with an open writer blocks its readers.
    fn silence(&self, target: &str) -> Result<()> {
        const NAME: &str = ".silent";
        let Some(found) = self.present(target)? else { return Ok(()) };
        let place = self.root.real_directory("dev")?;
        call!(mknodat(&place, NAME, SFlag::S_IFIFO, Mode::S_IRUSR, 0), "mkfifo(/dev/{NAME})")?;
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fifo = call!(openat(&place, NAME, flags, Mode::empty()), "open(/dev/{NAME})")?;
        bind(&fifo, &found, MsFlags::empty())?;
        call!(unlinkat(&place, NAME, UnlinkatFlags::NoRemoveDir), "unlink(/dev/{NAME})")?;
        *self.silent.borrow_mut() = Some(fifo);
        Ok(())
    }

    /// Both sides of the FIFO of [`Operation::Silence`]: readers block while this descriptor is open.
    pub fn take_silent(&self) -> Option<OwnedFd> {
        self.silent.borrow_mut().take()
    }

    /// Makes a bind mount without submounts read-only.
    fn restrict(&self, target: &str) -> Result<()> {
        let mounted = call!(self.root.resolve_no_follow(Path::new(target)), "open({target})")?;
        match restrict_recursive(mounted.as_fd(), MsFlags::MS_RDONLY) {
            Err(errno) if unsupported(errno) || errno == Errno::EPERM => self.seal(target),
            done => Ok(call!(done, "mount_setattr({target}, read-only)")?),
        }
    }

    /// Makes the mount at `target` read-only and verifies it.
    fn seal(&self, target: &str) -> Result<()> {
        self.remount(target, |flags| flags | MsFlags::MS_RDONLY)?;
        let sealed = call!(self.root.resolve_no_follow(Path::new(target)), "open({target})")?;
        verify(&sealed, target, MsFlags::MS_RDONLY)
    }

    /// Changes flags of the mount at `target` and keeps all others: mount(2), "Remounting an existing mount".
    fn remount(&self, target: &str, change: impl Fn(MsFlags) -> MsFlags) -> Result<()> {
        let mounted = call!(self.root.resolve_no_follow(Path::new(target)), "open({target})")?;
        remount(&mounted, change).with_context(|| format!("remount {target}"))
    }
}

/// Binds a descriptor of the performer's tree, such as a terminal, over a file in it that is created for the purpose.
///
/// # Errors
/// If a system call fails.
pub fn bind_over(performer: &Performer, source: &OwnedFd, target: &str, mode: u32) -> Result<()> {
    let place = performer.root.make_file(Path::new(target))?;
    bind(source, &place, MsFlags::empty())?;
    let bound = call!(performer.root.resolve(Path::new(target)), "open({target})")?;
    // An O_PATH descriptor cannot be changed by fchmod(2); the source is the same inode.
    let _ = fchmod(source, Mode::from_bits_truncate(mode));
    drop(bound);
    Ok(())
}

/// Shows a process as /proc/1 of the tree, whose /proc is that of the whole machine.
///
/// # Errors
/// If the tree's /proc is not the kernel's, or mount(2) fails.
pub fn show_as_first(performer: &Performer, process: Pid) -> Result<()> {
    let path = format!("/proc/{process}");
    let open = |path: &str| performer.root.resolve_no_follow(Path::new(path));
    let (own, first) = (call!(open(&path), "open({path})")?, call!(open("/proc/1"), "open(/proc/1)")?);
    let kind = call!(fstatfs(&first), "fstatfs(/proc/1)")?.filesystem_type();
    if kind != PROC_SUPER_MAGIC {
        bail!("/proc of the container is not the kernel's process file system");
    }
    bind(&own, &first, MsFlags::empty())
}

/// Binds a directory over itself, with its submounts, and reopens it.
///
/// # Errors
/// If a system call fails.
pub fn bind_onto_itself(path: &Path, expected: BorrowedFd<'_>) -> Result<Root> {
    let before = call!(open_path(path), "open({})", path.display())?;
    let (wanted, seen) = (call!(fstat(expected), "fstat")?, call!(fstat(&before), "fstat")?);
    if (wanted.st_dev, wanted.st_ino) != (seen.st_dev, seen.st_ino) {
        bail!("{} was replaced while the container started", path.display());
    }
    bind(&before, &before, MsFlags::MS_REC)?;
    let after = call!(open_path(path), "open({})", path.display())?;
    // /data of a phone is mounted nosuid,nodev, but containers need sudo and device nodes. Only this bind mount is
    // changed.
    remount(&after, |flags| flags - MsFlags::MS_NOSUID - MsFlags::MS_NODEV - MsFlags::MS_NOEXEC)?;
    Ok(Root::new(after))
}

#[cfg(test)]
#[path = "race_tests.rs"]
mod race_tests;
