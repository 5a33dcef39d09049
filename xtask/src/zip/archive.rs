//! Reproducible zip files.
//!
//! Owns the members' times, modes and compression. All are fixed, so that the same files in the same order result in
//! the same bytes. Uses only methods that BusyBox's unzip supports.

use anyhow::{Context, Result};
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

/// Names and contents, in order.
pub type Members = Vec<(String, Vec<u8>)>;

/// Creates the archive.
///
/// # Errors
/// If an installer cannot handle a name.
pub fn write(members: &Members) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(9))
        // The earliest time that the format has.
        .last_modified_time(DateTime::default())
        .system(System::Unix)
        .unix_permissions(0o644);
    for (name, bytes) in members {
        check_name(name)?;
        zip.start_file(name.as_str(), options)?;
        zip.write_all(bytes)?;
    }
    Ok(zip.finish().context("cannot finish the zip")?.into_inner())
}

/// Installers split names at spaces, and treat a module with an `install.sh` as one of an obsolete kind.
fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    anyhow::ensure!(
        name.chars().all(plain) && !name.starts_with('/'),
        "{name}: not a valid name for a file in a module"
    );
    anyhow::ensure!(name != "install.sh", "install.sh: reserved for modules of an obsolete kind");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Members, write};
    use std::io::{Cursor, Read};
    use zip::ZipArchive;

    fn members(names: &[&str]) -> Members {
        names.iter().map(|name| ((*name).to_owned(), name.repeat(1000).into_bytes())).collect()
    }

    #[test]
    fn the_same_files_make_the_same_bytes() {
        let write = || write(&members(&["module.prop", "a", "bin/ds-arm64"])).unwrap();
        assert_eq!(write(), write());
    }

    #[test]
    fn what_goes_in_comes_out() {
        let members = members(&["module.prop", "bin/ds-arm64"]);
        let mut zip = ZipArchive::new(Cursor::new(write(&members).unwrap())).unwrap();
        assert_eq!(zip.len(), 2);
        for (name, bytes) in &members {
            let mut file = zip.by_name(name).unwrap();
            let mut read = Vec::new();
            file.read_to_end(&mut read).unwrap();
            assert_eq!(&read, bytes);
            assert_eq!(file.unix_mode(), Some(0o100_644));
            assert_eq!(file.last_modified(), Some(zip::DateTime::default()));
        }
    }

    #[test]
    fn names_that_installers_cannot_handle_are_refused() {
        for name in ["a b", "/etc/passwd", "install.sh", "it's"] {
            assert!(write(&members(&[name])).is_err(), "{name}");
        }
    }
}
