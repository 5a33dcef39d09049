//! Running one command: `ds run` against nsenter, `ds shell` against bubblewrap and crun.
//!
//! Owns the interleaving of calls that take a few milliseconds: each round has many calls, one of each program in turn.

use super::rivals::{self, Crun};
use super::setup::{Bench, Rounds};
use super::stopwatch::{self, Samples};
use super::table::Row;
use anyhow::Result;
use std::process::Command;

const NAME: &str = "sessions";

/// The number of calls of each program in a round.
const CALLS: usize = 10;

/// `ds run NAME -- true` in a running container.
///
/// # Errors
/// If `ds` fails.
pub fn measure_run(bench: &Bench, rounds: &Rounds) -> Result<Vec<Row>> {
    let rootfs = bench.rootfs("bookworm", NAME)?;
    bench.ds.quiet(&["create", NAME, "--rootfs", &rootfs])?;
    bench.ds.quiet(&["start", NAME, "--wait"])?;
    let pid = bench.ds.pid(NAME)?.to_string();
    let mut ours = Samples::default();
    let mut theirs = Ok(Samples::default());
    rounds.each("run", |_| {
        for _ in 0..CALLS {
            ours.push(stopwatch::time(&mut bench.ds.command(&["run", NAME, "--", "true"]))?);
            add(&mut theirs, Command::new("nsenter").args(["--all", "--target", &pid, "true"]));
        }
        Ok(())
    })?;
    bench.ds.quiet(&["stop", NAME])?;
    bench.ds.quiet(&["rm", NAME])?;
    Ok(vec![Row::ratio("`ds run NAME -- true`", &ours, "nsenter --all true", &theirs, Some(1.0))])
}

/// `ds shell DIR true`, from the start of the command to its end.
///
/// # Errors
/// If `ds` fails.
pub fn measure_shell(bench: &Bench, rounds: &Rounds) -> Result<Vec<Row>> {
    let rootfs = bench.rootfs("bookworm", "shell")?;
    let crun = Crun::new(&bench.folder("crun"), rootfs.as_ref());
    let mut ours = Samples::default();
    let mut without_policy = Samples::default();
    let without = ["shell", "--set=security.privileged=unfiltered-dev", &rootfs, "true"];
    let mut bubblewrap = Ok(Samples::default());
    let mut crun_times = Vec::new();
    // The first call may have to start the supervisor.
    bench.ds.quiet(&["shell", &rootfs, "true"])?;
    rounds.each("shell", |_| {
        for _ in 0..CALLS {
            ours.push(stopwatch::time(&mut bench.ds.command(&["shell", &rootfs, "true"]))?);
            without_policy.push(stopwatch::time(&mut bench.ds.command(&without))?);
            add(&mut bubblewrap, &mut rivals::bubblewrap(rootfs.as_ref()));
            if let Ok(crun) = &crun {
                crun_times.push(crun.run(1)?.median().unwrap_or_default());
            }
        }
        Ok(())
    })?;
    let (crun_name, crun_times) = match crun {
        Ok(crun) if crun.without_unified => ("crun run (where cgroup2 is not mounted)", Ok(crun_times)),
        Ok(_) => ("crun run", Ok(crun_times)),
        Err(error) => ("crun run", Err(error)),
    };
    let policy_ms =
        (ours.median().unwrap_or_default() - without_policy.median().unwrap_or_default()) * 1000.0;
    let crun_times = crun_times.map(|times| times.into_iter().collect());
    Ok(vec![
        Row::ratio("`ds shell DIR true`", &ours, "bwrap", &bubblewrap, Some(1.0)),
        Row::ratio("the same", &ours, crun_name, &crun_times, Some(1.0)),
        Row::limit("its device policy", policy_ms, 0.3, "ms"),
    ])
}

/// Adds a sample of another program; its first failure replaces all samples.
fn add(samples: &mut Result<Samples>, command: &mut Command) {
    if let Ok(good) = samples {
        match stopwatch::time(command) {
            Ok(time) => good.push(time),
            Err(error) => *samples = Err(error),
        }
    }
}
