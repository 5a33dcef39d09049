//! One step of building a container's file tree, as data.
//!
//! A plan is a list of these; [`super::perform`] carries them out in order. `Display` is a line in the manner of
//! fstab(5), used by `--dry-run`, by the debug log and in errors.

use std::fmt;

use nix::mount::MsFlags;

/// A step. Targets are paths inside the container, absolute and resolved there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Mounts a fresh file system on a directory, which is made when missing and must not be a link.
    Mount {
        /// Type, such as `tmpfs`.
        kind: &'static str,
        /// Where.
        target: String,
        /// Flags of mount(2).
        flags: MsFlags,
        /// Options of the file system.
        data: String,
        /// A kernel without this type is an error and not only a warning.
        required: bool,
    },
    /// Makes a directory on one of our own fresh file systems.
    Directory {
        /// Where.
        target: String,
        /// Permission bits.
        mode: u32,
    },
    /// Makes a character device on our own /dev; where mknod(2) is refused, binds the host's.
    Device {
        /// Where, below /dev.
        target: String,
        /// Major number (Documentation/admin-guide/devices.txt).
        major: u32,
        /// Minor number.
        minor: u32,
        /// Permission bits.
        mode: u32,
    },
    /// Makes a symbolic link on one of our own fresh file systems.
    Symlink {
        /// Where.
        target: String,
        /// What it says.
        to: String,
    },
    /// Writes a file on one of our own fresh file systems, with its directories.
    File {
        /// Where.
        target: String,
        /// What it says.
        content: String,
    },
    /// Binds a directory or file of the host.
    Bind {
        /// On the host.
        source: String,
        /// In the container; made when missing.
        target: String,
        /// Of `MS_RDONLY`, `MS_NOSUID`, `MS_NODEV` and `MS_NOEXEC`; also for everything below it.
        flags: MsFlags,
        /// A missing source is an error and not only a warning.
        required: bool,
    },
    /// Mounts a fresh memory file system on a directory of the tree, which is made when missing.
    Memory {
        /// Where; links in the tree are followed inside it.
        target: String,
        /// Flags of mount(2).
        flags: MsFlags,
        /// Options of tmpfs(5).
        data: String,
    },
    /// Binds a directory of the host, and goes on to show what the host mounts there and takes away again.
    Follow {
        /// On the host.
        source: String,
        /// In the container; made when missing.
        target: String,
    },
    /// Binds a file that an earlier step made over another one of the container.
    Cover {
        /// The file that shows, a path in the container.
        source: String,
        /// The file that is covered; made when missing.
        target: String,
    },
    /// Makes what is there read-only, if it is there.
    ReadOnly {
        /// What.
        target: String,
    },
    /// Makes a part of something read-only writable again, if it is there.
    Writable {
        /// What.
        target: String,
    },
    /// Hides a file behind an empty device, or a directory behind an empty file system, if it is there.
    Mask {
        /// What.
        target: String,
    },
    /// Hides a file that programs wait on behind one whose readers go on waiting, if it is there.
    Silence {
        /// What.
        target: String,
    },
    /// Turns a mount made by an earlier step read-only.
    Seal {
        /// Its mount point.
        target: String,
    },
}

impl Operation {
    /// Makes an entry of a directory, and mounts nothing.
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
            Self::Device { target, major, minor, mode } => {
                write!(f, "none {target} device c={major}:{minor},mode={mode:04o}")
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
