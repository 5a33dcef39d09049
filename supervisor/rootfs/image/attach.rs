//! Mounts and unmounts an image. Owns the mount and the loop device; never changes the host's mount namespace.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::stat;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::sync;

use super::check;
use super::claim::{Claim, claim};
use super::content::{detect, suits};
use super::place::find;
use super::request::{Access, ImageEvent, ImageRequest, Place};
use crate::call;
use crate::fault;
use crate::rootfs::label;
use crate::rootfs::loop_device::{self, Nodes, wait_until};
use crate::rootfs::root::Root;
use crate::rootfs::superblock::FileSystem;
use crate::sys::errno_of;

/// The number of attempts to attach and mount: some kernels, such as 4.14, free loop devices late.
const ATTEMPTS: u32 = 3;
/// The timeout for a device to be released and a mount to become idle.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A mounted image. Dropping it also unmounts, but ignores errors.
#[derive(Debug)]
pub struct Attachment {
    /// Declared first: the mount counts every descriptor.
    root: Root,
    mounted: Mounted,
}

/// What must be undone.
#[derive(Debug)]
struct Mounted {
    place: PathBuf,
    part: Place,
    number: Option<u32>,
    kind: &'static str,
    nodes: Nodes,
    released: bool,
    /// The claim of the image, until it is unmounted.
    claim: Claim,
}

/// Claims an image, checks it and mounts it. The caller must have its own mount namespace.
///
/// # Errors
/// Why it cannot be used, in one line; nothing is then left mounted, attached or locked.
pub fn attach(request: &ImageRequest<'_>, events: &mut dyn FnMut(ImageEvent)) -> Result<Attachment> {
    attach_it(request, events).with_context(|| format!("the image {}", request.image.display()))
}

fn attach_it(request: &ImageRequest<'_>, events: &mut dyn FnMut(ImageEvent)) -> Result<Attachment> {
    let scratch = make_place(request.mount_point)?;
    let nodes = Nodes::system(Some(scratch));
    let mut claim = claim(request.image, request.access, &nodes, request.interrupt)?;
    let (part, mut system) = find(claim.file(), claim.size(), request.partition, claim.is_device())?;
    suits(&system, part.length, request.access)?;
    if let FileSystem::Ext(ext) = &system {
        check::check(request, &claim, part, ext, events)?;
        system = detect(claim.file(), part)?;
    }
    claim.share();
    if let Some(wanted) = request.label.filter(|_| !claim.is_device()) {
        label::ensure(claim.file(), wanted)?;
    }
    fault::point("checked")?;
    let number = persist(&mut let_devices_be_freed, &mut || {
        mount_once(request, &claim, part, &system, &nodes, events)
    })?;
    let (place, kind) = (request.mount_point.to_owned(), system.name());
    let mounted = Mounted { place, part, number, kind, nodes, released: false, claim };
    fault::point("attached")?;
    Ok(Attachment { root: Root::open(&mounted.place)?, mounted })
}

/// Creates the mount point on a tmpfs that only this namespace sees; returns the tmpfs.
fn make_place(mount_point: &Path) -> Result<&Path> {
    let Some((parent, above)) = mount_point.parent().and_then(|parent| Some((parent, parent.parent()?)))
    else {
        bail!("{} cannot be a mount point", mount_point.display());
    };
    std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    let device = |path: &Path| call!(stat(path), "stat({})", path.display()).map(|status| status.st_dev);
    let kind = call!(statfs(parent), "statfs({})", parent.display())?.filesystem_type();
    if kind != TMPFS_MAGIC || device(parent)? == device(above)? {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        let data = Some("mode=755,size=64k");
        call!(
            mount(Some("tmpfs"), parent, Some("tmpfs"), flags, data),
            "mount(tmpfs, {})",
            parent.display()
        )?;
    }
    std::fs::create_dir_all(mount_point).with_context(|| format!("create {}", mount_point.display()))?;
    Ok(parent)
}

/// Repeats an operation that fails because the kernel has not completed an earlier one.
fn persist<T>(before_retry: &mut dyn FnMut(u32), attempt: &mut dyn FnMut() -> Result<T>) -> Result<T> {
    let mut tried = 0;
    loop {
        tried += 1;
        match attempt() {
            Err(error) if tried < ATTEMPTS && is_passing(&error) => before_retry(tried),
            other => return other,
        }
    }
}

fn is_passing(error: &anyhow::Error) -> bool {
    let passing = [Errno::EBUSY, Errno::EIO, Errno::ENXIO, Errno::EAGAIN, Errno::ENOENT];
    errno_of(error).is_some_and(|errno| passing.contains(&errno))
}

/// Flushes data to disk, and waits until the kernel has freed devices.
fn let_devices_be_freed(tried: u32) {
    sync();
    sleep(Duration::from_millis(200) * tried);
}

fn mount_once(
    request: &ImageRequest<'_>,
    claim: &Claim,
    part: Place,
    system: &FileSystem,
    nodes: &Nodes,
    events: &mut dyn FnMut(ImageEvent),
) -> Result<Option<u32>> {
    fault::point("attaching")?;
    if claim.is_device() {
        mount_device(request, &claim.path(), system, events)?;
        return Ok(None);
    }
    let read_only = request.access == Access::ReadOnly;
    let device = loop_device::attach(claim.file(), part.of_loop_device(), read_only, request.image, nodes)?;
    let mounted = mount_device(request, &device.path.to_string_lossy(), system, events);
    let unlabelled = request.label.is_none() && label::is_enforced();
    match mounted {
        Err(error) if unlabelled && errno_of(&error) == Some(Errno::EIO) => Err(error.context(
            "the kernel cannot read it, possibly because of SELinux; set container.image-label to its default",
        )),
        other => other.map(|()| Some(device.number)),
    }
}

fn mount_device(
    request: &ImageRequest<'_>,
    device: &str,
    system: &FileSystem,
    events: &mut dyn FnMut(ImageEvent),
) -> Result<()> {
    // All supported kernels mount all three as ext4.
    let kind = if matches!(system, FileSystem::Ext(_)) { "ext4" } else { system.name() };
    let mut flags = MsFlags::empty();
    let mut data = None;
    match (request.access, system) {
        (Access::ReadWrite, _) => data = Some("errors=remount-ro"),
        (Access::ReadOnly, FileSystem::Ext(ext)) if ext.needs_recovery => {
            flags = MsFlags::MS_RDONLY;
            data = Some("noload");
            let text = "the image was not unmounted; the last writes may be lost";
            events(ImageEvent::Warning(text.into()));
        }
        (Access::ReadOnly, _) => flags = MsFlags::MS_RDONLY,
    }
    let target = request.mount_point;
    match mount(Some(device), target, Some(kind), flags, data) {
        Err(Errno::ENODEV) => bail!("the kernel has no {kind} (CONFIG_{})", option(kind)),
        Err(errno @ (Errno::EINVAL | Errno::EUCLEAN | Errno::EBADMSG)) => call!(
            Err(errno),
            "mount({device}, {}, {kind})",
            target.display()
        )
        .context(
            "the kernel refuses its file system; see dmesg, and check it with 'e2fsck -f' or its own tool",
        ),
        other => Ok(call!(other, "mount({device}, {}, {kind})", target.display())?),
    }
}

fn option(kind: &str) -> &'static str {
    match kind {
        "ext4" => "EXT4_FS",
        "btrfs" => "BTRFS_FS",
        "erofs" => "EROFS_FS",
        _ => "SQUASHFS",
    }
}

impl Attachment {
    /// The mounted tree.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Its mount point.
    #[must_use]
    pub fn mount_point(&self) -> &Path {
        &self.mounted.place
    }

    /// Reduces memory usage from now on; reads so far were served from the page cache.
    pub fn go_direct(&self) {
        if let Some(number) = self.mounted.number {
            loop_device::go_direct(number, &self.mounted.nodes);
        }
    }

    /// Size in bytes of its partition, if the image is that of a disk.
    #[must_use]
    pub fn partition_size(&self) -> Option<u64> {
        let part = self.mounted.part;
        part.partition.map(|_| part.length)
    }

    /// The type of its file system.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.mounted.kind
    }

    /// Unmounts it and waits until its loop device has released the file.
    ///
    /// # Errors
    /// If it is busy.
    pub fn detach(self) -> Result<()> {
        let Self { root, mut mounted } = self;
        drop(root);
        mounted.release()
    }
}

impl Mounted {
    fn release(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.released, true) {
            return Ok(());
        }
        let mut answer = Ok(());
        wait_until(TIMEOUT, &mut || {
            answer = umount2(&self.place, MntFlags::UMOUNT_NOFOLLOW);
            answer != Err(Errno::EBUSY)
        });
        call!(answer, "umount({})", self.place.display())?;
        let Some(number) = self.number else { return Ok(()) };
        // Another file may already use the same device number.
        if !wait_until(TIMEOUT, &mut || !self.claim.is_attached_to(number, &self.nodes)) {
            bail!("loop{number} is still attached to the image; a process of the container still uses it");
        }
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            log::warn!("{error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_three_times_and_anything_else_once() {
        let busy = || -> Result<()> { Ok(call!(Err(Errno::EBUSY), "mount")?) };
        let (mut tries, mut pauses) = (0, Vec::new());
        let failed = persist(&mut |tried| pauses.push(tried), &mut || {
            tries += 1;
            busy().context("with its context")
        });
        assert!(failed.is_err());
        assert_eq!((tries, pauses), (ATTEMPTS, vec![1, 2]));
        let mut answers = vec![Ok(7), Err(anyhow::Error::from(Errno::ENXIO))];
        assert_eq!(persist(&mut |_| {}, &mut || answers.pop().unwrap()).unwrap(), 7);
        let mut tries = 0;
        let wrong = persist(&mut |_| panic!("no reason to wait"), &mut || -> Result<()> {
            tries += 1;
            Ok(call!(Err(Errno::EINVAL), "mount")?)
        });
        assert!(wrong.is_err());
        assert_eq!(tries, 1);
    }
}
