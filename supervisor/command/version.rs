//! `ds version [--json]`: which build this is.
//!
//! Needs no supervisor, no root and no data directory. The protocol number tells a client and a supervisor of
//! different builds whether they can talk to each other.

use crate::{cli::Version, command::print, exit::ExitCode};
use anyhow::Result;
use serde::Serialize;
use std::io::Write;

/// The version of this build, as in Cargo.toml.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Number of the protocol between client and supervisor; goes up with every change an older side cannot follow.
pub const PROTOCOL: u32 = 1;

#[derive(Serialize)]
struct Document {
    version: &'static str,
    protocol: u32,
}

/// Prints the version.
///
/// # Errors
/// When `output` cannot be written to.
pub fn run(arguments: &Version, output: &mut impl Write) -> Result<ExitCode> {
    let text = if arguments.json {
        serde_json::to_string(&Document { version: VERSION, protocol: PROTOCOL })?
    } else {
        format!("ds {VERSION} (protocol {PROTOCOL})")
    };
    print(output, &format!("{text}\n"))
}
