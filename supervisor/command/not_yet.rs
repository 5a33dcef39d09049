//! Verbs of the command line that are not implemented yet. Owns their error message.

use anyhow::{Result, bail};

use crate::exit::ExitCode;

/// Returns the error.
///
/// # Errors
/// Always.
pub fn run() -> Result<ExitCode> {
    bail!("not supported yet")
}
