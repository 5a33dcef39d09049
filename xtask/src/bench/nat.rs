//! Networks of ds: the additional time of a start with `network.mode = nat`, and the time of a change of published
//! ports among many containers.
//!
//! Owns its containers, which run BusyBox init and differ only in their network.

use super::setup::{Bench, Rounds};
use super::stopwatch::{self, Samples};
use super::table::Row;
use anyhow::Result;

/// Containers that run at the same time.
const MANY: usize = 50;

/// Measures and returns the rows.
///
/// # Errors
/// If `ds` fails.
pub fn measure(bench: &Bench, rounds: &Rounds) -> Result<Vec<Row>> {
    let (mut host, mut nat, mut change) = (Samples::default(), Samples::default(), Samples::default());
    for mode in ["host", "nat"] {
        let rootfs = bench.rootfs("busybox", mode)?;
        bench.ds.quiet(&["create", mode, "--rootfs", &rootfs, "--set", &format!("network.mode={mode}")])?;
    }
    let start = |name: &str, samples: &mut Samples| -> Result<()> {
        samples.push(stopwatch::time(&mut bench.ds.command(&["start", name]))?);
        bench.ds.quiet(&["stop", "--kill", name])?;
        Ok(())
    };
    rounds.each("nat", |_| {
        start("host", &mut host)?;
        start("nat", &mut nat)
    })?;
    let names: Vec<String> = (1..MANY).map(|number| format!("many{number}")).collect();
    for name in &names {
        let rootfs = bench.rootfs("busybox", name)?;
        bench.ds.quiet(&["create", name, "--rootfs", &rootfs, "--set", "network.mode=nat"])?;
        bench.ds.quiet(&["start", name])?;
    }
    bench.ds.quiet(&["start", "nat"])?;
    rounds.each("nat, ports", |round| {
        let ports = format!("network.ports={}:80", 8000 + round);
        change.push(stopwatch::time(&mut bench.ds.command(&["set", "nat", &ports]))?);
        Ok(())
    })?;
    bench.ds.quiet(&["stop", "--kill", "--all"])?;
    for name in names.iter().map(String::as_str).chain(["host", "nat"]) {
        bench.ds.quiet(&["rm", name])?;
    }
    let median = |samples: &Samples| samples.median().unwrap_or_default() * 1e3;
    Ok(vec![
        Row::limit(
            "`ds start` with network.mode = nat, above host",
            median(&nat) - median(&host),
            10.0,
            "ms",
        ),
        Row::limit("changing `network.ports` among 50 containers with nat", median(&change), 100.0, "ms"),
    ])
}
