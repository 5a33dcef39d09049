//! An image that is mounted for one job.
//!
//! The mount is in the job's own mount namespace, below the job's own directory. The messages of the check are sent to
//! the worker.

use std::path::Path;

use anyhow::Result;

use super::job::Reporter;
use crate::config::Config;
use crate::host::security::Selinux;
use crate::rootfs::image::{self, Access, Attachment, Fsck, ImageEvent, ImageRequest};

/// The directory with the mount point.
pub const PLACE: &str = "mount";

/// How to mount an image.
#[derive(Debug, Clone, Copy)]
pub struct Mounting<'a> {
    /// The image or block device.
    pub image: &'a Path,
    /// The partition, for an image of a disk.
    pub partition: Option<u32>,
    /// The job's directory.
    pub staging: &'a Path,
    /// Read-only or writable.
    pub access: Access,
    /// Whether to check it first.
    pub fsck: Fsck,
    /// The SELinux label to set first.
    pub label: Option<&'a str>,
}

/// Mounts an image.
///
/// # Errors
/// If it is not usable.
pub fn mount(mounting: &Mounting<'_>, reporter: &mut Reporter) -> Result<Attachment> {
    // A mount covers the parent directory, so that it contains nothing else.
    let mount_point = mounting.staging.join(PLACE).join("tree");
    let request = ImageRequest {
        image: mounting.image,
        partition: mounting.partition,
        mount_point: &mount_point,
        access: mounting.access,
        fsck: mounting.fsck,
        label: mounting.label,
        interrupt: None,
    };
    let mut told = Ok(());
    let attached = image::attach(&request, &mut |event| match event {
        ImageEvent::Checking { percent: None } => told = reporter.step_in_percent("check"),
        ImageEvent::Checking { percent: Some(percent) } => reporter.progress(percent.into()),
        ImageEvent::Warning(text) => told = reporter.warn(text),
    })?;
    told?;
    Ok(attached)
}

/// The SELinux label for images of a container; `None` without SELinux.
#[must_use]
pub fn label(config: &Config) -> Option<&str> {
    config.container.image_label.as_deref().filter(|_| Selinux::probe() != Selinux::Off)
}
