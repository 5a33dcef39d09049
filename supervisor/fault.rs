//! Faults on purpose, for tests: a start can be made to fail, die or stand still at any of its stages.
//!
//! `DS_FAIL_AT=STAGE:ACTION` in the environment of the supervisor, in builds with debug assertions only; in what is
//! shipped, [`point`] does nothing and the variable has no meaning. Actions: `fail` (an error), `kill` (the process
//! that reaches the stage is gone at once), `pause` (it stands still for ever, under the name `paused`).

use std::ffi::CString;

use anyhow::{Result, bail};
use nix::sys::prctl;
use nix::unistd::pause;

use crate::sys::process::exit_immediately;

/// The variable that says where, and how.
const VARIABLE: &str = "DS_FAIL_AT";

/// A stage that a test may choose.
///
/// # Errors
/// When the stage is to fail.
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

/// No signal is used: PID 1 of a namespace cannot kill or stop itself.
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

/// The variable as it is handed on to the copy of the program, whose environment is otherwise clean.
#[must_use]
pub fn inherited() -> Option<CString> {
    let chosen = std::env::var(VARIABLE).ok().filter(|_| cfg!(debug_assertions))?;
    CString::new(format!("{VARIABLE}={chosen}")).ok()
}
