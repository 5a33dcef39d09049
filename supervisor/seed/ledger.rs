//! The record of the changes by seeding, with the original files: a file in the container's own directory.
//!
//! Owns that file. It is written before the tree, so that after a power failure in between, the tree is known to be
//! unchanged.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::durable;

/// A limit, even though only ds writes the file.
const LARGEST: u64 = 64 << 20;

/// An original file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Its content.
    pub content: String,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner.
    pub user: u32,
    /// Its group.
    pub group: u32,
}

/// One file of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The original file; `None` if it did not exist.
    pub before: Option<Before>,
    /// The last written content.
    pub wrote: String,
    /// It is a symbolic link with that target; nothing existed there before.
    #[serde(default)]
    pub link: bool,
    /// ds created its directory.
    #[serde(default)]
    pub directory: bool,
    /// The content that was found when the user's edit was reported.
    #[serde(default)]
    pub told: Option<String>,
}

/// All entries, by their paths in the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// The entries.
    pub files: BTreeMap<String, Entry>,
}

impl Ledger {
    /// Reads the file; empty if it does not exist.
    ///
    /// # Errors
    /// If it cannot be read or is damaged: the original files are then unknown, and nothing may be changed.
    pub fn load(path: &Path) -> Result<Self> {
        match durable::read(path, LARGEST) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged; remove it to start a new record", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Writes the file, or removes it if there are no entries.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        if self.files.is_empty() {
            return match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(error).with_context(|| format!("remove {}", path.display()))
                }
                _ => Ok(()),
            };
        }
        let bytes = serde_json::to_vec(self).context("write JSON")?;
        durable::write(path, &bytes, 0o600).with_context(|| format!("write {}", path.display()))
    }
}
