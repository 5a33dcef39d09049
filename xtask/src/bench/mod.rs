//! `cargo xtask bench`: measures speed and size against other programs on this machine.
//!
//! Owns the list of measurements and the folder `target/bench/`, where every program gets its own copy of the same root
//! file system. Rounds are interleaved, so that a change of the machine's speed affects all programs. It is never part
//! of the tests, because the numbers of one machine are not valid for another.

mod boot;
mod catalogue;
mod devices;
mod difference;
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
mod setup;
mod stock;
mod stopwatch;
mod switch;
mod table;
mod wires;

use crate::droidspaces::Droidspaces;
use crate::interrupt::Interrupt;
use crate::workspace::Workspace;
use crate::zip;
use crate::{binary, fixture, packages, terminal};
use anyhow::{Context, Result, bail};
use setup::{Bench, Rounds};
use std::fs;
use std::process::Command;
use table::Row;

/// A group of rows that are measured together.
type Measure = fn(&Bench, &Rounds) -> Result<Vec<Row>>;

const MEASURES: &[(&str, Measure)] = &[
    ("boot", boot::measure),
    ("run", sessions::measure_run),
    ("shell", sessions::measure_shell),
    ("memory", resident::measure_memory),
    ("idle", resident::measure_idle),
    ("many", many::measure),
    ("nat", nat::measure),
    ("wires", wires::measure),
    ("switch", switch::measure),
    ("images", images::measure_start),
    ("archives", images::measure_archives),
    ("catalogue", catalogue::measure),
    ("seeding", seeding::measure),
    ("services", services::measure),
    ("devices", devices::measure),
    ("page", page::measure),
    ("stock", stock::measure),
];

/// What to measure and how to show it.
#[derive(Debug)]
pub struct Options {
    /// Rounds of each measurement.
    pub rounds: u32,
    /// The groups to measure; all if empty.
    pub names: Vec<String>,
    /// Print the README's table.
    pub markdown: bool,
}

/// Measures and prints the table; returns whether every target was reached.
///
/// # Errors
/// If nothing can be measured at all. A single failure becomes a row of the table.
pub fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let chosen = choose(&options.names)?;
    if !rustix::process::geteuid().is_root() {
        bail!("the bench boots containers and needs root");
    }
    packages::ensure(packages::Verb::Bench)?;
    let program = zip::own_program(workspace)?;
    fixture::ensure(workspace, &["bookworm", "busybox", "services"])?;
    let rounds = Rounds { number: options.rounds.max(1), interrupt: Interrupt::catch()? };
    let needs_probe = chosen.iter().any(|(name, _)| *name == "stock");
    let bench = Bench {
        ds: Droidspaces::new(program, workspace.target("bench")),
        fixtures: workspace.fixtures(),
        probe: needs_probe.then(|| binary::build_probe(workspace)).transpose()?,
    };
    let mut rows = Vec::new();
    for (name, measure) in chosen {
        bench.ds.clear().context("cannot remove the files of the last run")?;
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
        bail!("no measurement {unknown}; use one of {}", known());
    }
    Ok(MEASURES
        .iter()
        .copied()
        .filter(|(name, _)| names.is_empty() || names.iter().any(|wanted| wanted == name))
        .collect())
}

/// Runs a command this number of times and prints the seconds of each run, for measurements in another mount namespace.
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
