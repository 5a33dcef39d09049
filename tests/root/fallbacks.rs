//! Older kernels, and kernels without an optional feature, simulated by denied system calls.
//!
//! `probe deny` denies the calls; the supervisor and all its descendants run under it.

use crate::root_fs::Tree;
use crate::sandbox::{Sandbox, Setting};
use crate::{given, wait_for};
use serde_json::Value;

fn sandbox(denied: &'static str) -> Sandbox {
    Sandbox::with(Setting { denied: Some(denied), ..Setting::default() })
}

/// The operations that must work on every kernel: boot, inspect, run commands, console, reboot, stop; and nothing is
/// left behind.
fn lives(denied: &'static str) -> (Sandbox, Value) {
    let sandbox = sandbox(denied);
    let shared = sandbox.path("shared");
    std::fs::create_dir_all(&shared).unwrap();
    let tree = sandbox
        .container("web", &[&format!("mounts.bind={}:/mnt/ro:ro", shared.display()), "limits.pids=100"]);
    sandbox.ds(&["start", "web"]).succeeds();
    let report = wait_for("the report", || tree.report());
    assert_eq!(report["descriptors"].as_object().unwrap().len(), 3, "{denied}: {}", report["descriptors"]);
    assert_eq!(report["files"]["/proc/sys/kernel/core_pattern"]["write"], "EROFS", "{denied}");
    assert_eq!(report["terminal"]["console"], "136:0", "{denied}");
    let mounts = report["mounts"].as_array().unwrap();
    let bound = mounts.iter().find(|mount| mount["target"] == "/mnt/ro").unwrap();
    assert!(bound["options"].as_str().unwrap().starts_with("ro"), "{denied}: {bound}");

    let inside = sandbox.ds(&["run", "web", "--", "/bin/probe", "report"]).json();
    assert_eq!(inside["descriptors"].as_object().unwrap().len(), 3, "{denied}: {}", inside["descriptors"]);
    assert_eq!(inside["namespaces"]["mnt"], report["namespaces"]["mnt"], "{denied}");
    let session = sandbox.spawn_ds(&["run", "web", "--", "/bin/probe", "hold"]);
    wait_for("the session", || sandbox.process(&["/bin/probe", "hold"]));
    let mut terminal = sandbox.ds_on_terminal(&["enter", "web"]);
    terminal.expect("# ");
    terminal.send(b"echo $((6 * 7)) $(tty)\nexit\n");
    terminal.expect("42 /dev/pts/");
    assert_eq!(terminal.wait(), 0, "{denied}: {}", terminal.shown());

    sandbox.ds(&["restart", "web"]).succeeds();
    assert_eq!(session.wait_with_output().unwrap().status.code(), Some(128 + 9), "{denied}");
    wait_for("the second boot", || (tree.boots() == 2).then_some(()));
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n", "{denied}");
    sandbox.assert_no_containers();

    let path = tree.0.to_str().unwrap();
    assert_eq!(sandbox.ds(&["shell", path, "/bin/probe", "exit", "9"]).code, 9, "{denied}");
    sandbox.assert_no_containers();
    (sandbox, report)
}

#[test]
fn without_openat2() {
    lives("openat2");
}

#[test]
fn without_clone3() {
    lives("clone3");
}

#[test]
fn without_close_range() {
    lives("close_range");
}

#[test]
fn without_mount_setattr_and_the_new_mount_calls() {
    lives("mount_setattr,new_mount");
}

#[test]
fn without_pidfd() {
    lives("pidfd");
}

#[test]
fn without_the_call_that_opens_the_peer_of_a_terminal() {
    lives("get_peer");
}

#[test]
fn without_memfd_the_supervisor_runs_from_a_copy_without_a_name() {
    let (sandbox, _) = lives("memfd_create");
    let link = std::fs::read_link(format!("/proc/{}/exe", sandbox.supervisor().unwrap().pid)).unwrap();
    let link = link.to_string_lossy();
    assert!(link.ends_with(" (deleted)") && !link.contains("memfd"), "{link}");
    let before = std::fs::read(given("DS_BIN")).unwrap();
    assert!(before == std::fs::read(sandbox.binary()).unwrap());
}

#[test]
fn with_all_newer_calls_missing() {
    lives("old");
}

#[test]
fn with_all_newer_calls_missing_systemd_boots() {
    let mut sandbox = sandbox("old");
    sandbox.distribution("web", "bookworm", &[]);
    sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
    let state = ["run", "web", "--", "systemctl", "is-system-running", "--wait"];
    assert_eq!(sandbox.ds(&state).succeeds(), "running\n");
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
}

/// A kind of namespace that the kernel lacks: the container shares it with the host, and a warning reports it.
fn shares(denied: &'static str, kind: &str, option: &str) {
    let sandbox = sandbox(denied);
    let tree = sandbox.container("web", &[]);
    let started = sandbox.ds(&["start", "web"]);
    assert!(started.errors.contains(option), "{denied}: {}", started.errors);
    started.succeeds();
    let report = wait_for("the report", || tree.report());
    let supervisor = sandbox.supervisor().unwrap().pid;
    let host = std::fs::read_link(format!("/proc/{supervisor}/ns/{kind}")).unwrap();
    assert_eq!(report["namespaces"][kind], host.to_str().unwrap(), "{denied}");
    sandbox.ds(&["run", "web", "--", "/bin/true"]).succeeds();
    let known = || sandbox.info("web")["warnings"].to_string();
    assert!(known().contains(option), "{denied}: {}", known());
    sandbox.ds(&["restart", "web"]).succeeds();
    assert_eq!(known().matches(option).count(), 1, "{denied}: {}", known());
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n", "{denied}");
    assert_eq!(known(), "[]", "{denied}");
}

#[test]
fn without_uts_namespaces_the_host_keeps_its_name() {
    shares("newuts", "uts", "CONFIG_UTS_NS");
}

#[test]
fn without_ipc_namespaces() {
    shares("newipc", "ipc", "CONFIG_IPC_NS");
}

#[test]
fn without_cgroup_namespaces() {
    shares("newcgroup", "cgroup", "CONFIG_CGROUPS");
}

#[test]
fn a_filter_that_kills_counts_as_unsupported() {
    shares("kill:newipc", "ipc", "CONFIG_IPC_NS");
}

#[test]
fn without_network_namespaces_only_the_hosts_network_is_available() {
    let sandbox = sandbox("newnet");
    sandbox.container("own", &["network.mode=none"]);
    sandbox.ds(&["start", "own"]).fails(1, &["ds: start own: ", "CONFIG_NET_NS", "host"]);
    sandbox.container("shared", &[]);
    sandbox.ds(&["start", "shared"]).succeeds();
}

#[test]
fn without_pid_namespaces_nothing_boots_that_requires_them_and_a_shell_works() {
    let sandbox = sandbox("newpid");
    let tree = sandbox.container("web", &["pid-namespace=required"]);
    sandbox.ds(&["start", "web"]).fails(1, &["ds: start web: ", "CONFIG_PID_NS", "ds shell"]);
    let path = tree.0.to_str().unwrap();
    let done = sandbox.ds(&["shell", path, "/bin/sh", "-c", "echo here; exit 4"]);
    assert_eq!((done.code, done.text().as_str()), (4, "here\n"), "{done:?}");
    let mut client = sandbox.spawn_ds(&["shell", path, "/bin/probe", "hold"]);
    wait_for("the shell", || sandbox.process(&["/bin/probe", "hold"]));
    client.kill().unwrap();
    client.wait().unwrap();
    sandbox.assert_no_containers();
    let check = sandbox.ds(&["check"]);
    assert!(check.text().contains("CONFIG_PID_NS"), "{}", check.text());
}

#[test]
fn without_mount_namespaces_nothing_starts() {
    let sandbox = sandbox("newns");
    let tree = sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).fails(1, &["ds: start web: ", "CONFIG_NAMESPACES"]);
    let path = tree.0.to_str().unwrap();
    sandbox.ds(&["shell", path, "/bin/true"]).fails(125, &["ds: shell", "CONFIG_NAMESPACES"]);
    assert_eq!(sandbox.ds(&["check"]).code, 1);
}

#[test]
fn a_shell_under_a_filter_does_not_launch_a_supervisor() {
    // Under a visible filter, as in an app's terminal.
    let sandbox = Sandbox::new();
    let tree = Tree::with_probe(&sandbox.path("web"));
    sandbox.create("web", &tree.0, &[]);
    let words = [given("DS_PROBE").into_os_string(), "deny".into(), "openat2,visible".into(), "--".into()];
    let words = [&words[..], &[sandbox.binary().into_os_string(), "list".into()]].concat();
    sandbox.run(&words).fails(1, &["ds: list", "seccomp filter"]);
    assert!(sandbox.supervisor().is_none());
}
