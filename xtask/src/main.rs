//! `cargo xtask VERB`: the one entry point for people and CI.
//!
//! Owns the command line of xtask and the way its errors are shown. Each verb lives in the module of its name. Every verb
//! does its own set-up, so that one command on a fresh machine is enough.

mod binary;
mod fixture;
mod packages;
mod process;
mod terminal;
mod workspace;

use anyhow::Result;
use argh::FromArgs;
use binary::Profile;
use std::process::ExitCode;
use workspace::Workspace;

/// Builds, shows, tests and measures the project; installs what that needs.
#[derive(FromArgs, Debug)]
struct Arguments {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum Verb {
    Build(Build),
    Fixtures(Fixtures),
}

/// build the static ds for this machine
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "build")]
struct Build {
    /// quick to build, with fault injection
    #[argh(switch)]
    debug: bool,
}

/// build root file systems from Debian's packages
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "fixtures")]
struct Fixtures {
    /// which ones; all of them when none is named
    #[argh(positional)]
    names: Vec<String>,
}

fn main() -> ExitCode {
    let arguments: Arguments = argh::from_env();
    match perform(arguments.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::line(format_args!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn perform(verb: Verb) -> Result<()> {
    let workspace = Workspace::find()?;
    match verb {
        Verb::Build(Build { debug }) => {
            binary::build(&workspace, if debug { Profile::Debug } else { Profile::Release }).map(|_| ())
        }
        Verb::Fixtures(Fixtures { names }) => {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            for path in fixture::ensure(&workspace, &names)? {
                terminal::line(path.display());
            }
            Ok(())
        }
    }
}
