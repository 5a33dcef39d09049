//! A row of the tables of devices: names, and the permissions of their nodes in a container.

use crate::config::value::matches;

/// Nodes with the same permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Their names below /dev, or the directory with them.
    pub pattern: &'static str,
    /// Names of their group; the first that exists in the container is used.
    pub groups: &'static [&'static str],
    /// Permission bits.
    pub mode: u32,
}

impl Row {
    /// Whether the row contains this name below /dev.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        matches(self.pattern, name)
    }
}
