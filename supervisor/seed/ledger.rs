//! What seeding has changed in a tree, and what was there before: a file in the container's own directory.
//!
//! It is written before the tree is, so that a power cut between the two leaves a tree that is known to be unchanged.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::durable;

/// It is ours, and still it has an end.
const LARGEST: u64 = 64 << 20;

/// A file as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// What it said.
    pub content: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub user: u32,
    /// Group.
    pub group: u32,
}

/// One file of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What was there; nothing when `None`.
    pub before: Option<Before>,
    /// What was written last.
    pub wrote: String,
    /// It is a symbolic link, which says that; before, there was nothing.
    #[serde(default)]
    pub link: bool,
    /// Its directory was made with it.
    #[serde(default)]
    pub directory: bool,
    /// What was found instead of that when it was told that somebody had changed it.
    #[serde(default)]
    pub told: Option<String>,
}

/// All of them, by their paths inside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// The entries.
    pub files: BTreeMap<String, Entry>,
}

impl Ledger {
    /// Reads it; one that does not exist is empty.
    ///
    /// # Errors
    /// When it cannot be read or is damaged: then what was there before is not known, and nothing may be changed.
    pub fn load(path: &Path) -> Result<Self> {
        match durable::read(path, LARGEST) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged; remove it to begin anew", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Writes it, or removes it when there is nothing in it.
    ///
    /// # Errors
    /// When it cannot be written.
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
