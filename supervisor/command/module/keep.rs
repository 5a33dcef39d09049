//! A copy of the program in the data directory, for the boot after an interrupted update.
//!
//! Owns that copy. When an update is interrupted, root managers replace the old module with the partly unpacked one,
//! whose program may be missing. `service.sh` then calls this copy, the last program that reached a boot.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::durable;
use crate::paths::{Paths, create_private};

const OWN_PROGRAM: &str = "/proc/self/exe";

/// Copies this program to `bin/ds` in the data directory, unless the same copy exists.
///
/// # Errors
/// If the disk is full or cannot be written.
pub fn keep(paths: &Paths) -> Result<()> {
    let directory = paths.data.join("bin");
    create_private(&directory)?;
    copy(Path::new(OWN_PROGRAM), &directory.join("ds"))
}

fn copy(program: &Path, kept: &Path) -> Result<()> {
    let bytes = fs::read(program).with_context(|| format!("read {}", program.display()))?;
    if fs::read(kept).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    // A new file replaces the old one, which may be running.
    durable::write(kept, &bytes, 0o700).with_context(|| format!("write {}", kept.display()))
}

#[cfg(test)]
mod tests {
    use super::copy;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn a_new_file_takes_the_place_of_another_program_and_of_that_alone() {
        let place = tempfile::tempdir().unwrap();
        let (program, kept) = (place.path().join("program"), place.path().join("ds"));
        fs::write(&program, "one").unwrap();
        copy(&program, &kept).unwrap();
        let first = fs::metadata(&kept).unwrap();
        assert_eq!(first.permissions().mode() & 0o7777, 0o700);
        copy(&program, &kept).unwrap();
        assert_eq!(fs::metadata(&kept).unwrap().ino(), first.ino());
        let running = fs::File::open(&kept).unwrap();
        fs::write(&program, "two").unwrap();
        copy(&program, &kept).unwrap();
        assert_eq!(fs::read_to_string(&kept).unwrap(), "two");
        assert_eq!(std::io::read_to_string(running).unwrap(), "one");
    }
}
