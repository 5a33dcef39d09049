//! Processor time of a container in which the usual services run and nothing happens.

use super::setup::{Bench, Rounds};
use super::table::Row;
use anyhow::{Context, Result};
use std::thread;
use std::time::Duration;

const NAME: &str = "services";
/// Until the services have finished what they do at their start.
const SETTLE: Duration = Duration::from_secs(60);
const WINDOW: Duration = Duration::from_secs(60);
/// Percent of one processor.
const TARGET: f64 = 0.5;

/// One minute of an idle Debian with the services of the fixture of that name.
///
/// # Errors
/// If `ds` fails, or counts no processor time.
pub fn measure(bench: &Bench, _: &Rounds) -> Result<Vec<Row>> {
    let rootfs = bench.rootfs(NAME, NAME)?;
    bench.ds.quiet(&["create", NAME, "--rootfs", &rootfs])?;
    bench.ds.quiet(&["start", NAME, "--wait"])?;
    thread::sleep(SETTLE);
    let before = used(bench)?;
    thread::sleep(WINDOW);
    let percent = (used(bench)? - before) / WINDOW.as_secs_f64() * 100.0;
    bench.ds.quiet(&["stop", NAME])?;
    bench.ds.quiet(&["rm", NAME])?;
    Ok(vec![Row::limit(
        "processor time of 16 idle services (systemd, Debian)",
        percent,
        TARGET,
        "% of one processor",
    )])
}

/// Seconds of processor time since the start of the container.
fn used(bench: &Bench) -> Result<f64> {
    let text = bench.ds.quiet(&["stats", NAME, "--json"])?;
    let stats: serde_json::Value = serde_json::from_str(&text)?;
    stats["containers"][0]["cpu_s"].as_f64().with_context(|| format!("no processor time in {text}"))
}
