//! The command line: argv in, one typed verb out.
//!
//! Owns the grammar of `ds` and the words of every usage error. It performs nothing, reads nothing but its arguments
//! and knows nothing of configuration keys or of which containers exist. The structs are argh's (one doc line each is
//! the help text); `normalise` stands in front of argh because argh itself knows neither `--opt=value` nor bundled
//! short options, and `compat` translates the command lines of older tools into the same structs.

pub mod compat;
mod containers;
mod data;
pub mod help;
mod inside;
mod machine;
pub(crate) mod normalise;
pub mod parse;
mod rules;
pub mod table;
pub mod usage;
pub mod value;

pub use containers::{Create, Freeze, Get, Info, List, Restart, RootOption, Set, Start, Stats, Stop, Thaw};
pub use data::{
    Cache, CacheAction, Convert, Copy, Export, Form, Images, Import, Pull, Remove, Rename, Resize, Seed,
};
pub use inside::{Console, Enter, Logs, Run, Shell};
pub use machine::{
    Check, Completions, Doctor, Help, Module, ModuleAction, Rpc, ShellKind, Supervise, Supervisor,
    SupervisorAction, Version,
};
pub use value::{Assignment, Wait};

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
    Freeze(Freeze),
    Thaw(Thaw),
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
    Seed(Seed),
    Images(Images),
    Pull(Pull),
    Cache(Cache),
    Check(Check),
    Doctor(Doctor),
    Supervise(Supervise),
    Supervisor(Supervisor),
    Rpc(Rpc),
    Version(Version),
    Completions(Completions),
    Help(Help),
    Module(Module),
}

#[cfg(test)]
mod tests;
