//! An image, mounted for one job.
//!
//! In the job's own mount namespace, below the job's own directory; what the check before it says goes to the worker.

use std::path::Path;

use anyhow::Result;

use super::job::Reporter;
use crate::config::Config;
use crate::host::security::Selinux;
use crate::rootfs::image::{self, Access, Attachment, Fsck, ImageEvent, ImageRequest};

/// The directory below which an image is mounted.
pub const PLACE: &str = "mount";

/// How an image is mounted.
#[derive(Debug, Clone, Copy)]
pub struct Mounting<'a> {
    /// The image or block device.
    pub image: &'a Path,
    /// The partition that is meant, where the image is that of a disk.
    pub partition: Option<u32>,
    /// The job's directory.
    pub staging: &'a Path,
    /// What is done with it.
    pub access: Access,
    /// Whether it is checked first.
    pub fsck: Fsck,
    /// The SELinux label that it gets first.
    pub label: Option<&'a str>,
}

/// Mounts an image.
///
/// # Errors
/// Why it cannot be used.
pub fn mount(mounting: &Mounting<'_>, reporter: &mut Reporter) -> Result<Attachment> {
    // The parent is covered, so it is a directory that has nothing else in it.
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

/// The SELinux label for images of a container; none where there is no SELinux.
#[must_use]
pub fn label(config: &Config) -> Option<&str> {
    config.container.image_label.as_deref().filter(|_| Selinux::probe() != Selinux::Off)
}
