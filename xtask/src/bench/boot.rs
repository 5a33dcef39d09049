//! Booting and stopping: `ds start`, until systemd is up, `ds stop`, against LXC and systemd-nspawn.
//!
//! Owns the interleaved rounds: in each round, every program boots its own copy of the same root file system once.

use super::rivals::{self, Leftovers, Lxc};
use super::setup::{Bench, Rounds};
use super::stopwatch::{self, Samples};
use super::table::Row;
use anyhow::{Context, Result, anyhow};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const NAME: &str = "boot";

/// The results of the rounds.
#[derive(Debug)]
struct Times {
    start: Samples,
    up: Samples,
    /// The boot times that systemd itself reports for the same boots.
    userspace: Samples,
    stop_after_death: Samples,
    lxc_start: Result<Samples>,
    lxc_up: Result<Samples>,
    nspawn_up: Result<Samples>,
}

/// Measures and returns the rows.
///
/// # Errors
/// If `ds` fails; the failure of another program is shown in its row.
pub fn measure(bench: &Bench, rounds: &Rounds) -> Result<Vec<Row>> {
    let rootfs = bench.rootfs("bookworm", NAME)?;
    bench.ds.quiet(&["create", NAME, "--rootfs", &rootfs])?;
    let _leftovers = Leftovers::note();
    let lxc_rootfs = bench.rootfs("bookworm", "lxc")?;
    let lxc = Lxc::new(&bench.folder("lxc"), "bench", lxc_rootfs.as_ref())?;
    let nspawn_rootfs = bench.rootfs("bookworm", "nspawn")?;
    let mut times = Times {
        start: Samples::default(),
        up: Samples::default(),
        userspace: Samples::default(),
        stop_after_death: Samples::default(),
        lxc_start: Ok(Samples::default()),
        lxc_up: Ok(Samples::default()),
        nspawn_up: Ok(Samples::default()),
    };
    rounds.each("boot", |_| {
        ours(bench, &mut times)?;
        attempt_pair(&mut times.lxc_start, &mut times.lxc_up, || lxc_round(&lxc));
        stopwatch::attempt(&mut times.nspawn_up, || {
            rivals::nspawn(&bench.folder(""), nspawn_rootfs.as_ref())
        });
        Ok(())
    })?;
    bench.ds.quiet(&["rm", NAME])?;
    Ok(rows(&times))
}

fn rows(times: &Times) -> Vec<Row> {
    let itself = Ok(times.userspace.clone());
    let stop = times.stop_after_death.median().unwrap_or_default() * 1e3;
    vec![
        Row::ratio("`ds start`, until it returns", &times.start, "lxc-start -d", &times.lxc_start, Some(0.4)),
        Row::ratio(
            "`ds start NAME --wait`: systemd is `running`",
            &times.up,
            "systemd's own figure",
            &itself,
            Some(1.1),
        ),
        Row::ratio("the same, seeded", &times.up, "LXC, not seeded", &times.lxc_up, Some(0.8)),
        Row::ratio("the same", &times.up, "systemd-nspawn", &times.nspawn_up, None),
        Row::limit("`ds stop` returns after the end of PID 1", stop, 10.0, "ms"),
    ]
}

/// Two boots: one to time `ds start`, one to time `ds start --wait`.
fn ours(bench: &Bench, times: &mut Times) -> Result<()> {
    times.start.push(stopwatch::time(&mut bench.ds.command(&["start", NAME]))?);
    // A stop during the boot takes longer, so wait for the end of the boot.
    bench.ds.quiet(&["start", NAME, "--wait"])?;
    times.stop_after_death.push(stop(bench)?);
    times.up.push(stopwatch::time(&mut bench.ds.command(&["start", NAME, "--wait"]))?);
    let show = ["run", NAME, "--", "systemctl", "show"];
    let properties = ["--property=UserspaceTimestampMonotonic", "--property=FinishTimestampMonotonic"];
    let text = bench.ds.quiet(&[&show[..], &properties[..]].concat())?;
    times.userspace.push(userspace(&text)?);
    times.stop_after_death.push(stop(bench)?);
    Ok(())
}

/// The time between the end of PID 1 and the return of `ds stop`.
fn stop(bench: &Bench) -> Result<Duration> {
    let death = stopwatch::watch_end(bench.ds.pid(NAME)?)?;
    stopwatch::time(&mut bench.ds.command(&["stop", NAME]))?;
    let returned = Instant::now();
    let died = death.join().map_err(|_| anyhow!("the watch for the end of PID 1 panicked"))??;
    Ok(returned.saturating_duration_since(died))
}

/// From the start of PID 1 to the end of the last start job, as systemd-analyze(1) counts; both are microseconds.
fn userspace(properties: &str) -> Result<Duration> {
    let values: BTreeMap<_, _> = properties.lines().filter_map(|line| line.split_once('=')).collect();
    let read = |name: &str| -> Result<u64> {
        values
            .get(name)
            .and_then(|value| value.trim().parse().ok())
            .with_context(|| format!("systemd does not report {name}"))
    };
    let (begin, end) = (read("UserspaceTimestampMonotonic")?, read("FinishTimestampMonotonic")?);
    Ok(Duration::from_micros(end.checked_sub(begin).context("systemd has not finished starting")?))
}

fn lxc_round(lxc: &Lxc) -> Result<(Duration, Duration)> {
    let started = Instant::now();
    let start = lxc.start()?;
    lxc.wait()?;
    let up = started.elapsed();
    lxc.stop()?;
    Ok((start, up))
}

fn attempt_pair(
    first: &mut Result<Samples>,
    second: &mut Result<Samples>,
    measure: impl FnOnce() -> Result<(Duration, Duration)>,
) {
    if let (Ok(one), Ok(two)) = (&mut *first, &mut *second) {
        match measure() {
            Ok(times) => {
                one.push(times.0);
                two.push(times.1);
            }
            Err(error) => {
                *second = Err(anyhow!("{error:#}"));
                *first = Err(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::userspace;
    use std::time::Duration;

    #[test]
    fn the_userspace_time_is_the_difference() {
        let text = "FinishTimestampMonotonic=5300000\nUserspaceTimestampMonotonic=5000000\n";
        assert_eq!(userspace(text).unwrap(), Duration::from_millis(300));
        assert!(userspace("FinishTimestampMonotonic=0\nUserspaceTimestampMonotonic=5\n").is_err());
        assert!(userspace("").is_err());
    }
}
