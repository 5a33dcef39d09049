//! `ds version [--json]`: the version of this build.
//!
//! Owns the version and the protocol number, from which a client and a supervisor of different builds know whether they
//! are compatible. Needs no supervisor, no root and no data directory.

use crate::{cli::Version, command::print, exit::ExitCode};
use anyhow::Result;
use serde::Serialize;
use std::io::Write;

/// The version of this build, as in Cargo.toml.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The protocol number between client and supervisor. It increases with every incompatible change.
pub const PROTOCOL: u32 = 1;

#[derive(Serialize)]
struct Document {
    version: &'static str,
    protocol: u32,
}

/// Prints the version.
///
/// # Errors
/// If `output` cannot be written.
pub fn run(arguments: &Version, output: &mut impl Write) -> Result<ExitCode> {
    let text = if arguments.json {
        serde_json::to_string(&Document { version: VERSION, protocol: PROTOCOL })?
    } else {
        format!("ds {VERSION} (protocol {PROTOCOL})")
    };
    print(output, &format!("{text}\n"))
}
