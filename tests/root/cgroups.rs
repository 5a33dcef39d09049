//! Control groups: a container sees only its own subtree, independent of the machine's mounts.

use crate::process::below;
use crate::sandbox::{Sandbox, Setting};
use crate::{skip, wait_for};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The container's group in the version 2 hierarchy.
fn version2_group(sandbox: &Sandbox) -> Option<PathBuf> {
    let mut groups = sandbox.group_directories().into_iter().map(|top| top.join("web"));
    groups.find(|group| group.join("cgroup.controllers").exists())
}

fn processes(group: &Path) -> Vec<i32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn boot(sandbox: &Sandbox, settings: &[&str]) -> Value {
    let tree = sandbox.container("web", settings);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report())
}

/// Mounts of a type, as pairs of target and root.
fn mounts<'a>(report: &'a Value, kind: &str) -> Vec<(&'a str, &'a str)> {
    let all = report["mounts"].as_array().unwrap().iter();
    let text = |mount: &'a Value, field: &str| mount[field].as_str().unwrap();
    all.filter(|mount| mount["kind"] == kind)
        .map(|mount| (text(mount, "target"), text(mount, "root")))
        .collect()
}

/// Directories in the container's view of control groups.
fn seen_groups(report: &Value) -> Vec<&str> {
    report["cgroup_tree"].as_object().unwrap().keys().map(String::as_str).collect()
}

/// The mount points of a type of hierarchies on this machine.
fn hierarchies(kind: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields.filter(|fields| fields[2] == kind).map(|fields| PathBuf::from(fields[1])).collect()
}

#[test]
fn with_version_2_a_container_sees_its_own_subtree() {
    if hierarchies("cgroup2").is_empty() {
        skip("cgroups::with_version_2_a_container_sees_its_own_subtree", "no cgroup v2 hierarchy is mounted");
        return;
    }
    for groups in ["all", "v2"] {
        let sandbox = Sandbox::with(Setting { groups, ..Setting::default() });
        let report = boot(&sandbox, &[]);
        assert_eq!(mounts(&report, "cgroup2"), [("/sys/fs/cgroup", "/")], "{groups}");
        assert_eq!(seen_groups(&report), ["/sys/fs/cgroup"], "{groups}: no foreign group");
        let lines: Vec<_> = report["cgroup"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(lines.contains(&"0::/"), "{groups}: {lines:?}");
        let group = version2_group(&sandbox).unwrap();
        let first = sandbox.first_process("web").unwrap().pid;
        assert_eq!(processes(&group.join("payload")), [first]);
        assert_eq!(processes(&group), [0; 0], "limits are set on a group without processes");
    }
}

#[test]
fn with_version_1_a_container_sees_its_own_subtrees() {
    if hierarchies("cgroup").is_empty() {
        skip(
            "cgroups::with_version_1_a_container_sees_its_own_subtrees",
            "no cgroup v1 hierarchy is mounted",
        );
        return;
    }
    let sandbox = Sandbox::with(Setting { groups: "v1", ..Setting::default() });
    let report = boot(&sandbox, &["cgroup=v1"]);
    let found = mounts(&report, "cgroup");
    assert!(found.len() > 1 && found.iter().all(|(_, root)| *root == "/"), "{found:?}");
    assert!(found.iter().any(|(target, _)| *target == "/sys/fs/cgroup/systemd"), "{found:?}");
    let first = sandbox.first_process("web").unwrap().pid;
    for top in sandbox.group_directories() {
        assert_eq!(processes(&top.join("web/payload")), [first], "{}", top.display());
    }
    for path in seen_groups(&report) {
        assert!(path.matches('/').count() <= 4, "no foreign group: {path}");
    }
    let mounts = report["mounts"].as_array().unwrap();
    let top = mounts.iter().find(|mount| mount["target"] == "/sys/fs/cgroup").unwrap();
    assert!(top["options"].as_str().unwrap().starts_with("ro"), "{top}");
}

/// A container may mount a hierarchy that it does not see: it must then see only its own groups.
#[test]
fn no_hierarchy_shows_a_container_foreign_groups() {
    let script = "mkdir -p /tmp/g; cd /tmp/g; for line in $(busybox cut -d: -f2 /proc/self/cgroup); do \
                  options=$line; case $line in name=*) options=none,$line;; esac; mkdir $line; \
                  busybox mount -t cgroup -o $options none $line; done; \
                  mkdir unified; busybox mount -t cgroup2 none unified; true";
    for groups in ["all", "v1"] {
        let sandbox = Sandbox::with(Setting { groups, ..Setting::default() });
        boot(&sandbox, &[]);
        sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", script]).succeeds();
        let first = sandbox.first_process("web").unwrap();
        let own: Vec<i32> = below(first.parent).iter().map(|process| process.pid).collect();
        assert!(own.contains(&first.pid));
        let mounted = format!("/proc/{}/root/tmp/g", first.pid);
        for entry in fs::read_dir(&mounted).unwrap() {
            let group = entry.unwrap().path();
            let foreign: Vec<_> = processes(&group).into_iter().filter(|pid| !own.contains(pid)).collect();
            assert_eq!(foreign, [0; 0], "{groups}: {}", group.display());
        }
    }
}

#[test]
fn a_machine_that_mounts_only_version_1_does_not_show_its_version_2() {
    let name = "cgroups::a_machine_that_mounts_only_version_1_does_not_show_its_version_2";
    if hierarchies("cgroup").is_empty() {
        skip(name, "no cgroup v1 hierarchy is mounted");
        return;
    }
    let sandbox = Sandbox::with(Setting { groups: "v1", ..Setting::default() });
    let report = boot(&sandbox, &[]);
    assert!(!seen_groups(&report).contains(&"/sys/fs/cgroup/inside"), "{:?}", seen_groups(&report));
    // No visible group contains foreign processes.
    let first = sandbox.first_process("web").unwrap().pid;
    let shown = fs::read_to_string(format!("/proc/{first}/root/sys/fs/cgroup/cgroup.procs"));
    let foreign: Vec<String> = shown
        .unwrap_or_default()
        .lines()
        .filter(|pid| *pid != first.to_string())
        .map(str::to_owned)
        .collect();
    assert_eq!(foreign, Vec::<String>::new());
}

#[test]
fn a_machine_without_mounted_control_groups_boots_containers() {
    let sandbox = Sandbox::with(Setting { groups: "none", ..Setting::default() });
    let tree = sandbox.container("web", &["limits.memory=64M"]);
    let started = sandbox.ds(&["start", "web"]);
    // A hidden hierarchy is mounted privately.
    let groups = sandbox.group_directories().into_iter().map(|top| top.join("web"));
    let limits = groups.flat_map(|group| [group.join("memory.max"), group.join("memory.limit_in_bytes")]);
    let kept = limits.into_iter().any(|file| fs::read_to_string(file).is_ok_and(|text| text == "67108864\n"));
    assert!(
        kept || started.errors.contains("limits.memory"),
        "a setting without effect is reported: {}",
        started.errors
    );
    started.succeeds();
    wait_for("the report", || tree.report());
    sandbox.ds(&["stop", "web"]).succeeds();
}

#[test]
fn a_container_can_use_the_controllers_that_it_was_given() {
    let name = "cgroups::a_container_can_use_the_controllers_that_it_was_given";
    let Some(controller) = Controller::enable() else {
        skip(name, "cgroup v2 has no controller that could be switched on");
        return;
    };
    let sandbox = Sandbox::new();
    boot(&sandbox, &[]);
    let payload = version2_group(&sandbox).unwrap().join("payload");
    let offered = fs::read_to_string(payload.join("cgroup.controllers")).unwrap();
    assert!(offered.contains(&controller.name), "{offered}");
    // From inside: move processes down, then delegate the controller, then its files exist.
    let script = format!(
        "cd /sys/fs/cgroup && mkdir init unit && for pid in $(cat cgroup.procs); do echo $pid > init/cgroup.procs; \
         done; echo +{} > cgroup.subtree_control && ls unit",
        controller.name
    );
    let seen = sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", &script]).succeeds();
    assert!(seen.contains(&format!("{}.", controller.name)), "{seen}");
}

/// A controller of the machine's version 2 hierarchy, enabled while this lives.
struct Controller {
    name: String,
    file: PathBuf,
    was_on: bool,
}

impl Controller {
    fn enable() -> Option<Self> {
        let top = hierarchies("cgroup2").into_iter().next()?;
        let controllers = fs::read_to_string(top.join("cgroup.controllers")).ok()?;
        let name = controllers.split_whitespace().next()?.to_owned();
        let file = top.join("cgroup.subtree_control");
        let was_on = fs::read_to_string(&file).ok()?.split_whitespace().any(|one| one == name);
        fs::write(&file, format!("+{name}")).ok()?;
        Some(Self { name, file, was_on })
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        if !self.was_on {
            // Another process may have begun to use it.
            let _ = fs::write(&self.file, format!("-{}", self.name));
        }
    }
}

#[test]
fn sessions_are_in_the_containers_groups() {
    let sandbox = Sandbox::new();
    boot(&sandbox, &[]);
    let hold = sandbox.spawn_ds(&["run", "web", "--", "/bin/probe", "hold"]);
    let session = wait_for("the session", || sandbox.process(&["/bin/probe", "hold"]));
    let text = fs::read_to_string(format!("/proc/{}/cgroup", session.pid)).unwrap();
    assert!(text.lines().any(|line| line.starts_with("0::") && line.contains("/web/payload")), "{text}");
    let payload = version2_group(&sandbox).unwrap().join("payload");
    assert!(
        !processes(&payload).contains(&session.pid),
        "in a separate leaf, so that controllers can be delegated"
    );
    let inside = sandbox.ds(&["run", "web", "--", "/bin/cat", "/proc/self/cgroup"]).succeeds();
    assert!(inside.lines().any(|line| line.starts_with("0::/") && !line.contains("..")), "{inside}");
    sandbox.ds(&["stop", "web"]).succeeds();
    hold.wait_with_output().unwrap();
}

#[test]
fn two_containers_do_not_share_groups() {
    let sandbox = Sandbox::new();
    for name in ["web", "db"] {
        let tree = sandbox.container(name, &[]);
        sandbox.ds(&["start", name]).succeeds();
        wait_for("the report", || tree.report());
    }
    sandbox.ds(&["stop", "db", "--kill"]).succeeds();
    assert_eq!(sandbox.state("web"), "running");
    assert!(sandbox.group_directories().iter().all(|top| !top.join("db").exists()));
}

/// The processors and memory nodes of a version 1 cpuset.
fn cpuset(group: &Path) -> [String; 2] {
    ["cpuset.cpus", "cpuset.mems"].map(|file| fs::read_to_string(group.join(file)).unwrap())
}

#[test]
fn every_container_may_use_all_processors() {
    let sandbox = Sandbox::new();
    for name in ["web", "db"] {
        sandbox.container(name, &[]);
        sandbox.ds(&["start", name]).succeeds();
    }
    let is_cpuset =
        |top: &PathBuf| top.join("cpuset.cpus").exists() && top.join("cgroup.clone_children").exists();
    let Some(top) = sandbox.group_directories().into_iter().find(is_cpuset) else {
        skip("cgroups::every_container_may_use_all_processors", "no cgroup v1 hierarchy with cpuset");
        return;
    };
    let all = cpuset(top.parent().unwrap());
    let groups = [top.join("web"), top.join("db"), top.clone()];
    assert!(groups.iter().all(|group| cpuset(group) == all));
    // As after a processor was switched off and on: the kernel gives it back to no group.
    sandbox.ds(&["stop", "web", "--kill"]).succeeds();
    groups[1..].iter().for_each(|group| fs::write(group.join("cpuset.cpus"), "0").unwrap());
    sandbox.ds(&["start", "web"]).succeeds();
    assert_eq!([cpuset(&groups[0]), cpuset(&top)], [all.clone(), all]);
}
