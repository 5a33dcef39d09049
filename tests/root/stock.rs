//! Kernels without PID and IPC namespaces, as phones have them: real distributions boot, do what they say, and reach no
//! process outside. Every test takes a census of bystanders: processes of the sandbox that must be the same afterwards.

use crate::process::{Process, below};
use crate::sandbox::{Sandbox, Setting};
use crate::wait_for;
use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Stdio};

/// A machine whose kernel lacks what stock kernels lack.
fn stock() -> Sandbox {
    Sandbox::with(Setting { denied: Some("newpid,newipc"), ..Setting::default() })
}

/// Processes of the machine that no container may touch, of root and of another user.
struct Bystanders {
    children: Vec<Child>,
    seen: BTreeMap<i32, String>,
}

impl Bystanders {
    fn new(sandbox: &Sandbox) -> Self {
        let scripts =
            ["exec sleep 7001", "exec setpriv --reuid 1000 sleep 7002", "set -m; sleep 7003 & wait"];
        let spawn = |script: &&str| {
            let mut command = sandbox.command_within(600, &["sh", "-c", script]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a bystander")
        };
        let children: Vec<Child> = scripts.iter().map(spawn).collect();
        let sleepers = |child: &Child| {
            let found = below(i32::try_from(child.id()).expect("a number"));
            found.into_iter().find(|one| one.name == "sleep")
        };
        let known = wait_for("the bystanders", || children.iter().map(sleepers).collect::<Option<Vec<_>>>());
        let mut seen: BTreeMap<i32, String> =
            known.iter().map(|process| (process.pid, mark(process.pid))).collect();
        for own in
            [sandbox.supervisor().map(|process| process.pid), Some(sandbox.init_pid())].into_iter().flatten()
        {
            seen.insert(own, mark(own));
        }
        Self { children, seen }
    }

    /// Each is the one that it was, and was neither stopped nor changed.
    #[track_caller]
    fn check(&self) {
        for (pid, before) in &self.seen {
            assert_eq!(mark(*pid), *before, "bystander {pid}: {:?}", Process::of(*pid));
        }
    }
}

impl Drop for Bystanders {
    fn drop(&mut self) {
        for pid in self.seen.keys().filter(|pid| Process::of(**pid).is_some_and(|one| one.name == "sleep")) {
            crate::process::kill(*pid);
        }
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What identifies a process, and what a foreign one could change about it.
fn mark(pid: i32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or(vec![], |(_, rest)| rest.split_whitespace().collect());
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kept = ["State:", "TracerPid:", "SigPnd:", "ShdPnd:", "Cpus_allowed:"];
    let lines: Vec<&str> =
        status.lines().filter(|line| kept.iter().any(|name| line.starts_with(name))).collect();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    // Start time, nice value, scheduling policy.
    let numbers: Vec<&str> = [19, 16, 38].iter().filter_map(|at| fields.get(*at).copied()).collect();
    let state = |line: &&&str| !(line.starts_with("State:") && !line.contains('T') && !line.contains('t'));
    let lines: Vec<_> = lines.iter().filter(state).collect();
    format!("{numbers:?} {lines:?} {limits}")
}

fn inside(sandbox: &Sandbox, script: &str) -> String {
    sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", script]).text()
}

#[test]
fn the_probe_boots_as_pid_1() {
    let sandbox = stock();
    let bystanders = Bystanders::new(&sandbox);
    sandbox.container("web", &[]);
    let started = sandbox.ds(&["start", "web"]);
    assert!(started.errors.contains("CONFIG_PID_NS"), "{}", started.errors);
    started.succeeds();
    assert_eq!(inside(&sandbox, "exec /bin/busybox readlink /proc/1/exe"), "/bin/probe\n");
    assert_eq!(sandbox.ds(&["run", "web", "--", "/bin/probe", "exit", "9"]).code, 9);
    sandbox.ds(&["restart", "web"]).succeeds();
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    bystanders.check();
}

/// Boots a distribution, uses it, restarts it, reboots and powers it off from inside.
fn lives(fixture: &str, up: &str, expected: &str, reboot: &str, power_off: &str) {
    let mut sandbox = stock();
    let bystanders = Bystanders::new(&sandbox);
    sandbox.distribution("web", fixture, &[]);
    let started = sandbox.ds(&["start", "web", "--wait=90"]);
    assert!(started.errors.contains("CONFIG_PID_NS"), "{}", started.errors);
    assert_eq!(started.succeeds(), "web is up\n");
    assert_eq!(inside(&sandbox, up), expected, "{fixture}");
    bystanders.check();
    let before = sandbox.info("web")["pid"].clone();
    sandbox.ds(&["restart", "web"]).succeeds();
    assert_ne!(sandbox.info("web")["pid"], before);
    assert_eq!(sandbox.ds(&["start", "web", "--wait=90"]).code, 0);
    wait_for("the init system to be up", || (sandbox.info("web")["ready"] == true).then_some(()));
    let before = sandbox.info("web")["pid"].clone();
    sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", reboot]);
    wait_for("the second boot", || {
        let info = sandbox.info("web");
        (info["state"] == "running" && info["pid"] != before && info["ready"] == true).then_some(())
    });
    bystanders.check();
    assert_eq!(sandbox.info("web")["last_exit"]["reason"], "rebooted");
    sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", power_off]);
    sandbox.wait_for_state("web", "stopped");
    assert_eq!(sandbox.info("web")["last_exit"]["reason"], "powered-off");
    bystanders.check();
    assert_eq!(sandbox.ds(&["start", "web", "--wait=90"]).code, 0);
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    assert_eq!(sandbox.info("web")["last_exit"]["signal"], serde_json::Value::Null, "PID 1 was not killed");
    bystanders.check();
}

const RUNNING: &str = "systemctl is-system-running --wait; systemctl --failed --no-legend --plain";

#[test]
fn systemd_252_lives() {
    lives("bookworm", RUNNING, "running\n", "systemctl reboot", "systemctl poweroff");
}

#[test]
fn the_newest_systemd_lives() {
    lives("forky", RUNNING, "running\n", "reboot", "poweroff");
}

#[test]
fn openrc_lives() {
    lives("openrc", "rc-status --crashed; rc-status --runlevel", "default\n", "reboot", "poweroff");
}

#[test]
fn sysvinit_lives() {
    lives("sysvinit", "/sbin/runlevel", "N 2\n", "reboot", "poweroff");
}

#[test]
fn runit_lives() {
    lives("runit", "sv status /etc/service/getty-console | cut -c1-4", "run:\n", "reboot", "poweroff");
}

#[test]
fn busybox_lives() {
    lives("busybox", "echo up", "up\n", "reboot", "poweroff");
}
