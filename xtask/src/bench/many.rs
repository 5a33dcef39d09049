//! Many containers at once: twenty started by one command, against one and against LXC's twenty.
//!
//! Owns only the comparison; all containers are copies of the same small root file system. LXC has no command that
//! starts several at once, so they are started one after the other, as by `lxc-autostart`.

use super::resident::{remove, start_several};
use super::rivals::{Leftovers, Lxc};
use super::setup::{Bench, Rounds};
use super::stopwatch::{self, Samples};
use super::table::Row;
use anyhow::Result;
use std::time::Duration;

const NUMBER: u32 = 20;

/// `ds start` with twenty names against one, and against LXC.
///
/// # Errors
/// If `ds` fails.
pub fn measure(bench: &Bench, rounds: &Rounds) -> Result<Vec<Row>> {
    let _leftovers = Leftovers::note();
    let names = start_several(bench, "many", NUMBER)?;
    let words = |verb: &[&'static str], names: &[String]| -> Vec<String> {
        verb.iter().map(|word| (*word).to_owned()).chain(names.iter().cloned()).collect()
    };
    let one = names.get(..1).unwrap_or_default();
    let (mut all_times, mut one_times) = (Samples::default(), Samples::default());
    let mut lxc_times = Ok(Samples::default());
    let rivals = lxc_containers(bench)?;
    bench.ds.quiet(&words(&["stop", "--kill"], &names))?;
    rounds.each("many", |_| {
        one_times.push(stopwatch::time(&mut bench.ds.command(&words(&["start"], one)))?);
        bench.ds.quiet(&words(&["stop", "--kill"], one))?;
        all_times.push(stopwatch::time(&mut bench.ds.command(&words(&["start"], &names)))?);
        bench.ds.quiet(&words(&["stop", "--kill"], &names))?;
        stopwatch::attempt(&mut lxc_times, || start_and_kill(&rivals));
        Ok(())
    })?;
    remove(bench, &names)?;
    let what = "`ds start` of 20 containers";
    Ok(vec![
        Row::ratio(what, &all_times, "lxc-start -d, 20 times", &lxc_times, Some(0.4)),
        Row::ratio(what, &all_times, "of one", &Ok(one_times), Some(8.0)),
    ])
}

fn lxc_containers(bench: &Bench) -> Result<Vec<Lxc>> {
    let names = (1..=NUMBER).map(|number| format!("lxc{number}"));
    names
        .map(|name| Lxc::new(&bench.folder("lxc"), &name, bench.rootfs("busybox", &name)?.as_ref()))
        .collect()
}

/// Starts them in turn and kills them; returns the time until the last one was started.
fn start_and_kill(containers: &[Lxc]) -> Result<Duration> {
    let times = containers.iter().map(Lxc::start).collect::<Result<Vec<_>>>();
    for container in containers {
        let _ = container.kill();
    }
    Ok(times?.into_iter().sum())
}
