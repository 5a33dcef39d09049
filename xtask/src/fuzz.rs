//! `cargo xtask fuzz`: the targets of tests/fuzz.rs for longer than the tests run them.

use crate::process;
use crate::workspace::Workspace;
use anyhow::Result;

/// Runs one target, or all at the same time.
///
/// # Errors
/// If a parser panics; its output has the input.
pub fn run(workspace: &Workspace, target: Option<&str>, seconds: u64) -> Result<()> {
    let mut command = workspace.cargo();
    // Overflows are errors, as in the tests; without optimization, far fewer inputs would be tried.
    command.env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true");
    command.env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true").env("CARGO_PROFILE_RELEASE_LTO", "off");
    command.env("CARGO_TARGET_DIR", workspace.target("fuzz")).env("FUZZ_SECONDS", seconds.to_string());
    command.args(["test", "--release", "--package", "ds", "--test", "fuzz", "--", "--nocapture"]);
    if let Some(target) = target {
        command.args(["--exact", target]);
    }
    process::run(&mut command)
}
