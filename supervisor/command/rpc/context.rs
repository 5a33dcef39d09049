//! The context of every request: the verbs, and the output to the program that sent it.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cli::Command;
use crate::exit::ExitCode;
use crate::log as sinks;

/// Runs a verb of the command line; the table of verbs is in a higher module.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "functions have no text")]
pub struct Verbs<'a> {
    /// Runs a verb to its end and reports its error.
    pub perform: &'a dyn Fn(&Command) -> ExitCode,
    /// The verb and its container.
    pub subject: fn(&Command) -> (&'static str, Option<&str>),
}

/// Writes a document to the client.
///
/// # Errors
/// If it cannot be written.
pub(super) fn emit(document: &Value) -> Result<()> {
    sinks::tell(document).context("write the answer")
}
