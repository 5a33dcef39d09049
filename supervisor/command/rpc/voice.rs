//! The context of every request: the verbs, and the output to the program that sent it.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cli::Command;
use crate::exit::ExitCode;
use crate::log as sinks;

/// How a verb of the command line is run: the table of verbs is above this module.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "functions have no text")]
pub struct Verbs<'a> {
    /// Runs a verb to its end and reports its error.
    pub perform: &'a dyn Fn(&Command) -> ExitCode,
    /// The verb, and the container that it is about.
    pub subject: fn(&Command) -> (&'static str, Option<&str>),
}

/// Says something to the program that asked.
///
/// # Errors
/// When it cannot be written.
pub(super) fn told(document: &Value) -> Result<()> {
    sinks::tell(document).context("write the answer")
}
