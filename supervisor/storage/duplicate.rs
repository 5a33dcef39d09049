//! Copies one large file: shares its blocks if the file system supports it, otherwise copies the data and keeps holes.
//!
//! Owns the fallbacks: ioctl_ficlone(2) (4.5), copy_file_range(2) (4.5), lseek(2) with SEEK_DATA and SEEK_HOLE. Also
//! copies owner, mode and extended attributes, including the SELinux label.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::copy_file_range;
use nix::unistd::{Whence, lseek};

use super::job::Reporter;
use super::space;
use crate::call;
use crate::fault;
use crate::sys::descriptor::share_blocks;
use crate::sys::xattr;

/// Size of one copy_file_range(2), in bytes; progress is reported in between.
const PORTION: usize = 16 << 20;
/// Size of the buffer if the kernel cannot copy.
const BUFFER: usize = 1 << 20;

/// Copies the image `from` to the new file `path` on the file system of `place`, as a step of a job.
///
/// # Errors
/// If the file exists, the space is insufficient, or a read or write fails.
pub fn duplicate_image(from: &File, path: &Path, place: &Path, reporter: &mut Reporter) -> Result<File> {
    let options = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
    let to = options.with_context(|| format!("create {}", path.display()))?;
    let length = from.metadata().context("stat")?.len();
    reporter.step("copy", Some(length))?;
    duplicate(from, &to, place, &mut |done| reporter.progress(done)).context("copy the image")?;
    reporter.finish(length)?;
    fault::point("job-copied")?;
    duplicate_attributes(from, &to)?;
    Ok(to)
}

/// Copies `from` into the empty file `to`, which is in `place`; reports the number of copied bytes. True if the blocks
/// are shared, so that the copy needs no space.
///
/// # Errors
/// If the space is insufficient, before anything is written; if reading or writing fails.
fn duplicate(from: &File, to: &File, place: &Path, progress: &mut dyn FnMut(u64)) -> Result<bool> {
    if share_blocks(from.as_fd(), to.as_fd()).is_ok() {
        return Ok(true);
    }
    let about = from.metadata().context("stat")?;
    let length = about.len();
    // In units of stat(3type), without holes.
    space::require(place, about.blocks().saturating_mul(512))?;
    to.set_len(length).context("ftruncate")?;
    let mut at = 0;
    while let Some((begin, end)) = next_data(from, at, length)? {
        copy(from, to, begin, end, progress)?;
        at = end;
    }
    progress(length);
    Ok(false)
}

/// Copies owner, mode and extended attributes to `to`.
///
/// # Errors
/// If an attribute of `from` cannot be set.
fn duplicate_attributes(from: &File, to: &File) -> Result<()> {
    let about = from.metadata().context("stat")?;
    fchown(to, Some(about.uid()), Some(about.gid())).context("chown")?;
    // After the owner, whose change clears mode bits.
    to.set_permissions(Permissions::from_mode(about.mode() & 0o7777)).context("chmod")?;
    let names = match xattr::list(from.as_fd()) {
        Err(Errno::EOPNOTSUPP) => return Ok(()),
        other => call!(other, "listxattr")?,
    };
    for name in names {
        let shown = name.to_string_lossy();
        let value = call!(xattr::get(from.as_fd(), &name), "getxattr({shown})")?;
        if xattr::get(to.as_fd(), &name).as_ref() != Ok(&value) {
            call!(xattr::set(to.as_fd(), &name, &value), "setxattr({shown})")?;
        }
    }
    Ok(())
}

/// The next range of data at or after `at`.
fn next_data(file: &File, at: u64, length: u64) -> Result<Option<(u64, u64)>> {
    if at >= length {
        return Ok(None);
    }
    let offset = i64::try_from(at).context("the file is too long")?;
    let begin = match lseek(file, offset, Whence::SeekData) {
        Ok(begin) => begin,
        // Only a hole is left.
        Err(Errno::ENXIO) => return Ok(None),
        // The file system does not report holes.
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => return Ok(Some((at, length))),
        other => call!(other, "lseek(SEEK_DATA)")?,
    };
    let end = call!(lseek(file, begin, Whence::SeekHole), "lseek(SEEK_HOLE)")?;
    Ok(Some((u64::try_from(begin)?, u64::try_from(end)?.min(length))))
}

fn copy(from: &File, to: &File, begin: u64, end: u64, progress: &mut dyn FnMut(u64)) -> Result<()> {
    let mut at = begin;
    while at < end {
        let portion = usize::try_from(end - at).unwrap_or(PORTION).min(PORTION);
        let (mut source, mut target) = (i64::try_from(at)?, i64::try_from(at)?);
        match copy_file_range(from, Some(&mut source), to, Some(&mut target), portion) {
            Ok(count) if count > 0 => at += u64::try_from(count)?,
            // Some kernels return zero instead of an error.
            Ok(_) | Err(Errno::ENOSYS | Errno::EXDEV | Errno::EINVAL | Errno::EOPNOTSUPP | Errno::EPERM) => {
                return copy_by_hand(from, to, at, end, progress);
            }
            Err(Errno::EINTR) => {}
            Err(errno) => call!(Err(errno), "copy_file_range")?,
        }
        progress(at);
    }
    Ok(())
}

fn copy_by_hand(from: &File, to: &File, begin: u64, end: u64, progress: &mut dyn FnMut(u64)) -> Result<()> {
    let mut buffer = vec![0_u8; BUFFER];
    let mut source = from;
    source.seek(SeekFrom::Start(begin)).context("seek")?;
    let mut target = to;
    target.seek(SeekFrom::Start(begin)).context("seek")?;
    let mut at = begin;
    while at < end {
        let portion = usize::try_from(end - at).unwrap_or(BUFFER).min(BUFFER);
        source.read_exact(&mut buffer[..portion]).context("read")?;
        target.write_all(&buffer[..portion]).context("write")?;
        at += u64::try_from(portion)?;
        progress(at);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn file(directory: &Path, name: &str) -> File {
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).read(true).write(true).open(directory.join(name)).unwrap()
    }

    fn content(mut file: &File) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Data at both ends and in the middle of a sparse file.
    fn holey(directory: &Path) -> File {
        let from = file(directory, "from");
        from.set_len(64 << 20).unwrap();
        for (at, byte) in [(0, 1), (20 << 20, 2), ((64 << 20) - 4096, 3)] {
            from.write_all_at(&[byte; 4096], at).unwrap();
        }
        from
    }

    #[test]
    fn content_and_holes_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (holey(directory.path()), file(directory.path(), "to"));
        let mut told = Vec::new();
        let shared = duplicate(&from, &to, directory.path(), &mut |done| told.push(done)).unwrap();
        assert_eq!(content(&from), content(&to));
        assert!(
            to.metadata().unwrap().blocks() <= from.metadata().unwrap().blocks() + 64,
            "holes were filled"
        );
        assert!(shared || told.last() == Some(&(64 << 20)));
        assert!(told.is_sorted());
    }

    #[test]
    fn without_support_of_the_kernel_the_copy_is_equal() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (holey(directory.path()), file(directory.path(), "to"));
        to.set_len(64 << 20).unwrap();
        let mut at = 0;
        while let Some((begin, end)) = next_data(&from, at, 64 << 20).unwrap() {
            copy_by_hand(&from, &to, begin, end, &mut |_| {}).unwrap();
            at = end;
        }
        assert_eq!(content(&from), content(&to));
    }

    #[test]
    fn an_empty_file_and_one_hole_are_copied() {
        let directory = tempfile::tempdir().unwrap();
        for length in [0, 1 << 20] {
            let (from, to) = (file(directory.path(), "from"), file(directory.path(), "to"));
            from.set_len(length).unwrap();
            duplicate(&from, &to, directory.path(), &mut |_| {}).unwrap();
            assert_eq!(content(&to), content(&from));
        }
    }

    #[test]
    fn mode_and_attributes_go_along() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (file(directory.path(), "from"), file(directory.path(), "to"));
        from.set_permissions(Permissions::from_mode(0o640)).unwrap();
        let labelled = xattr::set(from.as_fd(), c"user.label", b"value").is_ok();
        duplicate_attributes(&from, &to).unwrap();
        assert_eq!(to.metadata().unwrap().mode() & 0o7777, 0o640);
        if labelled {
            assert_eq!(xattr::get(to.as_fd(), c"user.label").unwrap(), b"value");
        }
    }
}
