//! The additional time of a start that the device program takes, with the kernel's verification of it.

use super::setup::{Bench, Rounds};
use super::stopwatch::{self, Samples};
use super::table::Row;
use anyhow::{Result, ensure};

const NAME: &str = "devices";
/// The number of starts in one round, because the difference is small.
const STARTS: u32 = 8;
/// The permitted additional time of a start.
const MORE_MS: f64 = 0.3;

/// Starts a container with its device policy, against starts of the same one without a policy.
///
/// # Errors
/// If `ds` fails, or if the machine does not enforce the policy with a program.
pub fn measure(bench: &Bench, rounds: &Rounds) -> Result<Vec<Row>> {
    let rootfs = bench.rootfs("busybox", NAME)?;
    bench.ds.quiet(&["create", NAME, "--rootfs", &rootfs])?;
    bench.ds.quiet(&["start", NAME])?;
    let enforced = bench.ds.info(NAME)?["devices"]["enforced_by"].clone();
    bench.ds.quiet(&["stop", NAME, "--kill"])?;
    ensure!(enforced == "program", "this machine enforces the device policy by other means: {enforced}");
    let (mut with, mut without) = (Samples::default(), Samples::default());
    rounds.each("devices", |_| {
        for _ in 0..STARTS {
            for (value, samples) in [("no", &mut with), ("unfiltered-dev", &mut without)] {
                bench.ds.quiet(&["set", NAME, &format!("security.privileged={value}")])?;
                samples.push(stopwatch::time(&mut bench.ds.command(&["start", NAME]))?);
                bench.ds.quiet(&["stop", NAME, "--kill"])?;
            }
        }
        Ok(())
    })?;
    bench.ds.quiet(&["rm", NAME])?;
    let more = (with.median().unwrap_or_default() - without.median().unwrap_or_default()) * 1e3;
    Ok(vec![Row::limit("the device program in `ds start`", more, MORE_MS, "ms")])
}
