//! The additional time of a start with seeding if nothing needs to be changed.

use super::difference;
use super::setup::{Bench, Rounds};
use super::table::Row;
use anyhow::Result;

const NAME: &str = "seeding";
/// The number of starts in one round, because the difference is small.
const STARTS: u32 = 4;
/// The permitted additional time of a start.
const MORE_MS: f64 = 1.0;

/// Starts a seeded Debian, against starts of the same one with `seed=no`.
///
/// # Errors
/// If `ds` fails.
pub fn measure(bench: &Bench, rounds: &Rounds) -> Result<Vec<Row>> {
    let rootfs = bench.rootfs("bookworm", NAME)?;
    bench.ds.quiet(&["create", NAME, "--rootfs", &rootfs])?;
    bench.ds.quiet(&["seed", NAME])?;
    let more = difference::measure(bench, rounds, NAME, STARTS, ["seed=yes", "seed=no"])?;
    Ok(vec![Row::limit("seeding in `ds start`, with nothing to change", more, MORE_MS, "ms")])
}
