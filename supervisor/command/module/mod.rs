//! `ds module ACTION`: the tasks of the flashable module's scripts, which only call this.
//!
//! Owns the module's identity and the dispatch of the scripts. It runs without a worker, because an installer makes the
//! first call before a supervisor of this version exists. It never changes a container.

mod action;
mod boot;
mod install;
mod keep;
mod links;
mod manager;
mod place;
mod uninstall;

use std::io;

use anyhow::{Result, ensure};

use super::print;
use crate::cli::{Module, ModuleAction};
use crate::exit::ExitCode;
use crate::paths::Paths;
use crate::platform::is_android;

/// Performs the task of one script.
///
/// # Errors
/// If the system is not Android, or the task fails.
pub fn run(arguments: &Module, paths: &Paths) -> Result<ExitCode> {
    ensure!(is_android(), "this system is not Android; only the module's scripts on Android call this verb");
    match arguments.action {
        // The installer shows only standard output.
        ModuleAction::Install => match install::run(paths) {
            Ok(report) => print(&mut io::stdout(), &report),
            Err(refusal) => {
                print(&mut io::stdout(), &format!("! {refusal:#}\n"))?;
                Ok(ExitCode::Failed)
            }
        },
        ModuleAction::Boot => boot::run(arguments.module.as_deref(), paths),
        ModuleAction::Action => action::run(paths),
        ModuleAction::Uninstall => uninstall::run(paths),
    }
}

#[cfg(test)]
mod tests {
    use super::place::ID;

    #[test]
    fn the_identity_is_that_of_module_prop() {
        let properties = include_str!("../../../module.prop");
        assert!(properties.starts_with(&format!("id={ID}\n")));
    }
}
