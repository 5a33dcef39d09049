//! Compiles the SELinux policy of the guests.
//!
//! Owns the call of checkpolicy(8). The source of the policy is `tests/vm/policy.conf`.

use crate::process;
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// Compiles the policy `source` to `file`, with levels (`:s0`) as on Android. The policy allows actions of
/// classes that it does not define.
///
/// # Errors
/// If checkpolicy fails.
pub fn make(source: &Path, file: &Path) -> Result<()> {
    let mut command = Command::new("checkpolicy");
    command.args(["-M", "-U", "allow", "-o"]).arg(file).arg(source);
    process::run_quietly(&mut command).map(|_| ())
}
