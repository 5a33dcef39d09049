//! `cargo xtask bench`: speed and size, against the programs people use today, on this machine in this hour.
//!
//! Owns the list of measurements and the folder `target/bench/`, where every program gets its own copy of the same root
//! file system. Rounds are interleaved, so that a machine that slows down does so for all. Never part of the tests:
//! numbers of one machine say nothing about another.

mod boot;
mod catalogue;
mod images;
mod machine;
mod many;
mod nat;
mod page;
mod resident;
mod rivals;
mod seeding;
mod services;
mod sessions;
mod stopwatch;
mod table;

use crate::droidspaces::Droidspaces;
use crate::interrupt::Interrupt;
use crate::workspace::Workspace;
use crate::zip;
use crate::{fixture, packages, terminal};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use table::Row;

/// A group of rows that is measured together.
type Measure = fn(&Bench, &Rounds) -> Result<Vec<Row>>;

const MEASURES: &[(&str, Measure)] = &[
    ("boot", boot::measure),
    ("run", sessions::measure_run),
    ("shell", sessions::measure_shell),
    ("memory", resident::measure_memory),
    ("idle", resident::measure_idle),
    ("many", many::measure),
    ("nat", nat::measure),
    ("images", images::measure_start),
    ("archives", images::measure_archives),
    ("catalogue", catalogue::measure),
    ("seeding", seeding::measure),
    ("services", services::measure),
    ("page", page::measure),
];

/// The `ds` under test and the folder everything happens in.
#[derive(Debug)]
struct Bench {
    ds: Droidspaces,
    fixtures: PathBuf,
}

impl Bench {
    /// A path below `target/bench/`.
    fn folder(&self, name: &str) -> PathBuf {
        self.ds.root().join("bench").join(name)
    }

    /// A fresh copy of a fixture, as text for command lines.
    fn rootfs(&self, fixture: &str, name: &str) -> Result<String> {
        let path = self.folder(&format!("{name}.rootfs"));
        fixture::copy(&self.fixtures.join(fixture), &path)?;
        path.into_os_string().into_string().ok().context("the path of the source tree is not UTF-8")
    }
}

/// How often everything is measured.
#[derive(Debug)]
struct Rounds {
    number: u32,
    interrupt: Interrupt,
}

impl Rounds {
    /// Calls `round` so many times. The first finds cold caches and counts like the rest: a median does not mind.
    fn each(&self, what: &str, mut round: impl FnMut(u32) -> Result<()>) -> Result<()> {
        for number in 0..self.number {
            self.interrupt.check()?;
            round(number).with_context(|| format!("{what}, round {}", number + 1))?;
        }
        Ok(())
    }
}

/// What to measure and how to show it.
#[derive(Debug)]
pub struct Options {
    /// Rounds of each measurement.
    pub rounds: u32,
    /// Which groups; all when empty.
    pub names: Vec<String>,
    /// Print the README's table.
    pub markdown: bool,
}

/// Measures and prints the table; true when every target was reached.
///
/// # Errors
/// If nothing can be measured at all. What fails on its own is a row of the table.
pub fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let chosen = choose(&options.names)?;
    if !rustix::process::geteuid().is_root() {
        bail!("the bench boots containers and needs root");
    }
    packages::ensure(packages::Verb::Bench)?;
    let program = zip::own_program(workspace)?;
    fixture::ensure(workspace, &["bookworm", "busybox", "services"])?;
    let rounds = Rounds { number: options.rounds.max(1), interrupt: Interrupt::catch()? };
    let bench =
        Bench { ds: Droidspaces::new(program, workspace.target("bench")), fixtures: workspace.fixtures() };
    let mut rows = Vec::new();
    for (name, measure) in chosen {
        bench.ds.clear().context("cannot put the last measurement away")?;
        fs::create_dir_all(bench.folder(""))?;
        terminal::line(format_args!("measuring: {name}"));
        match measure(&bench, &rounds) {
            Ok(more) => rows.extend(more),
            Err(error) => rows.push(Row::failed(name, &error)),
        }
        if let Err(error) = rounds.interrupt.check() {
            bench.ds.clear()?;
            return Err(error);
        }
    }
    bench.ds.clear()?;
    let table = if options.markdown { table::markdown(&rows) } else { table::text(&rows) };
    terminal::line(format_args!(
        "\n{table}\nMedians of {} interleaved rounds on {}",
        rounds.number,
        machine::describe()
    ));
    Ok(!rows.iter().any(Row::is_missed))
}

fn choose(names: &[String]) -> Result<Vec<(&'static str, Measure)>> {
    let known = || MEASURES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = names.iter().find(|name| !MEASURES.iter().any(|(known, _)| known == name)) {
        bail!("nothing called {unknown} is measured; there are {}", known());
    }
    Ok(MEASURES
        .iter()
        .copied()
        .filter(|(name, _)| names.is_empty() || names.iter().any(|wanted| wanted == name))
        .collect())
}

/// Runs a command so many times and prints how many seconds each run took: for commands that must be measured in another
/// mount namespace than ours.
///
/// # Errors
/// If the command fails.
pub fn print_times(times: u32, command: &[String]) -> Result<()> {
    let (program, arguments) = command.split_first().context("no command to measure")?;
    for _ in 0..times {
        let took = stopwatch::time(Command::new(program).args(arguments))?;
        terminal::line(format_args!("{:.9}", took.as_secs_f64()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn measurements_are_chosen_by_name() {
        let names = |chosen: Vec<(&'static str, super::Measure)>| {
            chosen.iter().map(|(name, _)| *name).collect::<Vec<_>>()
        };
        assert_eq!(names(choose(&["idle".into(), "boot".into()]).unwrap()), ["boot", "idle"]);
        assert!(choose(&["taste".into()]).is_err());
    }
}
