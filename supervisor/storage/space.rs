//! The free space of a file system. Owns the check that refuses a job before it writes anything. statvfs(3).

use std::path::Path;

use anyhow::{Result, bail};
use nix::sys::statvfs::statvfs;

use crate::call;
use crate::units::size_rounded_up;

/// Space that is always kept free: a full data partition prevents Android from starting.
const RESERVE: u64 = 64 << 20;

/// Less than this counts as full: the rest is needed by the file system.
const NOTHING: u64 = 1 << 20;

/// The number of bytes that can still be written to the file system of `path`.
///
/// # Errors
/// If statvfs(3) fails.
pub fn free(path: &Path) -> Result<u64> {
    Ok(available(path)?.saturating_sub(RESERVE))
}

/// Whether the file system of `path` is full.
///
/// # Errors
/// If statvfs(3) fails.
pub fn is_full(path: &Path) -> Result<bool> {
    Ok(available(path)? < NOTHING)
}

fn available(path: &Path) -> Result<u64> {
    let about = call!(statvfs(path), "statvfs({})", path.display())?;
    // The types differ between C libraries and processors.
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_fallible_conversions,
        reason = "the C library's types differ between processors"
    )]
    let (blocks, size) = (u64::try_from(about.blocks_available())?, u64::try_from(about.fragment_size())?);
    // ramfs and other file systems without limits report 0 of 0.
    Ok(if about.blocks() == 0 { u64::MAX } else { blocks.saturating_mul(size) })
}

/// Fails if `needed` bytes do not fit.
///
/// # Errors
/// The needed and the free space.
pub fn require(path: &Path, needed: u64) -> Result<()> {
    let available = available(path)?;
    if needed > available.saturating_sub(RESERVE) {
        let [needed, available, reserve] = [needed, available, RESERVE].map(size_rounded_up);
        bail!(
            "about {needed} are needed in {} besides {reserve} that stay free, but only {available} are free; free some space first",
            path.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_fit_is_refused_with_both_numbers() {
        let directory = tempfile::tempdir().unwrap();
        require(directory.path(), 0).unwrap();
        let error = require(directory.path(), 1 << 62).unwrap_err().to_string();
        assert!(error.starts_with("about 4194304 TiB are needed in /"), "{error}");
        assert!(error.ends_with(" are free; free some space first"), "{error}");
        assert!(error.contains(" besides 64 MiB that stay free, but only "), "{error}");
    }
}
