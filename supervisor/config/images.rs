//! Section `images` of `supervisor.ini`: the sources of root file systems.
//!
//! Commands read it on demand; the supervisor itself does not use it.

use std::path::Path;
use std::time::Duration;

use super::error::{Error, Kind};
use super::ini::Document;
use super::load::load_document;
use super::supervisor::SCHEMA;
use super::value::{Mirrors, Seconds, Size};

/// The section's name.
const SECTION: &str = "images";

/// No server answers within 0 seconds.
const MIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The sources of root file systems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// Addresses of servers, without trailing slashes.
    pub mirrors: Vec<String>,
    /// The maximum size of the cache.
    pub cache_size: Size,
    /// The time in which a server must send something, and a minimum while it sends.
    pub timeout: Duration,
}

impl Images {
    /// Reads the file `path`; a missing file means the defaults.
    ///
    /// # Errors
    /// The first error in the file, or the reason why it cannot be read.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let document = match load_document(path) {
            Err(error) if error.kind() == Kind::NotFound => Document::empty(path),
            document => document?,
        };
        SCHEMA.check(&document)?;
        Ok(Self {
            mirrors: SCHEMA.read::<Mirrors>(&document, SECTION, "mirror")?.into_vec(),
            cache_size: SCHEMA.read(&document, SECTION, "cache-size")?,
            timeout: Duration::from(SCHEMA.read::<Seconds>(&document, SECTION, "timeout")?).max(MIN_TIMEOUT),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_has_defaults_and_places_for_faults() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("supervisor.ini");
        let images = Images::load(&path).unwrap();
        assert_eq!(
            (images.mirrors.as_slice(), images.cache_size.bytes()),
            (&["https://images.linuxcontainers.org".to_owned()][..], 2 << 30)
        );
        std::fs::write(&path, "[images]\nmirror = http://example.org\n").unwrap();
        let fault = Images::load(&path).unwrap_err().to_string();
        assert!(
            fault.contains("supervisor.ini:2:10: images.mirror: 'http://example.org' is not encrypted"),
            "{fault}"
        );
    }
}
