//! `ds module`: what the scripts of the flashable module leave to the program, one file for each.
//!
//! Runs in the process that the script started: there may be no supervisor yet.

mod boot;

use anyhow::{Result, ensure};
use nix::unistd::geteuid;

use crate::cli::{Module, ModuleAction};
use crate::exit::ExitCode;
use crate::paths::Paths;

/// Does what a script wants.
///
/// # Errors
/// What went wrong, for the script's log or the installer's screen.
pub fn run(arguments: &Module, paths: &Paths) -> Result<ExitCode> {
    ensure!(geteuid().is_root(), "must be root");
    match arguments.action {
        ModuleAction::Boot => boot::run(arguments.module.as_deref(), paths),
    }
}
