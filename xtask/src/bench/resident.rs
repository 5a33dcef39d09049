//! The memory of the supervisor and the monitors while containers run, and whether they sleep.
//!
//! Owns the reading of smaps_rollup (proc_pid_smaps(5); PSS counts a page shared by two processes as half a page for
//! each; its parts by kind exist since Linux 5.4) and of strace(1)'s output.

use super::setup::{Bench, Rounds};
use super::table::Row;
use crate::{packages, process};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// The number of containers in addition to the first.
const FURTHER: u32 = 4;

/// The delay after which a started container is idle; before that it prints to the log, for example the prompt of its
/// getty.
const IDLE_DELAY: Duration = Duration::from_secs(5);

/// The delay in which a worker ends after its client, and the next one is forked.
const HANDS_OVER: Duration = Duration::from_millis(50);

/// The observed time, in seconds.
const IDLE: u32 = 30;

/// The memory of the processes of ds: the part that the kernel cannot drop, and the PSS right after a command.
///
/// # Errors
/// If `ds` or the reading fails.
pub fn measure_memory(bench: &Bench, _: &Rounds) -> Result<Vec<Row>> {
    let first = start_several(bench, "first", 1)?;
    let one = held(&resident(bench, &first)?)?;
    // The worker of the client ends a moment later, and the next one is forked; nothing else happens in between.
    bench.ds.quiet(&["run", &first[0], "--", "true"])?;
    thread::sleep(HANDS_OVER);
    let awake = total(&family(bench, &first)?, "Pss:")?;
    let further = start_several(bench, "further", FURTHER)?;
    let names = [first, further].concat();
    let all = held(&resident(bench, &names)?)?;
    remove(bench, &names)?;
    let further = (all - one) / f64::from(FURTHER);
    Ok(vec![
        Row::limit("memory of all our processes that cannot be reclaimed, one container", one, 500.0, "KiB"),
        Row::limit("the same for each further container", further, 120.0, "KiB"),
        Row::limit("memory (PSS) of all our processes right after `ds run`", awake, 1228.8, "KiB"),
    ])
}

/// The system calls of the processes of ds while nothing happens.
///
/// # Errors
/// If `ds` or strace fails.
pub fn measure_idle(bench: &Bench, _: &Rounds) -> Result<Vec<Row>> {
    packages::ensure(packages::Verb::Bench)?;
    let rootfs = bench.rootfs("bookworm", "idle")?;
    bench.ds.quiet(&["create", "idle", "--rootfs", &rootfs])?;
    bench.ds.quiet(&["start", "idle", "--wait"])?;
    let pids = resident(bench, &["idle".to_owned()])?;
    // `ds info`, which found them, woke them up.
    thread::sleep(IDLE_DELAY);
    let output = bench.folder("strace");
    let mut command = Command::new("timeout");
    command
        .args(["--signal=INT", &IDLE.to_string(), "strace", "--follow-forks", "--quiet=all", "--output"])
        .arg(&output);
    for pid in &pids {
        command.arg("--attach").arg(pid.to_string());
    }
    // timeout(1) exits with 124 after the timeout.
    let ended = command.status().context("cannot run strace")?;
    anyhow::ensure!(ended.code() == Some(124), "strace {} too early", process::ending(ended));
    let calls = count_calls(&fs::read_to_string(&output)?);
    remove(bench, &["idle".to_owned()])?;
    Ok(vec![Row::limit("system calls of ours in 30 s with everything idle", f64::from(calls), 0.0, "calls")])
}

/// Creates and starts small containers.
pub fn start_several(bench: &Bench, prefix: &str, number: u32) -> Result<Vec<String>> {
    let names: Vec<_> = (1..=number).map(|number| format!("{prefix}{number}")).collect();
    for name in &names {
        let rootfs = bench.rootfs("busybox", name)?;
        bench.ds.quiet(&["create", name, "--rootfs", &rootfs])?;
    }
    let words: Vec<_> = ["start"].into_iter().chain(names.iter().map(String::as_str)).collect();
    bench.ds.quiet(&words)?;
    Ok(names)
}

/// Stops and removes containers.
pub fn remove(bench: &Bench, names: &[String]) -> Result<()> {
    let words: Vec<_> = ["stop", "--kill"].into_iter().chain(names.iter().map(String::as_str)).collect();
    bench.ds.quiet(&words)?;
    for name in names {
        bench.ds.quiet(&["rm", name])?;
    }
    Ok(())
}

/// The permanent processes of ds, once the worker of the start has ended.
fn resident(bench: &Bench, names: &[impl AsRef<str>]) -> Result<Vec<i32>> {
    thread::sleep(IDLE_DELAY);
    family(bench, names)
}

/// The supervisor, the standby worker, and the monitors of these containers.
fn family(bench: &Bench, names: &[impl AsRef<str>]) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    for name in names {
        let monitor = parent(bench.ds.pid(name.as_ref())?)?;
        pids.extend([monitor, parent(monitor)?]);
    }
    for supervisor in pids.clone() {
        let children = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children"))?;
        let names = |pid: &&str| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        for child in children.split_whitespace().filter(|pid| names(pid).starts_with("ds:standby")) {
            pids.push(child.parse().context("the id of a child is not a number")?);
        }
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

pub fn parent(pid: i32) -> Result<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("PPid:")).context("a process has no parent")?;
    line.trim().parse().context("the id of a parent is not a number")
}

/// The memory that cannot be reclaimed, in KiB: anonymous and shared memory, and the program if it is in a memfd.
fn held(pids: &[i32]) -> Result<f64> {
    let mut programs = BTreeSet::new();
    for pid in pids {
        let program = format!("/proc/{pid}/exe");
        if fs::read_link(&program)?.to_string_lossy().starts_with("/memfd:") {
            let about = fs::metadata(&program)?;
            programs.insert((about.ino(), about.blocks()));
        }
    }
    let mut copies = 0.0;
    for (_, blocks) in programs {
        // In units of 512 bytes, stat(2).
        copies += f64::from(u32::try_from(blocks)?) / 2.0;
    }
    // This includes the mapped pages of the copy.
    let shared = if copies > 0.0 { 0.0 } else { total(pids, "Pss_Shmem:")? };
    Ok(total(pids, "Pss_Anon:")? + shared + copies)
}

/// The sum of a field of smaps_rollup, in KiB.
fn total(pids: &[i32], field: &str) -> Result<f64> {
    let read = |pid: &i32| -> Result<f64> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let value = rollup.lines().find_map(|line| line.strip_prefix(field));
        let value = value.with_context(|| format!("smaps_rollup has no {field}"))?;
        value.trim().trim_end_matches(" kB").parse().with_context(|| format!("{field} is not a number"))
    };
    pids.iter().map(read).sum()
}

/// The lines of strace with calls, except the call that was in progress when it attached and its own messages. Each
/// line begins with the process ID.
pub fn count_calls(trace: &str) -> u32 {
    let is_call = |line: &&str| {
        let text = line.split_once(' ').map_or("", |(_, text)| text.trim_start());
        let under_way = text.contains("resuming interrupted") || text.contains("<detached ...>");
        !text.is_empty() && !text.starts_with("---") && !text.starts_with("+++") && !under_way
    };
    u32::try_from(trace.lines().filter(is_call).count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{count_calls, held, parent, total};
    use std::os::unix::process::parent_id;

    #[test]
    fn only_calls_are_counted() {
        let trace = "12 restart_syscall(<... resuming interrupted poll ...>) = 1\n\
                     12 read(3, \"x\", 1) = 1\n\
                     12 --- SIGCHLD {si_signo=SIGCHLD} ---\n\
                     13 poll([{fd=3, events=POLLIN}], 1, -1 <detached ...>\n";
        assert_eq!(count_calls(trace), 1);
        assert_eq!(count_calls(""), 0);
    }

    #[test]
    fn the_process_tree_is_read() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(parent(own).unwrap(), i32::try_from(parent_id()).unwrap());
        let own = [own];
        assert!(held(&own).unwrap() > 0.0);
        assert!(total(&own, "Pss:").unwrap() >= held(&own).unwrap());
    }
}
