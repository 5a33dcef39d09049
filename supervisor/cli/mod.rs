//! The command line: argv in, one typed verb out.
//!
//! Owns the grammar of `ds` and the text of every usage error. It reads nothing but its arguments, changes nothing, and
//! knows neither configuration keys nor containers. The structs are argh's; the documentation of a field is its help
//! text. `normalise` rewrites a command line before argh reads it, because argh supports neither `--opt=value` nor
//! bundled short options. `compat` translates the command lines of older tools into the same structs.

pub mod bytes;
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
    SupervisorAction, Version, Web,
};
pub use value::{Assignment, Wait};

use argh::{ArgsInfo, FromArgs};

/// All verbs of `ds`.
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
    Web(Web),
    Version(Version),
    Completions(Completions),
    Help(Help),
    Module(Module),
}

#[cfg(test)]
mod tests;
