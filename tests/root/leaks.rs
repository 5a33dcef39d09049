//! Leaks over many cycles: mounts, control groups, descriptors, memory, processes, files.

use crate::process::Process;
use crate::sandbox::{Sandbox, files_below};
use crate::wait_for;
use std::thread::sleep;
use std::time::Duration;

/// The compared resources.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    processes: usize,
    groups: usize,
    files: Vec<String>,
}

fn held(sandbox: &Sandbox) -> Held {
    let supervisor = sandbox.supervisor().expect("a supervisor");
    let run = sandbox.run_directory("");
    let mut files: Vec<String> = files_below(&run, &|_| true)
        .iter()
        .map(|path| path.strip_prefix(&run).expect("below").display().to_string())
        .collect();
    files.sort();
    Held {
        descriptors: supervisor.descriptors(),
        processes: sandbox.processes().len(),
        groups: sandbox.group_directories().len(),
        files,
    }
}

/// Waits until the supervisor is idle.
fn wait_until_idle(sandbox: &Sandbox) {
    let is_idle = || sandbox.only_supervisor() && sandbox.processes().len() == 2;
    wait_for("the last worker to end", || is_idle().then_some(()));
}

/// Asserts that everything is as before, at the latest when the supervisor has noticed the end of the last monitor.
#[track_caller]
fn returns_to(sandbox: &Sandbox, before: &Held) {
    for _ in 0..1000 {
        if held(sandbox) == *before {
            return;
        }
        sleep(Duration::from_millis(10));
    }
    assert_eq!(held(sandbox), *before);
}

#[test]
fn fifty_cycles_leave_everything_as_it_was() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &["environment.PROBE=orphans=1", "limits.pids=50"]);
    let cycle = || {
        sandbox.ds(&["start", "web"]).succeeds();
        sandbox.ds(&["stop", "web", "--timeout", "1"]).succeeds();
    };
    // The first ones create permanent files: logs, caches, records.
    (0..3).for_each(|_| cycle());
    wait_until_idle(&sandbox);
    let (before, memory) = (held(&sandbox), sandbox.supervisor().unwrap().anonymous_kib());
    (0..50).for_each(|_| cycle());
    wait_until_idle(&sandbox);
    returns_to(&sandbox, &before);
    let grown = sandbox.supervisor().unwrap().anonymous_kib().saturating_sub(memory);
    assert!(grown <= 64, "the supervisor has grown by {grown} KiB");
    assert_eq!(tree.boots(), 53);
}

#[test]
fn reboots_leave_the_monitor_as_it_was() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    let restart = |count: usize| {
        sandbox.ds(&["restart", "web"]).succeeds();
        wait_for("the boot", || (tree.boots() == count).then_some(()));
    };
    (2..4).for_each(restart);
    let look = || -> (usize, u64, usize) {
        let monitor: Process = sandbox.monitor("web").unwrap();
        (monitor.descriptors(), monitor.anonymous_kib(), sandbox.group_directories().len())
    };
    let (descriptors, memory, groups) = look();
    (4..24).for_each(restart);
    wait_for("the previous descriptors and groups", || {
        let now = look();
        ((now.0, now.2) == (descriptors, groups)).then_some(())
    });
    let after = look();
    assert!(after.1 <= memory + 64, "the monitor has grown from {memory} to {} KiB", after.1);
}

/// Maximum stack of a sleeping monitor, in KiB; a debug build has larger frames.
const LIVE_STACK: u64 = 44;

/// The dirty part of a process' stack in KiB, proc_pid_smaps(5).
fn stack_kib(process: &Process) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps", process.pid)).ok()?;
    let (_, stack) = text.split_once("[stack]")?;
    let line = stack.lines().find_map(|line| line.strip_prefix("Anonymous:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[test]
fn a_monitor_that_sleeps_keeps_no_stack_of_its_start() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    let monitor = sandbox.monitor("web").expect("a monitor");
    // It needs 48 KiB and more to start a container.
    wait_for("a small stack", || stack_kib(&monitor).filter(|size| *size <= LIVE_STACK));
    sandbox.ds(&["restart", "web"]).succeeds();
    wait_for("a small stack after another start", || stack_kib(&monitor).filter(|size| *size <= LIVE_STACK));
    assert_eq!(sandbox.state("web"), "running");
    sandbox.ds(&["stop", "web"]).succeeds();
}

#[test]
fn commands_leave_nothing_in_the_supervisor() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    sandbox.ds(&["list"]).succeeds();
    wait_until_idle(&sandbox);
    let before = held(&sandbox);
    for _ in 0..50 {
        sandbox.ds(&["list", "--json"]).succeeds();
        sandbox.ds(&["stop", "web"]).succeeds();
        sandbox.ds(&["info", "nobody"]).fails(1, &["no such container"]);
    }
    wait_until_idle(&sandbox);
    returns_to(&sandbox, &before);
}

#[test]
fn idle_processes_do_not_wake_up() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    let switches = |process: &Process| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
        let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let ours = ["standby", "web"].map(|name| wait_for(name, || sandbox.monitor(name)));
    let ours = [sandbox.supervisor().unwrap(), ours[0].clone(), ours[1].clone()];
    // Pending work ends some time, also on a busy machine; a process that wakes up again and again has no quiet time.
    wait_for("three seconds without a wakeup", || {
        let before = ours.each_ref().map(switches);
        sleep(Duration::from_secs(3));
        (ours.each_ref().map(switches) == before).then_some(())
    });
}
