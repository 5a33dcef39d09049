//! Fault injection for tests: a start can fail, die or hang at any of its stages.
//!
//! Owns `DS_FAIL_AT=STAGE:ACTION` in the environment of the supervisor, only in builds with debug assertions. In
//! release builds, [`point`] does nothing and the variable is ignored. Actions: `fail` (an error), `kill` (the process
//! ends immediately), `pause` (it hangs, with the name `paused`).

use std::ffi::CString;

use anyhow::{Result, bail};
use nix::sys::prctl;
use nix::unistd::pause;

use crate::sys::process::exit_immediately;

/// The variable with stage and action.
const VARIABLE: &str = "DS_FAIL_AT";

/// A stage that a test may select.
///
/// # Errors
/// If the stage must fail.
pub fn point(stage: &str) -> Result<()> {
    if !cfg!(debug_assertions) {
        return Ok(());
    }
    let chosen = std::env::var(VARIABLE).unwrap_or_default();
    match chosen.split_once(':') {
        Some((place, action)) if place == stage => act(stage, action),
        _ => Ok(()),
    }
}

/// No signal is used, because PID 1 of a namespace cannot kill or stop itself.
fn act(stage: &str, action: &str) -> Result<()> {
    match action {
        "kill" => exit_immediately(1),
        "pause" => {
            let _ = prctl::set_name(c"paused");
            loop {
                pause();
            }
        }
        _ => bail!("injected fault at {stage}"),
    }
}

/// The variable for the executed copy of the program, whose environment is otherwise clean.
#[must_use]
pub fn inherited() -> Option<CString> {
    let chosen = std::env::var(VARIABLE).ok().filter(|_| cfg!(debug_assertions))?;
    CString::new(format!("{VARIABLE}={chosen}")).ok()
}
