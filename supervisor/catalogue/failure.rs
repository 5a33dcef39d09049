//! Errors of a download, and whether a retry may help. Owns that classification.

use serde::{Deserialize, Serialize};

/// Whether a retry makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Remedy {
    /// The same request again, after a delay.
    Wait,
    /// The server does not have the file: another server, or a newer index.
    Elsewhere,
    /// The file has no bytes after the existing ones: their checksum decides.
    Whole,
    /// None.
    None,
}

/// Why the file was not downloaded completely.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The message, one line.
    pub text: String,
    /// The remedy.
    pub remedy: Remedy,
}

impl Failure {
    /// A permanent error.
    pub(super) fn last(text: impl Into<String>) -> Self {
        Self { text: text.into(), remedy: Remedy::None }
    }

    /// A temporary error.
    pub(super) fn passing(text: impl Into<String>) -> Self {
        Self { text: text.into(), remedy: Remedy::Wait }
    }
}
