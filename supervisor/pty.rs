//! Pseudoterminals on a container's own devpts: pty(7), pts(4), ioctl_tty(2).
//!
//! Owns the safe opening of a pair. The container's tree is untrusted: /dev/pts must be a devpts, the multiplexer must
//! be on the same file system, and the peer is opened through the master and not by a path. `session` transfers the
//! data.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, major, minor};
use nix::sys::statfs::{DEVPTS_SUPER_MAGIC, fstatfs};
use nix::unistd::{Gid, Uid, fchown};

use crate::call;
use crate::rootfs::root::{Root, file_type, reopen};
use crate::sys::terminal::{open_peer, peer_number, unlock_peer};
use crate::sys::unsupported;

/// Device number of /dev/ptmx, Documentation/admin-guide/devices.txt of the kernel.
const MULTIPLEXER: (u64, u64) = (5, 2);
/// Major number of /dev/pts/N, in the same table.
const PEER_MAJOR: u64 = 136;
/// Group of terminals, the same number in every distribution; the devpts of a container is mounted with it.
const TERMINAL_GROUP: Gid = Gid::from_raw(5);

/// Both sides of a pseudoterminal, close-on-exec, and not a controlling terminal.
#[derive(Debug)]
pub struct Pty {
    /// The side of a terminal emulator.
    pub master: OwnedFd,
    /// The side of the programs.
    pub peer: OwnedFd,
}

impl Pty {
    /// Gives the terminal to a user with the mode of login(1): the owner reads and writes, the group `tty` writes.
    ///
    /// # Errors
    /// If fchown(2) or fchmod(2) fails.
    pub fn give_to(&self, user: Uid) -> Result<()> {
        call!(fchown(&self.peer, Some(user), Some(TERMINAL_GROUP)), "fchown(terminal, {user}:5)")?;
        call!(fchmod(&self.peer, Mode::from_bits_truncate(0o620)), "fchmod(terminal, 0620)")?;
        Ok(())
    }
}

/// Opens a new pair on the devpts at /dev/pts of a tree.
///
/// # Errors
/// If /dev/pts is a link or not a devpts, or has no free terminal.
pub fn open(root: &Root) -> Result<Pty> {
    let directory = call!(root.resolve_no_follow(Path::new("/dev/pts")), "open(/dev/pts)")
        .context("the container has no /dev/pts")?;
    let kind = call!(fstatfs(&directory), "fstatfs(/dev/pts)")?.filesystem_type();
    if kind != DEVPTS_SUPER_MAGIC {
        bail!("/dev/pts of the container is not a terminal file system (devpts)");
    }
    let device = call!(fstat(&directory), "fstat(/dev/pts)")?.st_dev;
    let master = open_device(&directory, "ptmx", device, MULTIPLEXER)?;
    // Some 4.9 kernels refuse this on a separate instance, where the peer is not locked anyway. If it is locked,
    // opening the peer fails below.
    let _ = unlock_peer(master.as_fd());
    let peer = match open_peer(master.as_fd()) {
        Err(errno) if unsupported(errno) || matches!(errno, Errno::ENOTTY | Errno::EINVAL) => {
            open_peer_by_number(&directory, master.as_fd(), device)?
        }
        other => call!(other, "ioctl(ptmx, TIOCGPTPEER)")?,
    };
    Ok(Pty { master, peer })
}

/// Reopens the peer after vhangup(2) has closed it for all processes, through the descriptor, which still refers to the
/// same file. Needs the host's /proc.
///
/// # Errors
/// If open(2) fails.
pub fn open_again(peer: &OwnedFd) -> Result<OwnedFd> {
    Ok(reopen(peer.as_fd(), OFlag::O_RDWR)?.into())
}

/// Opens the peer by its name, for kernels before 4.13.
fn open_peer_by_number(directory: &OwnedFd, master: BorrowedFd<'_>, device: libc::dev_t) -> Result<OwnedFd> {
    let number = call!(peer_number(master), "ioctl(ptmx, TIOCGPTN)")?;
    let name = number.to_string();
    open_device(directory, &name, device, (PEER_MAJOR, u64::from(number)))
}

/// Opens the expected device of that devpts, and nothing that was mounted over it. It is checked before it is opened,
/// because opening another device might have an effect or block.
fn open_device(
    directory: &OwnedFd,
    name: &str,
    device: libc::dev_t,
    expected: (u64, u64),
) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let found = call!(openat(directory, name, flags, Mode::empty()), "open(/dev/pts/{name})")?;
    let status = call!(fstat(&found), "fstat(/dev/pts/{name})")?;
    let number = (major(status.st_rdev), minor(status.st_rdev));
    if file_type(&status) != SFlag::S_IFCHR || status.st_dev != device || number != expected {
        bail!("/dev/pts/{name} of the container is not the expected terminal");
    }
    Ok(reopen(found.as_fd(), OFlag::O_RDWR)?.into())
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, remove_dir_all};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::symlink;

    use nix::unistd::{read, write};

    use super::*;
    use crate::sys::terminal::{WindowSize, set_window_size, window_size};

    #[test]
    fn both_sides_talk_and_share_a_size() {
        let pty = open(&Root::open(Path::new("/")).unwrap()).unwrap();
        write(&pty.peer, b"hello\n").unwrap();
        let mut buffer = [0_u8; 16];
        let count = read(&pty.master, &mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"hello\r\n");
        set_window_size(pty.master.as_fd(), WindowSize { rows: 7, columns: 9 }).unwrap();
        assert_eq!(window_size(pty.peer.as_fd()).unwrap(), WindowSize { rows: 7, columns: 9 });
    }

    #[test]
    fn the_peer_found_by_number_is_the_one_the_kernel_gives() {
        let pty = open(&Root::open(Path::new("/")).unwrap()).unwrap();
        let directory = Root::open(Path::new("/dev/pts")).unwrap();
        let directory = directory.directory().try_clone_to_owned().unwrap();
        let device = fstat(&directory).unwrap().st_dev;
        let by_number = open_peer_by_number(&directory, pty.master.as_fd(), device).unwrap();
        let identity = |peer: &OwnedFd| fstat(peer).map(|status| (status.st_dev, status.st_rdev)).unwrap();
        assert_eq!(identity(&by_number), identity(&pty.peer));
        let number = peer_number(pty.master.as_fd()).unwrap();
        let opens = |device, kind| open_device(&directory, &number.to_string(), device, kind).is_ok();
        assert!(!opens(device, MULTIPLEXER), "another device is refused");
        assert!(!opens(device + 1, (PEER_MAJOR, u64::from(number))), "another file system is refused");
        assert!(opens(device, (PEER_MAJOR, u64::from(number))));
    }

    #[test]
    fn the_peer_opened_again_is_the_same_terminal() {
        let pty = open(&Root::open(Path::new("/")).unwrap()).unwrap();
        let again = open_again(&pty.peer).unwrap();
        drop(pty.peer);
        write(&again, b"x").unwrap();
        let mut buffer = [0_u8; 16];
        assert_eq!(read(&pty.master, &mut buffer).unwrap(), 1);
    }

    #[test]
    fn every_descriptor_closes_on_exec() {
        use nix::fcntl::{FcntlArg, FdFlag, fcntl};
        let pty = open(&Root::open(Path::new("/")).unwrap()).unwrap();
        for descriptor in [&pty.master, &pty.peer] {
            let flags = FdFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFD).unwrap());
            assert!(flags.contains(FdFlag::FD_CLOEXEC), "{}", descriptor.as_raw_fd());
        }
    }

    #[test]
    fn a_link_or_a_plain_directory_is_no_devpts() {
        let tree = std::env::temp_dir().join(format!("ds-pty-{}", std::process::id()));
        let _ = remove_dir_all(&tree);
        create_dir_all(tree.join("dev")).unwrap();
        let root = Root::open(&tree).unwrap();
        assert!(format!("{:#}", open(&root).unwrap_err()).contains("no /dev/pts"));
        symlink("/dev/pts", tree.join("dev/pts")).unwrap();
        assert!(open(&root).unwrap_err().to_string().contains("not a terminal file system"));
        std::fs::remove_file(tree.join("dev/pts")).unwrap();
        create_dir_all(tree.join("dev/pts")).unwrap();
        assert!(open(&root).unwrap_err().to_string().contains("not a terminal file system"));
        remove_dir_all(&tree).unwrap();
    }
}
