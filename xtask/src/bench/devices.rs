//! The additional time of a start that the device program takes, with the kernel's verification of it.

use super::difference;
use super::setup::{Bench, Rounds};
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
    let settings = ["security.privileged=no", "security.privileged=unfiltered-dev"];
    let more = difference::measure(bench, rounds, NAME, STARTS, settings)?;
    Ok(vec![Row::limit("the device program in `ds start`", more, MORE_MS, "ms")])
}
