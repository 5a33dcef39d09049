//! `ds module ACTION`: the work of the flashable module's scripts, which do nothing but call this.
//!
//! Owns the module's identity and the choice of the script. No worker runs it: the first call comes from an installer,
//! before there is a supervisor of this version. It never touches a container.

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

/// Does the work of one script.
///
/// # Errors
/// Away from Android, and what the script's own work answers.
pub fn run(arguments: &Module, paths: &Paths) -> Result<ExitCode> {
    ensure!(is_android(), "this is no Android; the module's scripts call it there");
    match arguments.action {
        // The installer shows what is printed, and nothing else.
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
