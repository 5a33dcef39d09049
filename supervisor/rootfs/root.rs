//! An untrusted directory tree, addressed only by descriptors.
//!
//! Owns the resolution of paths in it. Every path is resolved as if the tree were the root directory: absolute links
//! and `..` stay inside. openat2(2) does this in the kernel (5.6); on older kernels, a walk with O_PATH resolves
//! component by component. The result is used through its descriptor and never resolved again.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat};

use super::deadline::within;
use super::files::GuestFile;
use crate::call;
use crate::sys::descriptor;
use crate::sys::descriptor::{try_lock, try_lock_shared};
use crate::sys::unsupported;

/// Maximum number of links in one resolution, as in the kernel (path_resolution(7)).
const MAX_LINKS: u32 = 40;
/// The timeout for a file system that was mounted in the container.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The root of an untrusted tree.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    /// Use the walk even with openat2; tests compare the two.
    walk_only: bool,
}

impl Root {
    /// Opens a directory of the host as a root.
    ///
    /// # Errors
    /// If it does not exist or is not a directory.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = call!(nix::fcntl::open(path, flags, Mode::empty()), "open({})", path.display())?;
        Ok(Self::new(directory))
    }

    /// Takes a directory descriptor as a root.
    #[must_use]
    pub fn new(directory: OwnedFd) -> Self {
        Self { directory, walk_only: false }
    }

    /// The root directory itself.
    #[must_use]
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Claims the tree for one container with flock(2) on its top directory, or together with other readers; `None` if
    /// it is in use. The kernel releases it when the last process that holds it ends.
    ///
    /// # Errors
    /// If the directory cannot be opened.
    pub fn claim(&self, shared: bool) -> Result<Option<OwnedFd>> {
        let directory: OwnedFd = reopen(self.directory(), OFlag::O_RDONLY | OFlag::O_DIRECTORY)?.into();
        let locked = if shared { try_lock_shared(directory.as_fd()) } else { try_lock(directory.as_fd()) };
        match locked {
            Ok(()) => Ok(Some(directory)),
            Err(Errno::EWOULDBLOCK) => Ok(None),
            Err(errno) => Ok(call!(Err(errno), "flock(the root file system)")?),
        }
    }

    /// An unnamed file that is open for writing: while it is, the file system cannot be remounted read-only.
    ///
    /// A container in a directory shares the super block with the host, and an old shutdown script (`umount -a -r`,
    /// `mount -o remount,ro /`) would make it read-only: mount(2), MS_REMOUNT; umount2(2) of the root. `None` if the
    /// file system does not support such files, or is already read-only.
    #[must_use]
    pub fn keep_writable(&self) -> Option<OwnedFd> {
        let flags = OFlag::O_TMPFILE | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        openat(&self.directory, ".", flags, Mode::empty()).ok()
    }

    /// Resolves a path, links included, to an O_PATH descriptor inside the tree.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, ELOOP as path_resolution(7) has them.
    pub fn resolve(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.look_up(path, true)
    }

    /// Like [`Root::resolve`], but does not follow a link in the last component.
    ///
    /// # Errors
    /// As for [`Root::resolve`].
    pub fn resolve_no_follow(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.look_up(path, false)
    }

    fn look_up(&self, path: &Path, follow: bool) -> Result<OwnedFd, Errno> {
        let mut flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        if !follow {
            flags |= OFlag::O_NOFOLLOW;
        }
        if !self.walk_only {
            let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
            let how = OpenHow::new().flags(flags).resolve(resolve);
            match openat2(&self.directory, path, how) {
                // EPERM: a filter denies the call; the walk returns the correct result.
                Err(errno) if unsupported(errno) || errno == Errno::EPERM => {}
                // EAGAIN: a concurrent rename prevented the kernel from verifying the result.
                Err(Errno::EAGAIN) => {}
                other => return other,
            }
        }
        self.walk(path, follow)
    }

    fn walk(&self, path: &Path, follow: bool) -> Result<OwnedFd, Errno> {
        let mut above: Vec<OwnedFd> = Vec::new();
        let mut pending = components(path);
        let mut links = 0;
        let mut must_be_directory = ends_as_directory(path.as_os_str());
        let clone = |descriptor: BorrowedFd<'_>| descriptor.try_clone_to_owned().map_err(|_| Errno::EMFILE);
        while let Some(name) = pending.pop_front() {
            if name == ".." {
                above.pop();
                continue;
            }
            let parent = above.last().map_or(self.directory.as_fd(), AsFd::as_fd);
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let entry = openat(parent, name.as_os_str(), flags, Mode::empty())?;
            let kind = file_type(&fstat(&entry)?);
            let last = pending.is_empty();
            if kind == SFlag::S_IFLNK && (follow || !last) {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::ELOOP);
                }
                let target = readlinkat(&entry, "")?;
                if target.as_bytes().starts_with(b"/") {
                    above.clear();
                }
                must_be_directory |= last && ends_as_directory(&target);
                for part in components(Path::new(&target)).into_iter().rev() {
                    pending.push_front(part);
                }
                continue;
            }
            if !last && kind != SFlag::S_IFDIR {
                return Err(Errno::ENOTDIR);
            }
            above.push(entry);
        }
        let found = match above.pop() {
            Some(found) => found,
            None => clone(self.directory.as_fd())?,
        };
        if must_be_directory && file_type(&fstat(&found)?) != SFlag::S_IFDIR {
            return Err(Errno::ENOTDIR);
        }
        Ok(found)
    }

    /// The target of the symbolic link at `path`; `None` if it is not a link.
    #[must_use]
    pub fn read_link(&self, path: &Path) -> Option<PathBuf> {
        let link = self.resolve_no_follow(path).ok()?;
        // An empty name refers to the link itself: readlinkat(2).
        readlinkat(&link, "").ok().map(PathBuf::from)
    }

    /// Content of a regular file, at most `limit` bytes.
    ///
    /// # Errors
    /// If it does not exist, is not a regular file, or is on a file system that does not answer.
    pub fn read(&self, file: GuestFile, limit: u64) -> Result<Vec<u8>> {
        let path = file.path();
        let read = |found: Result<OwnedFd, Errno>| {
            let found = call!(found, "open({})", path.display())?;
            read_regular(found.as_fd(), limit).with_context(|| format!("read {}", path.display()))
        };
        match self.resolve_on_this_mount(path) {
            // A file system is mounted there, perhaps by the guest.
            Err(Errno::EXDEV) => within(TIMEOUT, || read(self.resolve(path))),
            Err(errno) if unsupported(errno) || [Errno::EPERM, Errno::EAGAIN].contains(&errno) => {
                read(self.resolve(path))
            }
            found => read(found),
        }
    }

    /// Like [`Root::resolve`] with openat2(2); EXDEV if the path leads to another mount.
    fn resolve_on_this_mount(&self, path: &Path) -> Result<OwnedFd, Errno> {
        if self.walk_only {
            return Err(Errno::ENOSYS);
        }
        let resolve =
            ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_XDEV;
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(resolve);
        openat2(&self.directory, path, how)
    }

    /// Replaces the content of an existing regular file; mode, owner and label are kept.
    ///
    /// # Errors
    /// If it does not exist, is not a regular file, or cannot be written.
    pub fn overwrite(&self, file: GuestFile, content: &[u8]) -> Result<()> {
        let path = file.path();
        let found = call!(self.resolve(path), "open({})", path.display())?;
        require_regular(found.as_fd()).with_context(|| path.display().to_string())?;
        let flags = OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_NONBLOCK;
        reopen(found.as_fd(), flags)?.write_all(content).with_context(|| format!("write {}", path.display()))
    }

    /// Appends to an existing regular file in one step, without a wait for the disk: a power cut loses nothing that was
    /// there before, and may leave zeroes instead of the addition.
    ///
    /// # Errors
    /// If it is a link, is not a regular file, has another name, or cannot be written. It is then unchanged.
    pub fn append(&self, file: GuestFile, content: &[u8]) -> Result<()> {
        let path = file.path();
        let found = call!(self.resolve_no_follow(path), "open({})", path.display())?;
        let status = require_regular(found.as_fd()).with_context(|| path.display().to_string())?;
        ensure!(status.st_nlink == 1, "{} has another name", path.display());
        let mut file = reopen(found.as_fd(), OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NONBLOCK)?;
        let written = file.write(content);
        if written.as_ref().is_ok_and(|length| *length == content.len()) {
            return Ok(());
        }
        file.set_len(u64::try_from(status.st_size)?)?;
        bail!("{}: {written:?} of {} bytes written", path.display(), content.len())
    }

    /// Sets the mode of a regular file, which is created if it does not exist. Opens nothing.
    ///
    /// # Errors
    /// If it is not a regular file, or cannot be created or changed.
    pub fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        let found = self.make_file(path)?;
        require_regular(found.as_fd()).with_context(|| path.display().to_string())?;
        let name = descriptor::path(found.as_fd());
        let mode = Mode::from_bits_truncate(mode);
        let changed = fchmodat(AT_FDCWD, name.as_str(), mode, FchmodatFlags::FollowSymlink);
        Ok(call!(changed, "chmod({})", path.display())?)
    }

    /// Writes to the FIFO at `path` without blocking, if a process reads it.
    ///
    /// # Errors
    /// ENXIO if no process reads it, EAGAIN if it is full; an error if it is not a FIFO.
    pub fn write_to_fifo(&self, file: GuestFile, message: &[u8]) -> Result<()> {
        let path = file.path();
        let found = call!(self.resolve_no_follow(path), "open({})", path.display())?;
        if file_type(&call!(fstat(&found), "fstat")?) != SFlag::S_IFIFO {
            bail!("{} is not a FIFO", path.display());
        }
        let mut fifo = reopen(found.as_fd(), OFlag::O_WRONLY | OFlag::O_NONBLOCK)?;
        fifo.write_all(message).with_context(|| format!("write to {}", path.display()))
    }
}

/// Content of the regular file behind an O_PATH descriptor.
///
/// # Errors
/// If it is not a regular file: a FIFO or a device is never opened.
fn read_regular(found: BorrowedFd<'_>, limit: u64) -> Result<Vec<u8>> {
    let status = require_regular(found)?;
    // One byte more, to detect the end.
    let expected = u64::try_from(status.st_size).unwrap_or(0).min(limit) + 1;
    let mut content = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
    open_regular(found)?.take(limit).read_to_end(&mut content)?;
    Ok(content)
}

/// Opens the regular file behind an O_PATH descriptor for reading. Anything else is refused without opening it: opening
/// a device may have side effects, and opening a FIFO may block.
///
/// # Errors
/// Its kind, or if open(2) fails; EWOULDBLOCK if a process in the container has a lease on it (fcntl(2)).
pub fn open_regular(found: BorrowedFd<'_>) -> Result<File> {
    require_regular(found)?;
    reopen(found, OFlag::O_RDONLY | OFlag::O_NONBLOCK)
}

fn require_regular(found: BorrowedFd<'_>) -> Result<FileStat> {
    let status = call!(fstat(found), "fstat")?;
    let kind = match file_type(&status) {
        SFlag::S_IFREG => return Ok(status),
        SFlag::S_IFDIR => "a directory",
        SFlag::S_IFIFO => "a FIFO",
        SFlag::S_IFSOCK => "a socket",
        SFlag::S_IFLNK => "a link",
        _ => "a device",
    };
    bail!("it is {kind}, not a regular file")
}

/// Reopens the file behind an O_PATH descriptor through /proc/self/fd (proc_pid_fd(5)).
///
/// # Errors
/// If open(2) fails.
pub fn reopen(found: BorrowedFd<'_>, flags: OFlag) -> Result<File> {
    let path = descriptor::path(found.as_fd());
    let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    Ok(File::from(call!(nix::fcntl::open(path.as_str(), flags, Mode::empty()), "open({path})")?))
}

/// The file type bits of a status.
#[must_use]
pub fn file_type(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode & libc::S_IFMT)
}

/// Whether a path exists below a directory, without following links.
#[must_use]
pub fn exists_at(directory: BorrowedFd<'_>, name: &OsStr) -> bool {
    nix::sys::stat::fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
}

/// `dir/` and `dir/.` must be a directory.
fn ends_as_directory(path: &OsStr) -> bool {
    path.as_bytes().ends_with(b"/") || path.as_bytes().ends_with(b"/.")
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
#[path = "root_race_tests.rs"]
mod race_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ds-root-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(path.join("a/b")).unwrap();
            std::fs::write(path.join("a/file"), "inside").unwrap();
            Self(path)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn both(tree: &Tree) -> [Root; 2] {
        let walk = Root { walk_only: true, ..Root::open(&tree.0).unwrap() };
        [Root::open(&tree.0).unwrap(), walk]
    }

    fn location(tree: &Tree, found: Result<OwnedFd, Errno>) -> Result<PathBuf, Errno> {
        let found = found?;
        let link = std::fs::read_link(descriptor::path(found.as_fd())).unwrap();
        Ok(Path::new("/").join(link.strip_prefix(&tree.0).expect("inside the tree")))
    }

    #[test]
    fn links_and_parents_stay_inside() {
        let tree = Tree::new("links");
        symlink("/etc", tree.0.join("absolute")).unwrap();
        symlink("../../../../../../a/file", tree.0.join("a/b/up")).unwrap();
        symlink("loop", tree.0.join("loop")).unwrap();
        for root in both(&tree) {
            assert_eq!(location(&tree, root.resolve(Path::new("/absolute/passwd"))), Err(Errno::ENOENT));
            assert_eq!(location(&tree, root.resolve(Path::new("/a/b/up"))), Ok("/a/file".into()));
            assert_eq!(location(&tree, root.resolve(Path::new("../../a/./file"))), Ok("/a/file".into()));
            assert_eq!(location(&tree, root.resolve(Path::new("/loop"))), Err(Errno::ELOOP));
            assert_eq!(location(&tree, root.resolve(Path::new("/a/file/x"))), Err(Errno::ENOTDIR));
            assert_eq!(location(&tree, root.resolve(Path::new("/"))), Ok("/".into()));
            let read = |path| read_regular(root.resolve(Path::new(path)).unwrap().as_fd(), 3);
            assert_eq!(read("/a/b/up").unwrap(), b"ins");
            assert_eq!(read("/a").unwrap_err().to_string(), "it is a directory, not a regular file");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_walk_agrees_with_the_kernel(
            links in proptest::collection::vec(("[abc]", "(/|\\.\\./|\\./)?[abc](/[abc]|/\\.\\.){0,2}"), 0..5),
            path in "/?([abc]|\\.\\.|\\.)(/([abc]|\\.\\.|\\.|file)){0,4}/?",
        ) {
            let tree = Tree::new("agree");
            for (name, target) in links {
                let _ = symlink(target, tree.0.join("a/b").join(&name));
                let _ = symlink(format!("a/b/{name}"), tree.0.join(&name));
            }
            let [kernel, walk] = both(&tree);
            let path = Path::new(&path);
            proptest::prop_assert_eq!(location(&tree, kernel.resolve(path)), location(&tree, walk.resolve(path)));
        }
    }
}
