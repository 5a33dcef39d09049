//! Section `seed` of `supervisor.ini`: the settings of seeding on this machine.

use std::path::Path;

use super::error::{Error, Kind};
use super::ini::Document;
use super::load::load_document;
use super::supervisor::SCHEMA;
use super::value::Subsystems;

/// The section's name.
const SECTION: &str = "seed";

/// The settings of seeding on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seeding {
    /// The subsystems whose events udev may replay.
    pub subsystems: Subsystems,
}

impl Seeding {
    /// Reads the file `path`; a missing file means the defaults.
    ///
    /// # Errors
    /// The first error in the file, or the reason why it cannot be read.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let document = match load_document(path) {
            Err(error) if error.kind() == Kind::NotFound => Document::empty(path),
            document => document?,
        };
        Ok(Self { subsystems: SCHEMA.read(&document, SECTION, "udev-subsystems")? })
    }

    /// The same for a start, which must succeed even if the file contains an error; the supervisor reports it.
    #[must_use]
    pub fn load_or_default(path: &Path) -> Self {
        Self::load(path).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_has_a_default_and_places_for_faults() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("supervisor.ini");
        assert_eq!(Seeding::load(&path).unwrap().subsystems.to_string(), "usb,block,input,tty");
        std::fs::write(&path, "[seed]\nudev-subsystems = usb, a b\n").unwrap();
        let fault = Seeding::load(&path).unwrap_err().to_string();
        assert!(fault.contains("seed.udev-subsystems: 'a b' is not a name of a subsystem"), "{fault}");
    }
}
