//! The SELinux policy of the guests, compiled.
//!
//! Owns the call of checkpolicy(8); the policy itself is a file among the tests.

use crate::process;
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// Compiles the policy `source` to `file`, with levels (`:s0`) as on Android. What it has no class for is allowed.
///
/// # Errors
/// What checkpolicy says.
pub fn make(source: &Path, file: &Path) -> Result<()> {
    let mut command = Command::new("checkpolicy");
    command.args(["-M", "-U", "allow", "-o"]).arg(file).arg(source);
    process::run_quietly(&mut command).map(|_| ())
}
