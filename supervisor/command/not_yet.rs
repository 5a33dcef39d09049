//! Verbs that the command line knows and the program does not have yet.

use anyhow::{Result, bail};

use crate::exit::ExitCode;

/// Says so.
///
/// # Errors
/// Always.
pub fn run() -> Result<ExitCode> {
    bail!("not there yet")
}
