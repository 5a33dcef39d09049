//! Limits: the container cannot lift them, the host shows them, and the kernel enforces them.

use crate::sandbox::{Sandbox, Setting};
use crate::wait_for;
use std::fs;

/// The container's limit, from whichever hierarchy has the controller: file names of version 2 and 1.
fn limit(sandbox: &Sandbox, files: [&str; 2]) -> Option<String> {
    let groups = sandbox.group_directories();
    let mut paths = groups.iter().flat_map(|top| files.map(|file| top.join("web").join(file)));
    paths.find_map(|path| fs::read_to_string(path).ok()).map(|text| text.trim().to_owned())
}

const MEMORY: [&str; 2] = ["memory.max", "memory.limit_in_bytes"];
const PIDS: [&str; 2] = ["pids.max", "pids.max"];
const CPU: [&str; 2] = ["cpu.max", "cpu.cfs_quota_us"];

fn boot(sandbox: &Sandbox, settings: &[&str]) {
    let tree = sandbox.container("web", settings);
    let started = sandbox.ds(&["start", "web"]);
    assert_eq!(started.errors, "", "no limit is without effect");
    started.succeeds();
    wait_for("the report", || tree.report());
}

#[test]
fn limits_are_set_on_the_host() {
    let sandbox = Sandbox::new();
    boot(&sandbox, &["limits.memory=64M", "limits.cpus=1.5", "limits.pids=50"]);
    assert_eq!(limit(&sandbox, MEMORY).unwrap(), "67108864");
    assert_eq!(limit(&sandbox, PIDS).unwrap(), "50");
    let quota = limit(&sandbox, CPU).unwrap();
    assert!(quota == "150000 100000" || quota == "150000", "{quota}");
}

#[test]
fn the_limit_of_processes_is_enforced() {
    let sandbox = Sandbox::new();
    boot(&sandbox, &["limits.pids=20"]);
    let script = "for n in $(busybox seq 30); do sleep 1000 >/dev/null 2>&1 & done; echo all";
    let done = sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", script]);
    assert!(done.errors.contains("fork") && !done.text().contains("all"), "{done:?}");
    assert_eq!(sandbox.state("web"), "running");
}

#[test]
fn the_memory_limit_is_enforced_and_the_container_survives() {
    let sandbox = Sandbox::new();
    boot(&sandbox, &["limits.memory=32M"]);
    // An endless line exceeds the memory. Nothing else allocates memory meanwhile: the kernel would kill another
    // process while the first one is still exiting.
    let done =
        sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", "busybox sort /dev/zero; echo ended with $?"]);
    assert!(done.text().contains("ended with 137"), "{done:?}");
    assert_eq!(sandbox.state("web"), "running", "PID 1 is killed last");
}

#[test]
fn a_container_cannot_reach_its_own_limits() {
    for groups in ["all", "v1"] {
        let sandbox = Sandbox::with(Setting { groups, ..Setting::default() });
        boot(&sandbox, &["limits.pids=50", "limits.memory=64M"]);
        for file in ["pids/pids.max", "pids.max", "memory/memory.limit_in_bytes", "memory.max"] {
            // Its own group, below the one with the limit, is writable.
            let path = format!("/sys/fs/cgroup/{file}");
            sandbox.ds(&["run", "web", "--", "/bin/probe", "write", &path, "max"]).succeeds();
        }
        assert_eq!(limit(&sandbox, PIDS).unwrap(), "50", "{groups}");
        assert_eq!(limit(&sandbox, MEMORY).unwrap(), "67108864", "{groups}");
    }
}

#[test]
fn a_session_is_under_the_limits() {
    let sandbox = Sandbox::new();
    boot(&sandbox, &["limits.pids=30", "limits.memory=64M"]);
    let hold = sandbox.spawn_ds(&["run", "web", "--", "/bin/probe", "hold"]);
    let session = wait_for("the session", || sandbox.process(&["/bin/probe", "hold"]));
    let text = fs::read_to_string(format!("/proc/{}/cgroup", session.pid)).unwrap();
    let of_controller = |name: &str| text.lines().find(|line| line.split(':').nth(1) == Some(name));
    for name in ["pids", "memory"] {
        let line = of_controller(name).or_else(|| of_controller("")).unwrap_or_default();
        assert!(line.contains("/web/payload"), "{name}: {text}");
    }
    sandbox.ds(&["stop", "web"]).succeeds();
    hold.wait_with_output().unwrap();
}
