//! Many containers at once: twenty started by one command against one.
//!
//! Owns the comparison only; all twenty are copies of the same small root file system.

use super::resident::{remove, start_several};
use super::stopwatch::{self, Samples};
use super::table::Row;
use super::{Bench, Rounds};
use anyhow::Result;

const NUMBER: u32 = 20;

/// `ds start` with twenty names against one.
///
/// # Errors
/// If `ds` fails.
pub fn measure(bench: &Bench, rounds: &Rounds) -> Result<Vec<Row>> {
    let names = start_several(bench, "many", NUMBER)?;
    let words = |verb: &[&'static str], names: &[String]| -> Vec<String> {
        verb.iter().map(|word| (*word).to_owned()).chain(names.iter().cloned()).collect()
    };
    let one = names.get(..1).unwrap_or_default();
    let mut all_times = Samples::default();
    let mut one_times = Samples::default();
    bench.ds.quiet(&words(&["stop", "--kill"], &names))?;
    rounds.each("many", |_| {
        one_times.push(stopwatch::time(&mut bench.ds.command(&words(&["start"], one)))?);
        bench.ds.quiet(&words(&["stop", "--kill"], one))?;
        all_times.push(stopwatch::time(&mut bench.ds.command(&words(&["start"], &names)))?);
        bench.ds.quiet(&words(&["stop", "--kill"], &names))?;
        Ok(())
    })?;
    remove(bench, &names)?;
    Ok(vec![Row::ratio("`ds start` of 20 containers", &all_times, "of one", &Ok(one_times), Some(8.0))])
}
