//! The command line: argv in, one typed verb out.
//!
//! Owns the grammar of `ds` and the words of every usage error. It performs nothing, reads nothing but its arguments
//! and knows nothing of configuration keys or of which containers exist. The structs are argh's (one doc line each is
//! the help text); `normalise` stands in front of argh because argh itself knows neither `--opt=value` nor bundled
//! short options, and `compat` translates the command lines of older tools into the same structs.

mod containers;
mod data;
mod inside;
mod machine;
pub mod value;

pub use containers::{Create, Get, Info, List, Restart, Set, Source, Start, Stats, Stop};
pub use data::{Convert, Copy, Export, Form, Images, Import, Pull, Remove, Rename, Resize};
pub use inside::{Console, Enter, Logs, Run, Shell};
pub use machine::{
    Check, Completions, Doctor, Help, Rpc, ShellKind, Supervise, Supervisor, SupervisorAction, Version,
};

use crate::exit::ExitCode;
use argh::{ArgsInfo, FromArgs};

/// Everything `ds` can be asked to do.
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand)]
#[allow(missing_docs, reason = "each variant is documented at the struct it holds")]
pub enum Command {
    Create(Create),
    Start(Start),
    Stop(Stop),
    Restart(Restart),
    List(List),
    Info(Info),
    Stats(Stats),
    Get(Get),
    Set(Set),
    Run(Run),
    Enter(Enter),
    Shell(Shell),
    Console(Console),
    Logs(Logs),
    Remove(Remove),
    Rename(Rename),
    Copy(Copy),
    Export(Export),
    Import(Import),
    Resize(Resize),
    Convert(Convert),
    Images(Images),
    Pull(Pull),
    Check(Check),
    Doctor(Doctor),
    Supervise(Supervise),
    Supervisor(Supervisor),
    Rpc(Rpc),
    Version(Version),
    Completions(Completions),
    Help(Help),
}

/// A command line that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// What to do, with its arguments.
    pub command: Command,
}

/// A command line that ends here: it asked for help, or it is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// What to print, ending in a newline. One line when the command line is wrong.
    pub text: String,
    /// Help that was asked for goes to stdout; everything else to stderr.
    pub to_stdout: bool,
}

impl Usage {
    /// 0 when help was asked for, 2 when the command line is wrong.
    #[must_use]
    pub const fn exit_code(&self) -> ExitCode {
        if self.to_stdout { ExitCode::Done } else { ExitCode::Usage }
    }
}
