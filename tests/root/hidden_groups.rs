//! Invisible hierarchies: hidden by a later mount, or not mounted.

use crate::process::below;
use crate::sandbox::{Sandbox, Setting};
use crate::{skip, wait_for};
use std::fs;
use std::path::PathBuf;

/// The names of groups next to that of `ds` in the sandbox's own groups.
fn others(sandbox: &Sandbox) -> Vec<PathBuf> {
    let tops = sandbox.group_directories();
    tops.into_iter()
        .filter(|top| !top.file_name().unwrap().to_string_lossy().starts_with("droidspaces-"))
        .collect()
}

/// A container that mounts the freezer sees only its own groups.
fn freezer_shows_only_the_container(sandbox: &Sandbox, case: &str) {
    let script = "mkdir -p /tmp/f && busybox mount -t cgroup -o freezer none /tmp/f";
    let done = sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", script]);
    assert_eq!(done.code, 0, "{case}: {}", done.errors);
    let first = sandbox.first_process("web").unwrap();
    let own: Vec<i32> = below(first.parent).iter().map(|process| process.pid).collect();
    let shown = fs::read_to_string(format!("/proc/{}/root/tmp/f/cgroup.procs", first.pid)).unwrap();
    let shown: Vec<i32> = shown.lines().map(|line| line.parse().unwrap()).collect();
    assert!(shown.contains(&first.pid), "{case}: {shown:?}");
    assert!(shown.iter().all(|pid| own.contains(pid)), "{case}: {shown:?} shows others than {own:?}");
    let state = fs::read_to_string(format!("/proc/{}/root/tmp/f/freezer.state", first.pid));
    assert_eq!(state.unwrap(), "THAWED\n", "{case}: a group of its own, and not the root of all");
}

fn boots(sandbox: &Sandbox, case: &str) {
    let tree = sandbox.container("web", &[]);
    let started = sandbox.ds(&["start", "web"]);
    assert!(!started.errors.contains("cgroup"), "{case}: {}", started.errors);
    started.succeeds();
    wait_for("the report", || tree.report());
    assert_eq!(others(sandbox), Vec::<PathBuf>::new(), "{case}: groups in hierarchies that are not visible");
    freezer_shows_only_the_container(sandbox, case);
    sandbox.ds(&["stop", "web"]).succeeds();
}

#[test]
fn a_hidden_hierarchy_shows_nothing() {
    let name = "hidden_groups::a_hidden_hierarchy_shows_nothing";
    if !has_freezer() {
        skip(name, "cgroup v1 has no freezer here");
        return;
    }
    for (case, supervised) in [("before the supervisor", false), ("after it", true)] {
        let mut sandbox = Sandbox::new();
        if supervised {
            sandbox.ds(&["list"]).succeeds();
        }
        sandbox.mount(&["-t", "cgroup2", "none", "/sys/fs/cgroup"]);
        boots(&sandbox, case);
    }
}

#[test]
fn an_unmounted_hierarchy_shows_nothing() {
    let name = "hidden_groups::an_unmounted_hierarchy_shows_nothing";
    if !has_freezer() {
        skip(name, "cgroup v1 has no freezer here");
        return;
    }
    for groups in ["v2", "none"] {
        boots(&Sandbox::with(Setting { groups, ..Setting::default() }), groups);
    }
}

fn has_freezer() -> bool {
    fs::read_to_string("/proc/self/cgroup").unwrap().lines().any(|line| line.contains(":freezer:"))
}
