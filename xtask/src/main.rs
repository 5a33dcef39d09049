//! `cargo xtask VERB`: the entry point for developers and CI.
//!
//! Owns the command line of xtask and the display of errors. Each verb is in the module of its name and installs its
//! own dependencies, so that one command is sufficient on a new machine.

mod bench;
mod binary;
mod demo;
mod droidspaces;
mod fixture;
mod fuzz;
mod interrupt;
mod packages;
mod page;
mod process;
mod suite;
mod tally;
mod terminal;
mod traces;
mod vm;
mod workspace;
mod zip;

use anyhow::Result;
use argh::FromArgs;
use binary::Profile;
use std::process::ExitCode;
use workspace::Workspace;

/// Builds, demonstrates, tests and measures the project; installs the required packages.
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
    Demo(Demo),
    Test(Test),
    Fuzz(Fuzz),
    Bench(Bench),
    Package(Package),
    Page(Page),
    Stopwatch(Stopwatch),
}

/// build the static ds for this machine
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "build")]
struct Build {
    /// build faster, with fault injection
    #[argh(switch)]
    debug: bool,
}

/// build root file systems from Debian's packages
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "fixtures")]
struct Fixtures {
    /// the names of the fixtures; by default, all except the special ones
    #[argh(positional)]
    names: Vec<String>,
}

/// boot a real Debian, use it, reboot it, stop it, and check that nothing is left behind
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "demo")]
struct Demo {}

/// run all checks and tests; the last line has the totals
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "test")]
struct Test {
    /// only this suite (may be repeated): lint, unit, xtask, layering, docs, fuzz, cli, daemon, root, module, web, vm
    #[argh(option)]
    suite: Vec<String>,
    /// the version of the stock kernel of phones: 6.1 (the default) or 5.10
    #[argh(option)]
    stock_kernel: Option<String>,
    /// only tests with this text in their name
    #[argh(positional)]
    filter: Option<String>,
}

/// feed parsers with damaged inputs, for longer than the tests do
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "fuzz")]
struct Fuzz {
    /// the duration in seconds (60)
    #[argh(option, default = "60")]
    seconds: u64,
    /// only this target: ini, tar, mountinfo, packets, superblocks, image_index, uevents
    #[argh(positional)]
    target: Option<String>,
}

/// measure speed and size against LXC, systemd-nspawn, bubblewrap, crun and nsenter
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "bench")]
struct Bench {
    /// the number of rounds of each measurement (15)
    #[argh(option, default = "15")]
    rounds: u32,
    /// print the table of the README
    #[argh(switch)]
    markdown: bool,
    /// only these measurements: boot, run, shell, memory, idle, many, nat, wires, images, archives
    #[argh(positional)]
    names: Vec<String>,
}

/// build the module's zip for root managers
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "package")]
struct Package {
    /// only for this processor (may be repeated): arm64, arm, x64
    #[argh(option)]
    architecture: Vec<String>,
    /// build it twice, from two directories, and compare the results
    #[argh(switch)]
    verify: bool,
}

/// build the module's page from webroot/
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "page")]
struct Page {}

/// print the seconds of each run of a command; bench calls this in other namespaces
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "stopwatch")]
struct Stopwatch {
    /// the number of runs
    #[argh(positional)]
    times: u32,
    /// the command
    #[argh(positional, greedy)]
    command: Vec<String>,
}

fn main() -> ExitCode {
    let arguments: Arguments = argh::from_env();
    perform(arguments.verb).unwrap_or_else(|error| {
        terminal::line(format_args!("xtask: {error:#}"));
        ExitCode::FAILURE
    })
}

fn perform(verb: Verb) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    match verb {
        Verb::Build(Build { debug }) => {
            binary::build(&workspace, if debug { Profile::Debug } else { Profile::Release })?;
        }
        Verb::Fixtures(Fixtures { names }) => {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            for path in fixture::ensure(&workspace, &names)? {
                terminal::line(path.display());
            }
        }
        Verb::Demo(Demo {}) => demo::run(&workspace)?,
        Verb::Test(Test { suite, stock_kernel, filter }) => {
            let kernel = vm::stock_kernel(stock_kernel.as_deref())?;
            return suite::run(&workspace, &suite, filter.as_deref(), kernel);
        }
        Verb::Fuzz(Fuzz { seconds, target }) => fuzz::run(&workspace, target.as_deref(), seconds)?,
        Verb::Bench(Bench { rounds, markdown, names }) => {
            let all_reached = bench::run(&workspace, &bench::Options { rounds, names, markdown })?;
            return Ok(if all_reached { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Verb::Package(Package { architecture, verify }) => {
            zip::run(&workspace, &zip::Options { architectures: architecture, verify })?;
        }
        Verb::Page(Page {}) => terminal::line(page::build(&workspace)?.display()),
        Verb::Stopwatch(Stopwatch { times, command }) => bench::print_times(times, &command)?,
    }
    Ok(ExitCode::SUCCESS)
}
