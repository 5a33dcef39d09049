//! Creates a new root file system in a staging directory.
//!
//! Owns its completeness: before success is reported, the file system is written, unmounted, checked and flushed. The
//! caller provides the content. syncfs(2), fsync(2).

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::statvfs::fstatvfs;
use nix::unistd::syncfs;

use super::ext4;
use super::job::Reporter;
use super::mounted::{Mounting, mount};
use super::space;
use crate::call;
use crate::config::value::Name;
use crate::fault;
use crate::rootfs::image::{Access, Fsck};
use crate::rootfs::root::Root;
use crate::sys::errno_of;
use crate::units::size_rounded_up;

/// The form of a root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A directory.
    Directory,
    /// An image of this size, with inodes for this number of files if that exceeds the default.
    Image {
        /// Bytes.
        size: u64,
        /// Files.
        files: Option<u64>,
    },
}

impl Form {
    /// Its name in a container's directory.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Directory => "rootfs",
            Self::Image { .. } => "rootfs.img",
        }
    }

    /// Its path, as in a configuration.
    #[must_use]
    pub fn own_path(self) -> String {
        format!("./{}", self.file_name())
    }

    /// Its key in a configuration, and the other key, which must then be absent.
    #[must_use]
    pub fn keys(self) -> (&'static str, &'static str) {
        match self {
            Self::Directory => ("rootfs", "image"),
            Self::Image { .. } => ("image", "rootfs"),
        }
    }
}

/// The root file system to create.
#[derive(Debug, Clone, Copy)]
pub struct Vessel<'a> {
    /// Its form.
    pub form: Form,
    /// The staging directory of the job.
    pub staging: &'a Path,
    /// The container.
    pub name: &'a Name,
    /// The SELinux label for an image.
    pub label: Option<&'a str>,
}

impl Vessel<'_> {
    /// Its path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.staging.join(self.form.file_name())
    }

    /// Creates it, calls `fill`, and returns when it is complete on disk.
    ///
    /// # Errors
    /// If `fill` fails, the space is insufficient, or it cannot be created.
    pub fn fill(
        &self,
        reporter: &mut Reporter,
        fill: &mut dyn FnMut(&Root, &mut Reporter) -> Result<()>,
    ) -> Result<()> {
        let done = self.make_and_fill(reporter, fill);
        // Under a sparse image, a full disk causes an input/output error in it, or no error on old kernels.
        if matches!(self.form, Form::Image { .. }) && space::is_full(self.staging)? {
            bail!(
                "there is no space left in {}; free some space first",
                self.staging.parent().unwrap_or(self.staging).display()
            );
        }
        done
    }

    fn make_and_fill(
        &self,
        reporter: &mut Reporter,
        fill: &mut dyn FnMut(&Root, &mut Reporter) -> Result<()>,
    ) -> Result<()> {
        let path = self.path();
        match self.form {
            Form::Directory => {
                let made = DirBuilder::new().mode(0o755).create(&path);
                made.with_context(|| format!("create {}", path.display()))?;
                let root = Root::open(&path)?;
                fault::point("job-made")?;
                fill(&root, reporter)?;
                fault::point("job-filled")?;
                reporter.step("flush", None)?;
                flush(&path)
            }
            Form::Image { size, files } => {
                ext4::make(&path, size, self.name, files)?;
                fault::point("job-made")?;
                let mounting = Mounting {
                    image: &path,
                    partition: None,
                    staging: self.staging,
                    access: Access::ReadWrite,
                    fsck: Fsck::Never,
                    label: self.label,
                };
                let attached = mount(&mounting, reporter)?;
                fill(attached.root(), reporter)?;
                fault::point("job-filled")?;
                reporter.step("flush", None)?;
                flush(attached.mount_point())?;
                attached.detach()?;
                reporter.step("check", None)?;
                ext4::verify(&path)?;
                let image = File::open(&path).with_context(|| format!("open {}", path.display()))?;
                image.sync_all().context("write the image")
            }
        }
    }
}

fn flush(path: &Path) -> Result<()> {
    let directory = File::open(path).with_context(|| format!("open {}", path.display()))?;
    Ok(call!(syncfs(&directory), "syncfs({})", path.display())?)
}

/// Describes "no space left" with a remedy; `needed` is the size that the image should have.
///
/// # Errors
/// Always.
pub fn explain(
    error: anyhow::Error,
    form: Form,
    root: &Root,
    needed: &mut dyn FnMut() -> Option<String>,
) -> Result<()> {
    if errno_of(&error) != Some(Errno::ENOSPC) {
        return Err(error);
    }
    match form {
        Form::Directory => Err(error.context("there is no space left; free some space first")),
        Form::Image { size, .. } => {
            let given = size_rounded_up(size);
            let place = crate::rootfs::root::reopen(root.directory(), nix::fcntl::OFlag::O_RDONLY)?;
            if call!(fstatvfs(&place), "fstatvfs")?.files_free() == 0 {
                bail!("an image of {given} has no space for so many files; use a larger one");
            }
            match needed() {
                Some(needed) => bail!("an image of {given} is too small: it needs {needed}"),
                None => bail!("an image of {given} is too small; use a larger one"),
            }
        }
    }
}
