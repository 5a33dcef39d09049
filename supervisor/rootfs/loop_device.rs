//! Loop devices: a file as a block device, loop(4).
//!
//! Owns the search for a free device and its node, and the differences between kernels: one call since 5.8, two before;
//! devices that another process takes first; nodes that appear late or never (Android has them in /dev/block, a minimal
//! /dev has none). Knows nothing about the content of the file.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fstat, makedev, mknod};

use super::root::file_type;
use crate::call;
use crate::fault;
use crate::sys::loop_device::{self as sys, AUTOCLEAR, Part, READ_ONLY};

/// Major number of loop devices, and that of loop-control, a misc device: devices.txt of the kernel.
const LOOP_MAJOR: u64 = 7;
const CONTROL: (u64, u64) = (10, 237);
/// The number of attempts if another process takes a free device first.
const MAX_RACES: u32 = 64;
/// The number of attempts with the old calls while the kernel drops the pages of the device's previous user.
const MAX_STATUS: u32 = 50;

/// Directories of device nodes.
#[derive(Debug, Clone)]
pub struct Nodes {
    directories: Vec<PathBuf>,
    control: PathBuf,
    /// A private directory for nodes that do not exist elsewhere.
    scratch: Option<PathBuf>,
}

impl Nodes {
    /// The loop devices of this machine; `scratch` must be on a file system that permits devices.
    #[must_use]
    pub fn system(scratch: Option<&Path>) -> Self {
        Self {
            directories: vec!["/dev/block".into(), "/dev".into()],
            control: "/dev/loop-control".into(),
            scratch: scratch.map(Path::to_owned),
        }
    }

    /// Opens loop device `number`; also returns its path.
    fn open(&self, number: u32, flags: OFlag) -> Result<(OwnedFd, PathBuf)> {
        let name = format!("loop{number}");
        let candidates = self.directories.iter().map(|directory| directory.join(&name));
        self.open_first(candidates, &name, SFlag::S_IFBLK, (LOOP_MAJOR, u64::from(number)), flags)
    }

    fn open_control(&self) -> Result<OwnedFd> {
        let opened = self.open_first(
            [self.control.clone()].into_iter(),
            "loop-control",
            SFlag::S_IFCHR,
            CONTROL,
            OFlag::O_RDWR,
        );
        match opened {
            Err(error) if matches!(crate::sys::errno_of(&error), Some(Errno::ENODEV | Errno::ENXIO)) => {
                Err(error.context("the kernel has no loop devices (CONFIG_BLK_DEV_LOOP)"))
            }
            other => other.map(|(control, _)| control),
        }
    }

    /// The first candidate that is the expected device, else a node of our own.
    fn open_first(
        &self,
        candidates: impl Iterator<Item = PathBuf>,
        name: &str,
        kind: SFlag,
        (major, minor): (u64, u64),
        flags: OFlag,
    ) -> Result<(OwnedFd, PathBuf)> {
        let (flags, number) = (flags | OFlag::O_CLOEXEC, makedev(major, minor));
        for path in candidates {
            let is_it = nix::sys::stat::stat(&path)
                .is_ok_and(|status| file_type(&status) == kind && status.st_rdev == number);
            if is_it {
                let device =
                    call!(nix::fcntl::open(&path, flags, Mode::empty()), "open({})", path.display())?;
                return Ok((device, path));
            }
        }
        let Some(scratch) = &self.scratch else { bail!("/dev has no node for {name}") };
        let path = scratch.join(name);
        match mknod(&path, kind, Mode::from_bits_truncate(0o600), number) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => call!(Err(errno), "mknod({}, {major}:{minor})", path.display())?,
        }
        let device = call!(nix::fcntl::open(&path, flags, Mode::empty()), "open({})", path.display())?;
        let status = call!(fstat(&device), "fstat({name})")?;
        if status.st_rdev != number {
            bail!("{} is another device", path.display());
        }
        Ok((device, path))
    }
}

/// A device with a file. It releases the file with its last user: this process, and later the mount.
#[derive(Debug)]
pub struct LoopDevice {
    /// Its number.
    pub number: u32,
    /// The path of its node.
    pub path: PathBuf,
    _open: OwnedFd,
}

/// Attaches a part of a file that was opened for reading, or for reading and writing. losetup(8) shows `shown`.
///
/// # Errors
/// If no device is left, or the kernel has none.
pub fn attach(
    file: BorrowedFd<'_>,
    part: Part,
    read_only: bool,
    shown: &Path,
    nodes: &Nodes,
) -> Result<LoopDevice> {
    let control = nodes.open_control()?;
    let mut free = || {
        fault::point("loop-free").map_err(|_| Errno::ENOSPC)?;
        sys::free_number(control.as_fd())
    };
    let access = if read_only { OFlag::O_RDONLY } else { OFlag::O_RDWR };
    let mut take = |number| {
        let (device, path) = nodes.open(number, access)?;
        let flags = AUTOCLEAR | if read_only { READ_ONLY } else { 0 };
        set_up(device.as_fd(), file, part, flags, shown.as_os_str().as_bytes())?;
        // Kernels that protect mounted devices (CONFIG_BLK_DEV_WRITE_MOUNTED=n) refuse to mount one that is open for
        // writing.
        let open = call!(
            nix::fcntl::open(&path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()),
            "open({})",
            path.display()
        )?;
        drop(device);
        Ok(LoopDevice { number, path, _open: open })
    };
    win(&mut free, &mut take)
}

/// Repeats until a free device was not taken by another process in between.
fn win<T>(free: &mut dyn FnMut() -> Result<u32, Errno>, take: &mut dyn FnMut(u32) -> Result<T>) -> Result<T> {
    for _ in 0..MAX_RACES {
        let number = match free() {
            Err(errno) => {
                let error = call!(Err(errno), "ioctl(LOOP_CTL_GET_FREE)");
                return error.context("no loop device is free; detach an unused one, see 'losetup -l'");
            }
            Ok(number) => number,
        };
        match take(number) {
            Err(error) if crate::sys::errno_of(&error) == Some(Errno::EBUSY) => {}
            other => return other,
        }
    }
    let busy: Result<T, _> = call!(Err(Errno::EBUSY), "ioctl(LOOP_CONFIGURE)");
    busy.context("other programs took every free loop device; try again")
}

/// Attaches in one call, or in two on kernels before 5.8.
fn set_up(device: BorrowedFd<'_>, file: BorrowedFd<'_>, part: Part, flags: u32, name: &[u8]) -> Result<()> {
    match sys::configure(device, file, part, flags, name) {
        Err(Errno::EINVAL | Errno::ENOTTY | Errno::ENOSYS) => {}
        other => return Ok(call!(other, "ioctl(LOOP_CONFIGURE)")?),
    }
    call!(sys::set_file(device, file), "ioctl(LOOP_SET_FD)")?;
    if let Err(errno) = repeat_while_busy(&mut || sys::set_status(device, part, flags, name)) {
        let _ = sys::clear(device);
        call!(Err(errno), "ioctl(LOOP_SET_STATUS64)")?;
    }
    Ok(())
}

/// Switches a device to direct I/O, so that nothing is cached twice. Not from the beginning: the mount reads the same
/// blocks as e2fsck. Best effort: some file systems do not support it, and nothing else depends on it.
pub fn go_direct(number: u32, nodes: &Nodes) {
    if let Ok((device, _)) = nodes.open(number, OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
        let _ = sys::set_direct_io(device.as_fd());
    }
}

/// Retries while the kernel returns EAGAIN.
fn repeat_while_busy(attempt: &mut dyn FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    for _ in 0..MAX_STATUS {
        match attempt() {
            Err(Errno::EAGAIN) => sleep(Duration::from_millis(10)),
            other => return other,
        }
    }
    Err(Errno::EAGAIN)
}

/// A device that has the given file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    /// Its number.
    pub number: u32,
    /// Whether it is read-only.
    pub read_only: bool,
    /// Whether it releases the file with its last user.
    pub autoclear: bool,
}

/// The devices to which a file is attached, by any program and under any name: the inode is compared.
#[must_use]
pub fn attached_as(device: u64, inode: u64, nodes: &Nodes) -> Vec<Attached> {
    let numbers = attached_numbers();
    let status = |number| {
        let (open, _) = nodes.open(number, OFlag::O_RDONLY | OFlag::O_NONBLOCK).ok()?;
        let backing = sys::backing(open.as_fd()).ok()?;
        ((backing.device, backing.inode) == (device, inode)).then_some(Attached {
            number,
            read_only: backing.flags & READ_ONLY != 0,
            autoclear: backing.flags & AUTOCLEAR != 0,
        })
    };
    numbers.into_iter().filter_map(status).collect()
}

/// The devices that have a file, according to /sys/block.
fn attached_numbers() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/sys/block") else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter_map(|name| name.strip_prefix("loop")?.parse().ok())
        .filter(|number| is_attached(*number))
        .collect()
}

/// Whether a device has a file.
fn is_attached(number: u32) -> bool {
    Path::new(&format!("/sys/block/loop{number}/loop/backing_file")).exists()
}

/// Whether a device has this file, identified by `st_dev` and `st_ino`.
#[must_use]
pub fn has(number: u32, file: (u64, u64), nodes: &Nodes) -> bool {
    is_attached(number)
        && nodes
            .open(number, OFlag::O_RDONLY | OFlag::O_NONBLOCK)
            .is_ok_and(|(open, _)| sys::backing(open.as_fd()).is_ok_and(|b| (b.device, b.inode) == file))
}

/// Waits until `done` is true; `false` after the timeout.
pub fn wait_until(patience: Duration, done: &mut dyn FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    while !done() {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn nodes(directory: &Path, scratch: bool) -> Nodes {
        let directories = vec![directory.join("block"), directory.join("dev")];
        directories.iter().for_each(|directory| fs::create_dir_all(directory).unwrap());
        fs::create_dir_all(directory.join("scratch")).unwrap();
        Nodes {
            directories,
            control: directory.join("loop-control"),
            scratch: scratch.then(|| directory.join("scratch")),
        }
    }

    #[test]
    fn a_file_that_is_no_device_is_not_taken_for_one() {
        let directory = tempfile::tempdir().unwrap();
        let nodes = nodes(directory.path(), false);
        fs::write(directory.path().join("block/loop4000"), "").unwrap();
        symlink("/dev/null", directory.path().join("dev/loop4000")).unwrap();
        let error = nodes.open(4000, OFlag::O_RDONLY).unwrap_err();
        assert!(error.to_string().contains("no node for loop4000"), "{error:#}");
    }

    #[test]
    fn a_device_that_another_process_takes_is_skipped() {
        let mut next = 0;
        let mut free = || {
            next += 1;
            Ok(next)
        };
        let mut take = |number| match number {
            3 => Ok(number),
            _ => Ok(call!(Err(Errno::EBUSY), "ioctl(LOOP_CONFIGURE)")?),
        };
        assert_eq!(win(&mut free, &mut take).unwrap(), 3);
        let mut tries = 0;
        let mut take = |_| -> Result<()> {
            tries += 1;
            Ok(call!(Err(Errno::EBUSY), "ioctl(LOOP_CONFIGURE)")?)
        };
        let error = win(&mut free, &mut take).unwrap_err();
        assert!(format!("{error:#}").contains("took every free loop device"), "{error:#}");
        assert_eq!(tries, MAX_RACES);
    }

    #[test]
    fn any_other_answer_ends_the_attempt() {
        let mut tries = 0;
        let mut take = |_| -> Result<()> {
            tries += 1;
            Ok(call!(Err(Errno::EPERM), "open")?)
        };
        assert!(win(&mut || Ok(1), &mut take).is_err());
        assert_eq!(tries, 1);
        let error = win(&mut || Err(Errno::ENOSPC), &mut |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("no loop device is free"), "{error:#}");
    }

    #[test]
    fn what_the_kernel_cannot_do_yet_is_done_a_little_later() {
        let mut answers = vec![Ok(()), Err(Errno::EAGAIN), Err(Errno::EAGAIN)];
        assert_eq!(repeat_while_busy(&mut || answers.pop().unwrap()), Ok(()));
        assert_eq!(repeat_while_busy(&mut || Err(Errno::EPERM)), Err(Errno::EPERM));
    }
}
