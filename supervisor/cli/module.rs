//! The verbs that the scripts of the flashable module call. No person types them, so no help or completion shows them.
//!
//! Argument structs only, as in `machine`.

use argh::{ArgsInfo, FromArgValue, FromArgs};
use std::path::PathBuf;

/// What a script of the module wants done.
#[derive(FromArgValue, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleAction {
    /// service.sh: start the supervisor, once in each boot of the machine.
    #[argh(name = "boot")]
    Boot,
}

/// Do the work of a script of the flashable module.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "module", example = "ds module boot --module /data/adb/modules/droidspaces")]
pub struct Module {
    /// which script asks
    #[argh(positional, arg_name = "boot")]
    pub action: ModuleAction,
    /// the module's directory
    #[argh(option, arg_name = "DIRECTORY")]
    pub module: Option<PathBuf>,
}
