//! One step in building a container's file tree, as data.
//!
//! Owns the kinds of steps. A plan is a list of them; [`super::perform`] performs them in order. `Display` is a line in
//! the style of fstab(5), for `--dry-run`, the debug log and errors.

use std::fmt;

use nix::mount::MsFlags;

/// Kind of a device file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceKind {
    /// A character device.
    Character,
    /// A block device.
    Block,
}

impl DeviceKind {
    /// The letter of ls(1) and mknod(1).
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Character => 'c',
            Self::Block => 'b',
        }
    }
}

/// A step. Targets are absolute paths in the container and are resolved there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Mounts a new file system on a directory, which is created if it does not exist and must not be a link.
    Mount {
        /// Type, such as `tmpfs`.
        kind: &'static str,
        /// The mount point.
        target: String,
        /// Flags of mount(2).
        flags: MsFlags,
        /// Options of the file system.
        data: String,
        /// If the kernel lacks this type, fail instead of warn.
        required: bool,
    },
    /// Creates a directory on a new file system of the container.
    Directory {
        /// Its path.
        target: String,
        /// Permission bits.
        mode: u32,
    },
    /// Creates a device on the container's new /dev; if mknod(2) is denied, binds that of the host.
    Device {
        /// Its path below /dev.
        target: String,
        /// Character or block.
        kind: DeviceKind,
        /// Major number (Documentation/admin-guide/devices.txt).
        major: u32,
        /// Minor number.
        minor: u32,
        /// Permission bits.
        mode: u32,
        /// Number of the group in the container that it belongs to.
        group: u32,
    },
    /// Creates a symbolic link on a new file system of the container.
    Symlink {
        /// Its path.
        target: String,
        /// Its target.
        to: String,
    },
    /// Writes a file on a new file system of the container, and creates its parent directories.
    File {
        /// Its path.
        target: String,
        /// Its content.
        content: String,
    },
    /// Binds a directory or file of the host.
    Bind {
        /// The path on the host.
        source: String,
        /// The path in the container; created if it does not exist.
        target: String,
        /// Of `MS_RDONLY`, `MS_NOSUID`, `MS_NODEV` and `MS_NOEXEC`; also for everything below it.
        flags: MsFlags,
        /// If the source does not exist, fail instead of warn.
        required: bool,
    },
    /// Mounts a new memory file system on a directory of the tree, which is created if it does not exist.
    Memory {
        /// The mount point; links are followed within the tree.
        target: String,
        /// Flags of mount(2).
        flags: MsFlags,
        /// Options of tmpfs(5).
        data: String,
    },
    /// Binds the first existing Unix socket of a list.
    Socket {
        /// Its possible locations on the host: a directory that links must not lead out of, and a path in it.
        sources: &'static [(&'static str, &'static str)],
        /// The path in the container.
        target: String,
        /// Another path in the container for the same socket.
        also: Option<String>,
        /// The warning if there is none.
        remedy: String,
    },
    /// Binds each directory in a directory over itself, so that it stays writable when that is made read-only.
    Punch {
        /// The directory, on a new file system of the container.
        target: String,
    },
    /// Binds a directory of the host with propagation of the host's later mounts and unmounts.
    Follow {
        /// The path on the host.
        source: String,
        /// The path in the container; created if it does not exist.
        target: String,
    },
    /// Binds a file from an earlier step over another one of the container.
    Cover {
        /// The path of the source in the container.
        source: String,
        /// The path of the target; created if it does not exist.
        target: String,
    },
    /// Makes an existing file or directory read-only.
    ReadOnly {
        /// Its path.
        target: String,
    },
    /// Makes an existing part of a read-only tree writable again.
    Writable {
        /// Its path.
        target: String,
    },
    /// Masks an existing file with the null device, or an existing directory with an empty file system.
    Mask {
        /// Its path.
        target: String,
    },
    /// Masks an existing file with one on which readers block.
    Silence {
        /// Its path.
        target: String,
    },
    /// Makes a mount from an earlier step read-only.
    Seal {
        /// Its mount point.
        target: String,
    },
}

impl Operation {
    /// Whether it only creates a directory entry and mounts nothing.
    #[must_use]
    pub fn makes_an_entry(&self) -> bool {
        matches!(
            self,
            Self::Directory { .. } | Self::Device { .. } | Self::Symlink { .. } | Self::File { .. }
        )
    }

    /// A required mount of a kernel file system.
    #[must_use]
    pub fn mount(kind: &'static str, target: &str, flags: MsFlags, data: &str) -> Self {
        Self::Mount { kind, target: target.into(), flags, data: data.into(), required: true }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount { kind, target, flags, data, required } => {
                let mut options = flag_names(*flags);
                options.extend((!data.is_empty()).then(|| data.clone()));
                options.extend((!required).then(|| "nofail".to_owned()));
                let options = if options.is_empty() { "defaults".to_owned() } else { options.join(",") };
                write!(f, "{kind} {target} {kind} {options}")
            }
            Self::Directory { target, mode } => write!(f, "none {target} directory mode={mode:04o}"),
            Self::Device { target, kind, major, minor, mode, group } => {
                let group = if *group == 0 { String::new() } else { format!(",gid={group}") };
                write!(f, "none {target} device {}={major}:{minor},mode={mode:04o}{group}", kind.letter())
            }
            Self::Symlink { target, to } => write!(f, "{to} {target} symlink defaults"),
            Self::File { target, content } => write!(f, "none {target} file size={}", content.len()),
            Self::Bind { source, target, flags, required } => {
                let access: String = flag_names(*flags).iter().map(|flag| format!(",{flag}")).collect();
                let optional = if *required { "" } else { ",nofail" };
                write!(f, "{source} {target} none rbind{access}{optional}")
            }
            Self::Memory { target, flags, data } => {
                write!(f, "tmpfs {target} tmpfs {},{data}", flag_names(*flags).join(","))
            }
            Self::Socket { sources, target, also, .. } => {
                let first = sources.first().map_or_else(String::new, |(top, path)| format!("{top}/{path}"));
                let also = also.iter().map(|also| format!(",also={also}")).collect::<String>();
                write!(f, "{first} {target} none bind,nofail{also}")
            }
            Self::Punch { target } => write!(f, "{target}/* {target}/* none bind"),
            Self::Follow { source, target } => write!(f, "{source} {target} none rbind,rslave"),
            Self::Cover { source, target } => write!(f, "{source} {target} none bind"),
            Self::ReadOnly { target } => write!(f, "{target} {target} none bind,ro,nofail"),
            Self::Writable { target } => write!(f, "{target} {target} none bind,rw,nofail"),
            Self::Mask { target } => write!(f, "none {target} mask nofail"),
            Self::Silence { target } => write!(f, "none {target} fifo nofail"),
            Self::Seal { target } => write!(f, "none {target} none remount,bind,ro"),
        }
    }
}

fn flag_names(flags: MsFlags) -> Vec<String> {
    [
        (MsFlags::MS_RDONLY, "ro"),
        (MsFlags::MS_NOSUID, "nosuid"),
        (MsFlags::MS_NODEV, "nodev"),
        (MsFlags::MS_NOEXEC, "noexec"),
        (MsFlags::MS_STRICTATIME, "strictatime"),
    ]
    .into_iter()
    .filter(|(flag, _)| flags.contains(*flag))
    .map(|(_, name)| name.to_owned())
    .collect()
}
