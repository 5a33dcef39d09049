//! The root file system of one container while its monitor lives: a directory, or a mounted image.
//!
//! Owns the monitor's mount namespace, which only an image needs. A reboot inside and `ds restart` reuse the mount. The
//! monitor unmounts it before it ends; if it is killed, the mount ends with the namespace. mount_namespaces(7).

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::config::value::Fsck;
use crate::config::{Config, RootSource};
use crate::host::security::Selinux;
use crate::monitor::protocol::Report;
use crate::mount::namespace::enter_private_namespace;
use crate::rootfs::image::{self, Access, Attachment, ImageEvent, ImageRequest};
use crate::rootfs::root::Root;

/// The directory with the mount points of images, one for each container.
const PLACE: &str = "/mnt/Droidspaces";

/// The kind of the container's tree.
#[derive(Debug)]
pub(super) enum Tree {
    Directory {
        root: Root,
        path: PathBuf,
        /// Held while the tree is in use; `None` if another container has it.
        _in_use: Option<OwnedFd>,
    },
    Image(Box<Attachment>),
}

impl Tree {
    /// Opens a directory, or mounts an image and reports the progress.
    pub(super) fn open(
        config: &Config,
        fallback: &Path,
        report: BorrowedFd<'_>,
        tell: &mut dyn FnMut(Report),
    ) -> Result<Self> {
        match &config.container.root {
            RootSource::Directory(path) => {
                let root = open_directory(config)?;
                let in_use = root.claim(config.container.volatile)?;
                if in_use.is_none() {
                    tell(Report::Warning("another container uses the same root file system".into()));
                }
                Ok(Self::Directory { root, path: path.as_path().to_owned(), _in_use: in_use })
            }
            RootSource::Image(path) => attach(config, path.as_path(), fallback, report, tell)
                .map(|attachment| Self::Image(Box::new(attachment))),
        }
    }

    /// Prepares the next boot: reopens a directory, and reuses the mount of an image.
    pub(super) fn renew(&mut self, config: &Config) -> Result<()> {
        if let (Self::Directory { root, path, .. }, RootSource::Directory(configured)) =
            (self, &config.container.root)
        {
            *root = open_directory(config)?;
            configured.as_path().clone_into(path);
        }
        Ok(())
    }

    pub(super) fn root(&self) -> &Root {
        match self {
            Self::Directory { root, .. } => root,
            Self::Image(attachment) => attachment.root(),
        }
    }

    /// The path of the tree in the monitor's mount namespace.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Directory { path, .. } => path,
            Self::Image(attachment) => attachment.mount_point(),
        }
    }

    /// PID 1 runs: from now on, less memory is more important than a fast start.
    pub(super) fn booted(&self) {
        if let Self::Image(attachment) = self {
            attachment.go_direct();
        }
    }

    /// Releases the tree: returns after the loop device of an image is released.
    pub(super) fn release(self) -> Result<()> {
        match self {
            Self::Directory { .. } => Ok(()),
            Self::Image(attachment) => attachment.detach(),
        }
    }
}

fn open_directory(config: &Config) -> Result<Root> {
    match &config.container.root {
        RootSource::Directory(path) if path.is_root() => {
            bail!("the host's own root directory cannot be a container; set 'rootfs' to another one")
        }
        RootSource::Directory(path) | RootSource::Image(path) => Root::open(path.as_path())
            .with_context(|| format!("the root file system {path}; set 'rootfs' to a directory")),
    }
}

fn attach(
    config: &Config,
    image: &Path,
    fallback: &Path,
    report: BorrowedFd<'_>,
    tell: &mut dyn FnMut(Report),
) -> Result<Attachment> {
    enter_private_namespace()?;
    // The root of a phone is read-only, and /mnt may be missing.
    let place = match std::fs::create_dir_all(PLACE) {
        Ok(()) => Path::new(PLACE),
        Err(_) => fallback,
    };
    let label = config.container.image_label.as_deref().filter(|_| Selinux::probe() != Selinux::Off);
    let request = ImageRequest {
        image,
        partition: config.container.image_partition,
        mount_point: &place.join(config.name.as_str()),
        access: if config.container.volatile { Access::ReadOnly } else { Access::ReadWrite },
        fsck: match config.container.fsck {
            Fsck::Always => image::Fsck::Always,
            Fsck::Auto => image::Fsck::Auto,
            Fsck::Never => image::Fsck::Never,
        },
        label,
        interrupt: Some(report),
    };
    image::attach(&request, &mut |event| {
        tell(match event {
            ImageEvent::Checking { percent } => Report::Checking { percent },
            ImageEvent::Warning(text) => Report::Warning(text),
        });
    })
}
