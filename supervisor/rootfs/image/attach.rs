//! Mounting an image and letting go of it again.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::stat;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::sync;

use super::claim::{Claim, claim};
use super::{Access, Event, Request, check};
use crate::call;
use crate::fault;
use crate::rootfs::label;
use crate::rootfs::loop_device::{self, Nodes, wait_until};
use crate::rootfs::root::Root;
use crate::rootfs::superblock::{Ext, FileSystem, PROBED, probe};
use crate::sys::errno_of;

/// How often attaching and mounting are tried: kernels such as 4.14 free loop devices late.
const ATTEMPTS: u32 = 3;
/// How long a device may take to let go, and a mount to become idle.
const PATIENCE: Duration = Duration::from_secs(10);

/// An image that is mounted. Dropping it lets go as well, and nobody learns of what went wrong.
#[derive(Debug)]
pub struct Attachment {
    /// First: the mount counts every descriptor.
    root: Root,
    mounted: Mounted,
}

/// What has to be undone.
#[derive(Debug)]
struct Mounted {
    place: PathBuf,
    number: Option<u32>,
    kind: &'static str,
    nodes: Nodes,
    released: bool,
    /// The image is ours until it is unmounted.
    claim: Claim,
}

/// Takes an image, checks it and mounts it. The mount namespace is the caller's own.
///
/// # Errors
/// Why it cannot be used, in one line; then nothing is left mounted, attached or locked.
pub fn attach(request: &Request<'_>, events: &mut dyn FnMut(Event)) -> Result<Attachment> {
    attach_it(request, events).with_context(|| format!("the image {}", request.image.display()))
}

fn attach_it(request: &Request<'_>, events: &mut dyn FnMut(Event)) -> Result<Attachment> {
    let scratch = make_place(request.mount_point)?;
    let nodes = Nodes::system(Some(scratch));
    let mut claim = claim(request.image, request.access, &nodes, request.interrupt)?;
    let mut system = look(&claim)?;
    suits(&system, &claim, request.access)?;
    if let FileSystem::Ext(ext) = &system {
        check::check(request, &claim, ext, events)?;
        system = look(&claim)?;
    }
    claim.share();
    if let Some(wanted) = request.label.filter(|_| !claim.is_device()) {
        label::ensure(claim.file(), wanted)?;
    }
    fault::point("checked")?;
    let number = persist(&mut settle, &mut || mount_once(request, &claim, &system, &nodes, events))?;
    let (place, kind) = (request.mount_point.to_owned(), system.name());
    let mounted = Mounted { place, number, kind, nodes, released: false, claim };
    fault::point("attached")?;
    Ok(Attachment { root: Root::open(&mounted.place)?, mounted })
}

/// Makes the mount point, on a tmpfs that only this namespace sees; returns the tmpfs.
fn make_place(mount_point: &Path) -> Result<&Path> {
    let Some((parent, above)) = mount_point.parent().and_then(|parent| Some((parent, parent.parent()?)))
    else {
        bail!("{} is no place for a mount", mount_point.display());
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

/// Looks at the front of the image.
fn look(claim: &Claim) -> Result<FileSystem> {
    if claim.size() == 0 {
        bail!("it is empty; 'ds create NAME --from ARCHIVE --size SIZE' fills a new one");
    }
    let file = std::fs::File::from(claim.file().try_clone_to_owned().context("dup")?);
    let mut front = vec![0; PROBED];
    let mut length = 0;
    while length < front.len() {
        match file.read_at(&mut front[length..], length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("read it"),
        }
    }
    Ok(probe(&front[..length]))
}

/// Refuses what cannot be mounted, before anything is done to it.
fn suits(system: &FileSystem, claim: &Claim, access: Access) -> Result<()> {
    match system {
        FileSystem::Ext(ext) => ext_suits(ext, claim.size()),
        FileSystem::Btrfs | FileSystem::Erofs | FileSystem::Squashfs if access == Access::ReadWrite => {
            bail!("{} is used read-only; set volatile=yes to keep all changes in memory", system.name())
        }
        FileSystem::Btrfs | FileSystem::Erofs | FileSystem::Squashfs => Ok(()),
        FileSystem::Other(name) => {
            bail!("it holds {name}; ext4 is what can be used, or btrfs, erofs and squashfs with volatile=yes")
        }
        FileSystem::Unknown => bail!(
            "there is no file system in it that is known here; use an ext4 image, or a directory with --rootfs"
        ),
    }
}

fn ext_suits(ext: &Ext, size: u64) -> Result<()> {
    if ext.bytes() > size {
        bail!(
            "it is cut off: its file system has {} bytes and the file {size}; take it from a copy, since a part is gone",
            ext.bytes()
        );
    }
    if ext.external_journal {
        bail!("its journal is on another device; give it one of its own with tune2fs");
    }
    Ok(())
}

/// Tries several times what fails because the kernel has not finished something else yet.
fn persist<T>(settle: &mut dyn FnMut(u32), attempt: &mut dyn FnMut() -> Result<T>) -> Result<T> {
    let mut tried = 0;
    loop {
        tried += 1;
        match attempt() {
            Err(error) if tried < ATTEMPTS && is_passing(&error) => settle(tried),
            other => return other,
        }
    }
}

fn is_passing(error: &anyhow::Error) -> bool {
    let passing = [Errno::EBUSY, Errno::EIO, Errno::ENXIO, Errno::EAGAIN, Errno::ENOENT];
    errno_of(error).is_some_and(|errno| passing.contains(&errno))
}

/// What was written gets to the medium, and the kernel finishes freeing devices.
fn settle(tried: u32) {
    sync();
    sleep(Duration::from_millis(200) * tried);
}

fn mount_once(
    request: &Request<'_>,
    claim: &Claim,
    system: &FileSystem,
    nodes: &Nodes,
    events: &mut dyn FnMut(Event),
) -> Result<Option<u32>> {
    fault::point("attaching")?;
    if claim.is_device() {
        mount_device(request, &claim.path(), system, events)?;
        return Ok(None);
    }
    let read_only = request.access == Access::ReadOnly;
    let device = loop_device::attach(claim.file(), read_only, request.image, nodes)?;
    mount_device(request, &device.path.to_string_lossy(), system, events)?;
    Ok(Some(device.number))
}

fn mount_device(
    request: &Request<'_>,
    device: &str,
    system: &FileSystem,
    events: &mut dyn FnMut(Event),
) -> Result<()> {
    // Every kernel for containers mounts all three as ext4.
    let kind = if matches!(system, FileSystem::Ext(_)) { "ext4" } else { system.name() };
    let mut flags = MsFlags::empty();
    let mut data = None;
    match (request.access, system) {
        (Access::ReadWrite, _) => data = Some("errors=remount-ro"),
        (Access::ReadOnly, FileSystem::Ext(ext)) if ext.needs_recovery => {
            flags = MsFlags::MS_RDONLY;
            data = Some("noload");
            let text = "the image was not unmounted; what was written to it last may be missing";
            events(Event::Warning(text.into()));
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

    /// Where it is mounted.
    #[must_use]
    pub fn mount_point(&self) -> &Path {
        &self.mounted.place
    }

    /// The type of its file system.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.mounted.kind
    }

    /// Unmounts it and waits until its loop device has let go of the file.
    ///
    /// # Errors
    /// When something keeps it busy.
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
        wait_until(PATIENCE, &mut || {
            answer = umount2(&self.place, MntFlags::UMOUNT_NOFOLLOW);
            answer != Err(Errno::EBUSY)
        });
        call!(answer, "umount({})", self.place.display())?;
        let Some(number) = self.number else { return Ok(()) };
        // The same number may have another file already.
        if !wait_until(PATIENCE, &mut || !self.claim.is_attached_to(number, &self.nodes)) {
            bail!("loop{number} still has the image; something that ran inside is left");
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
    use std::fs;

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

    fn looked_at(content: &[u8], access: Access) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        fs::write(&path, content).unwrap();
        let claim = claim(&path, access, &Nodes::system(None), None).unwrap();
        let answer = look(&claim).and_then(|system| suits(&system, &claim, access));
        assert_eq!(fs::read(&path).unwrap(), content);
        answer.map_or_else(|error| format!("{error:#}"), |()| "suits".into())
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_a_reason() {
        assert!(looked_at(b"", Access::ReadWrite).contains("is empty"));
        assert!(looked_at(b"garbage", Access::ReadWrite).contains("no file system in it"));
        assert!(looked_at(b"XFSB", Access::ReadWrite).contains("holds xfs"));
        assert!(looked_at(b"hsqs", Access::ReadWrite).contains("volatile=yes"));
        assert_eq!(looked_at(b"hsqs", Access::ReadOnly), "suits");
        let mut cut_off = vec![0; 4096];
        cut_off[1024 + 4..1024 + 8].copy_from_slice(&1000_u32.to_le_bytes());
        cut_off[1024 + 0x38..1024 + 0x3A].copy_from_slice(&[0x53, 0xEF]);
        let told = looked_at(&cut_off, Access::ReadOnly);
        assert!(told.contains("cut off") && told.contains("1024000") && told.contains("4096"), "{told}");
    }
}
