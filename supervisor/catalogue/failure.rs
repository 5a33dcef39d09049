//! Why a file does not come from a server, and what may help.

use serde::{Deserialize, Serialize};

/// Whether another try makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Remedy {
    /// The same again, after a while.
    Wait,
    /// The server does not have it: another server, or a newer index.
    Elsewhere,
    /// None.
    None,
}

/// Why it did not come, or not whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// One line.
    pub text: String,
    /// What may help.
    pub remedy: Remedy,
}

impl Failure {
    /// One that nothing helps against.
    pub(super) fn last(text: impl Into<String>) -> Self {
        Self { text: text.into(), remedy: Remedy::None }
    }

    /// One that may pass.
    pub(super) fn passing(text: impl Into<String>) -> Self {
        Self { text: text.into(), remedy: Remedy::Wait }
    }
}
