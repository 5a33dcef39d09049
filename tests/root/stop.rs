//! The shutdown of containers: by the request of each init system, and by SIGKILL after the timeout.

use crate::process::{self, Process};
use crate::root_fs::Tree;
use crate::sandbox::Sandbox;
use crate::{skip, wait_for};
use nix::sys::signal::Signal;
use std::fs;
use std::time::Instant;

/// A container whose PID 1 has written its report and handles signals.
fn boot(sandbox: &Sandbox, settings: &[&str]) -> Tree {
    let tree = sandbox.container("web", settings);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    tree
}

#[test]
fn every_init_system_gets_its_own_request() {
    let sandbox = Sandbox::new();
    let realtime_plus_3 = libc::SIGRTMIN() + 3;
    for (name, program, signal) in [
        ("systemd", "usr/lib/systemd/systemd", realtime_plus_3),
        ("openrc", "sbin/openrc-init", libc::SIGTERM),
        ("runit", "sbin/runit-init", libc::SIGCONT),
        ("s6", "bin/s6-svscan", libc::SIGUSR2),
        ("procd", "sbin/procd", libc::SIGUSR2),
        ("busybox", "bin/busybox-init", libc::SIGUSR2),
    ] {
        let tree = Tree::disguised(&sandbox.path(name), program);
        sandbox.create(name, &tree.0, &[]);
        sandbox.ds(&["start", name]).succeeds();
        wait_for("the report", || tree.report());
        assert_eq!(sandbox.info(name)["init"], name);
        assert_eq!(sandbox.ds(&["stop", name]).succeeds(), format!("{name} stopped\n"));
        assert_eq!(tree.signals(), [signal], "{name}");
    }
}

#[test]
fn an_init_that_does_not_listen_is_killed_in_time() {
    let sandbox = Sandbox::new();
    let tree = boot(&sandbox, &["environment.PROBE=deaf", "stop-timeout=1"]);
    let begun = Instant::now();
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped (killed)\n");
    let seconds = begun.elapsed().as_secs_f32();
    assert!((1.0..14.0).contains(&seconds), "{seconds} s");
    assert_eq!(tree.signals(), [libc::SIGTERM]);
    assert_eq!(sandbox.state("web"), "stopped", "it was requested");
}

#[test]
fn kill_sends_no_request() {
    let sandbox = Sandbox::new();
    let tree = boot(&sandbox, &["environment.PROBE=deaf"]);
    sandbox.ds(&["stop", "web", "--kill"]).succeeds();
    assert_eq!(tree.signals(), [0; 0]);
}

#[test]
fn a_second_stop_can_shorten_the_timeout() {
    let sandbox = Sandbox::new();
    let tree = boot(&sandbox, &["environment.PROBE=deaf", "stop-timeout=300"]);
    let patient = sandbox.spawn_ds(&["stop", "web"]);
    sandbox.wait_for_state("web", "stopping");
    sandbox.ds(&["stop", "web", "--timeout", "1"]).succeeds();
    assert!(patient.wait_with_output().unwrap().status.success());
    assert_eq!(tree.signals(), [libc::SIGTERM], "one request");
}

#[test]
fn an_interrupted_stop_continues() {
    let sandbox = Sandbox::new();
    boot(&sandbox, &["environment.PROBE=deaf", "stop-timeout=2"]);
    let mut stop = sandbox.spawn_ds(&["stop", "web"]);
    sandbox.wait_for_state("web", "stopping");
    stop.kill().unwrap();
    stop.wait().unwrap();
    sandbox.wait_for_state("web", "stopped");
}

#[test]
fn daemons_that_ignore_signals_and_zombies_end_with_their_container() {
    let sandbox = Sandbox::new();
    boot(&sandbox, &["environment.PROBE=orphans=5,zombies=5"]);
    let daemons = || sandbox.processes().iter().filter(|process| process.name == "init").count();
    wait_for("the daemons", || (daemons() == 6).then_some(()));
    sandbox.ds(&["stop", "web"]).succeeds();
    wait_for("the end of the daemons", || (daemons() == 0).then_some(()));
}

#[test]
fn a_stop_while_it_starts_leaves_nothing_running() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    for _ in 0..10 {
        let start = sandbox.spawn_ds(&["start", "web"]);
        sandbox.ds(&["stop", "web"]).succeeds();
        let started = start.wait_with_output().unwrap();
        // Both have succeeded in either order, and another stop leaves it stopped.
        assert!([Some(0), Some(1)].contains(&started.status.code()), "{started:?}");
        sandbox.ds(&["stop", "web"]).succeeds();
        sandbox.wait_for_end("web");
    }
}

#[test]
fn a_newly_executed_init_gets_the_request_once_it_handles_signals() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &["environment.PROBE_DELAY=500"]);
    sandbox.ds(&["start", "web"]).succeeds();
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    assert_eq!(tree.signals(), [libc::SIGTERM]);
}

#[test]
fn a_frozen_container_can_be_stopped() {
    let sandbox = Sandbox::new();
    let tree = boot(&sandbox, &[]);
    let mut files = sandbox.group_directories().into_iter().map(|top| top.join("web/cgroup.freeze"));
    let Some(freeze) = files.find(|file| file.exists()) else {
        skip("stop::a_frozen_container_can_be_stopped", "no cgroup v2 with a freezer");
        return;
    };
    fs::write(freeze, "1").unwrap();
    sandbox.wait_for_state("web", "frozen");
    sandbox.ds(&["stop", "web"]).succeeds();
    assert_eq!(tree.signals(), [libc::SIGTERM]);
}

#[test]
fn processes_that_a_session_leaves_are_killed_too() {
    let sandbox = Sandbox::new();
    boot(&sandbox, &[]);
    let session = sandbox.spawn_ds(&["run", "web", "--", "/bin/probe", "deaf-session"]);
    wait_for("the session", || sandbox.process(&["/bin/probe", "deaf-session"]));
    sandbox.ds(&["stop", "web"]).succeeds();
    assert_eq!(session.wait_with_output().unwrap().status.code(), Some(128 + 9));
}

/// The kernel ends PID 1 only after the parent of each process in its namespace has reaped it.
#[test]
fn a_stopped_process_outside_that_reaps_nothing_keeps_no_container() {
    let sandbox = Sandbox::new();
    boot(&sandbox, &[]);
    for words in [&["restart", "web"][..], &["stop", "web", "--timeout", "1"]] {
        let mut session = sandbox.spawn_ds(&["run", "web", "--", "/bin/probe", "hold"]);
        let command = wait_for("the command", || sandbox.process(&["/bin/probe", "hold"]));
        process::signal(command.parent, Signal::SIGSTOP);
        // A client would end its stopped worker.
        session.kill().unwrap();
        session.wait().unwrap();
        sandbox.ds(words).succeeds();
        process::signal(command.parent, Signal::SIGCONT);
        wait_for("the end of the worker", || Process::of(command.parent).is_none().then_some(()));
    }
    assert_eq!(sandbox.state("web"), "stopped");
}

#[test]
fn sigterm_for_the_monitor_is_a_clean_stop() {
    let sandbox = Sandbox::new();
    let tree = boot(&sandbox, &[]);
    process::signal(sandbox.monitor("web").unwrap().pid, Signal::SIGTERM);
    sandbox.wait_for_state("web", "stopped");
    assert_eq!(tree.signals(), [libc::SIGTERM]);
}
