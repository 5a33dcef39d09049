//! The verbs, one file each.
//!
//! `run` of a verb takes its arguments as `cli` read them, does the work and says with which code to end. It returns
//! errors and never prints them; what it prints on stdout is its result.

pub mod completions;
pub mod help;
pub mod version;

use crate::exit::ExitCode;
use anyhow::{Context, Result};
use std::io::{ErrorKind, Write};

/// Prints a result. A reader that has gone away (`ds help | head -1`) has had enough, which is no error.
fn print(output: &mut impl Write, text: &str) -> Result<ExitCode> {
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write the result"),
        _ => Ok(ExitCode::Done),
    }
}
