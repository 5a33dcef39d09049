//! The additional time that a value of a setting causes in a start.

use super::setup::{Bench, Rounds};
use super::stopwatch::{self, Samples};
use anyhow::Result;

/// Starts a stopped container `starts` times in each round with the setting `with`, and as often with `without`. Returns
/// the difference of the medians in milliseconds, and deletes the container.
///
/// # Errors
/// If `ds` fails.
pub fn measure(
    bench: &Bench,
    rounds: &Rounds,
    name: &str,
    starts: u32,
    [with, without]: [&str; 2],
) -> Result<f64> {
    let (mut longer, mut shorter) = (Samples::default(), Samples::default());
    rounds.each(name, |_| {
        for _ in 0..starts {
            for (setting, samples) in [(with, &mut longer), (without, &mut shorter)] {
                bench.ds.quiet(&["set", name, setting])?;
                samples.push(stopwatch::time(&mut bench.ds.command(&["start", name]))?);
                bench.ds.quiet(&["stop", name, "--kill"])?;
            }
        }
        Ok(())
    })?;
    bench.ds.quiet(&["rm", name])?;
    Ok((longer.median().unwrap_or_default() - shorter.median().unwrap_or_default()) * 1e3)
}
