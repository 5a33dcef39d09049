//! Faults at any time: whichever process is killed, nothing is left, and the next start succeeds.

use crate::done::Done;
use crate::process::{self, Process};
use crate::root_fs::Tree;
use crate::sandbox::{STANDBY, Sandbox, Setting};
use crate::{skip, wait_for};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::process::Child;

/// Every stage of a start, in order, and its process.
const START: [(&str, Part); 15] = [
    ("locked", Part::Worker),
    ("listening", Part::Worker),
    ("forked", Part::Worker),
    ("detached", Part::Monitor),
    ("grouped", Part::Monitor),
    ("notified", Part::Monitor),
    ("cloned", Part::Monitor),
    ("born", Part::First),
    ("joined", Part::First),
    ("built", Part::First),
    ("entered", Part::First),
    ("stripped", Part::First),
    ("ready", Part::First),
    ("connected", Part::Monitor),
    ("executed", Part::Monitor),
];

/// The processes of a start or an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Client,
    Worker,
    Monitor,
    /// The container's PID 1, before and after it is the probe.
    First,
    Supervisor,
    All,
}

/// Every stage of an end.
const END: [(&str, Part); 4] = [
    ("ended", Part::Monitor),
    ("emptied", Part::Monitor),
    ("released", Part::Monitor),
    ("recorded", Part::Monitor),
];

/// A machine on which one stage fails in one way, with a container whose systemd is the probe.
fn sandbox(stage: &str, action: &str) -> (Sandbox, Tree) {
    let fault = format!("{stage}:{action}");
    let sandbox = Sandbox::with(Setting { fault: Some(fault), ..Setting::default() });
    let tree = Tree::disguised(&sandbox.path("web"), "usr/lib/systemd/systemd");
    sandbox.create("web", &tree.0, &["limits.pids=100"]);
    (sandbox, tree)
}

fn has_faults(test: &str) -> bool {
    if !cfg!(debug_assertions) {
        skip(test, "this build has no fault injection");
    }
    cfg!(debug_assertions)
}

/// The process that is paused at the stage.
fn paused(sandbox: &Sandbox) -> Process {
    wait_for("the stage", || sandbox.processes().into_iter().find(|process| process.name == "paused"))
}

/// Asserts that without the fault, the container starts and stops, and nothing is left.
fn assert_recovers(sandbox: &mut Sandbox, tree: &Tree) {
    if sandbox.supervisor().is_some() {
        sandbox.kill_supervisor();
    }
    sandbox.wait_for_workers();
    sandbox.forget_fault();
    sandbox.ds(&["stop", "web", "--kill"]).succeeds();
    wait_for("a clean machine", || sandbox.has_no_containers().then_some(()));
    let boots = tree.boots();
    assert_eq!(sandbox.ds(&["start", "web"]).succeeds(), "web started\n");
    wait_for("a boot", || (tree.boots() == boots + 1).then_some(()));
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    sandbox.assert_no_containers();
}

#[test]
fn a_start_that_fails_at_any_stage_is_one_line_and_leaves_nothing() {
    if !has_faults("recovery::a_start_that_fails_at_any_stage_is_one_line_and_leaves_nothing") {
        return;
    }
    for (stage, _) in START {
        let (mut sandbox, tree) = sandbox(stage, "fail");
        sandbox.ds(&["start", "web"]).fails(1, &["ds: start web: ", &format!("injected fault at {stage}")]);
        wait_for("the end of the monitor", || sandbox.monitor("web").is_none().then_some(()));
        sandbox.assert_no_containers();
        assert_recovers(&mut sandbox, &tree);
    }
}

#[test]
fn the_deletion_of_a_killed_client_is_completed() {
    if !has_faults("recovery::the_deletion_of_a_killed_client_is_completed") {
        return;
    }
    let (sandbox, _tree) = sandbox("rm-renamed", "pause");
    let mut client = sandbox.spawn_ds(&["rm", "web"]);
    paused(&sandbox);
    let ds = process::below(client.id().try_into().unwrap()).into_iter().find(|one| one.name == "ds");
    process::kill(ds.expect("the client").pid);
    client.wait().unwrap();
    let left = || fs::read_dir(sandbox.data("containers")).unwrap().count();
    wait_for("the end of the deletion", || (left() == 0).then_some(()));
}

#[test]
fn a_process_that_dies_at_any_stage_of_a_start_leaves_nothing() {
    if !has_faults("recovery::a_process_that_dies_at_any_stage_of_a_start_leaves_nothing") {
        return;
    }
    for (stage, _) in START {
        let (mut sandbox, tree) = sandbox(stage, "kill");
        let done = sandbox.ds(&["start", "web"]);
        // Only the execve is missing: for its monitor, it ran and ended immediately.
        let failed = stage != "ready";
        assert_eq!(done.code, i32::from(failed), "{stage}: {done:?}");
        assert_eq!(done.errors.matches('\n').count(), usize::from(failed), "{stage}: {done:?}");
        // The supervisor notices and sweeps by itself.
        wait_for(&format!("a clean machine after {stage}"), || sandbox.has_no_containers().then_some(()));
        assert_recovers(&mut sandbox, &tree);
    }
}

#[test]
fn a_monitor_that_dies_before_the_supervisor_looks_leaves_nothing() {
    if !has_faults("recovery::a_monitor_that_dies_before_the_supervisor_looks_leaves_nothing") {
        return;
    }
    let (mut sandbox, tree) = sandbox("grouped", "kill");
    sandbox.wait_for_standby();
    let supervisor = sandbox.supervisor().expect("a supervisor").pid;
    // The worker has accepted its client and is paused before the supervisor is stopped.
    let path = sandbox.run_directory("containers/web/lock");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let lock = Flock::lock(File::create(&path).unwrap(), FlockArg::LockExclusive).expect("lock");
    let start = sandbox.spawn_ds(&["start", "web"]);
    wait_for("the worker to wait for the lock", || {
        let opened = |one: &Process| one.name == "ds:worker" && one.has_open(&path);
        sandbox.processes().iter().any(opened).then_some(())
    });
    process::signal(supervisor, Signal::SIGSTOP);
    drop(lock);
    Done::new("start web".into(), start.wait_with_output().unwrap()).fails(1, &["ds: start web: "]);
    assert!(!sandbox.has_no_containers(), "there is something to remove");
    process::signal(supervisor, Signal::SIGCONT);
    wait_for("a clean machine", || sandbox.has_no_containers().then_some(()));
    assert_recovers(&mut sandbox, &tree);
}

/// At each stage, kills each process in turn, and then all of them.
fn kill_each(stages: &[(&str, Part)], begin: impl Fn(&Sandbox) -> Child) {
    use Part::{All, Client, First, Monitor, Supervisor, Worker};
    for (stage, of) in stages {
        for victim in [Client, Worker, Monitor, First, Supervisor, All] {
            let (mut sandbox, tree) = sandbox(stage, "pause");
            let mut client = begin(&sandbox);
            let stopped = paused(&sandbox);
            match victim {
                Client => client.kill().expect("kill the client"),
                Supervisor => sandbox.kill_supervisor(),
                All => sandbox.kill_everything(),
                Worker | Monitor | First => match member(&sandbox, &stopped, *of, victim) {
                    Some(pid) => process::kill(pid),
                    // At this stage there is no such process.
                    None => {
                        client.kill().expect("kill the client");
                    }
                },
            }
            // A paused process never continues.
            process::kill_if_named(stopped.pid, "paused");
            let output = client.wait_with_output().expect("wait");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(errors.matches('\n').count() <= 1, "{victim:?} at {stage}: {errors}");
            eprintln!("{victim:?} at {stage}: {errors}");
            assert_recovers(&mut sandbox, &tree);
        }
    }
}

/// Finds a process by its role while one process is paused.
fn member(sandbox: &Sandbox, stopped: &Process, of: Part, wanted: Part) -> Option<i32> {
    let child = |parent: i32, except: i32| {
        let processes = sandbox.processes();
        let is_it = |one: &Process| one.parent == parent && one.pid != except && one.name != STANDBY;
        let found = processes.into_iter().find(is_it)?;
        Some(found.pid)
    };
    let supervisor = sandbox.supervisor()?.pid;
    let monitor = match of {
        Part::Worker => child(stopped.pid, 0),
        Part::First => Some(stopped.parent),
        _ => Some(stopped.pid),
    };
    match wanted {
        Part::First => child(monitor?, 0),
        Part::Monitor => monitor,
        // While it starts, the monitor is a child of the worker; later it is the supervisor's.
        _ => match Process::of(monitor?)?.parent {
            parent if parent == supervisor => child(supervisor, monitor?),
            worker => Some(worker),
        },
    }
}

/// A monitor that dies between two directories leaves the common one of a hierarchy without that of the container.
#[test]
fn a_directory_of_groups_that_has_none_is_removed() {
    if has_faults("recovery::a_directory_of_groups_that_has_none_is_removed") {
        let (mut sandbox, tree) = sandbox("grouped", "pause");
        let client = sandbox.spawn_ds(&["start", "web"]);
        let stopped = paused(&sandbox);
        sandbox.kill_everything();
        process::kill_if_named(stopped.pid, "paused");
        client.wait_with_output().expect("wait");
        let groups = sandbox.group_directories();
        let removed = groups.iter().filter(|path| fs::remove_dir(path.join("web")).is_ok());
        assert!(removed.count() > 0, "{groups:?}");
        assert_recovers(&mut sandbox, &tree);
    }
}

#[test]
fn any_process_killed_early_in_a_start_leaves_nothing() {
    if has_faults("recovery::any_process_killed_early_in_a_start_leaves_nothing") {
        kill_each(&START[..5], |sandbox| sandbox.spawn_ds(&["start", "web"]));
    }
}

#[test]
fn any_process_killed_in_the_middle_of_a_start_leaves_nothing() {
    if has_faults("recovery::any_process_killed_in_the_middle_of_a_start_leaves_nothing") {
        kill_each(&START[5..10], |sandbox| sandbox.spawn_ds(&["start", "web"]));
    }
}

#[test]
fn any_process_killed_late_in_a_start_leaves_nothing() {
    if has_faults("recovery::any_process_killed_late_in_a_start_leaves_nothing") {
        kill_each(&START[10..], |sandbox| sandbox.spawn_ds(&["start", "web"]));
    }
}

#[test]
fn any_process_killed_during_a_stop_leaves_nothing() {
    if has_faults("recovery::any_process_killed_during_a_stop_leaves_nothing") {
        kill_each(&END, |sandbox| {
            sandbox.ds(&["start", "web"]).succeeds();
            sandbox.spawn_ds(&["stop", "web"])
        });
    }
}

#[test]
fn any_process_killed_during_a_restart_leaves_nothing() {
    if has_faults("recovery::any_process_killed_during_a_restart_leaves_nothing") {
        kill_each(&[("rebooting", Part::Monitor)], |sandbox| {
            sandbox.ds(&["start", "web"]).succeeds();
            sandbox.spawn_ds(&["restart", "web"])
        });
    }
}

#[test]
fn any_process_killed_during_a_shell_leaves_nothing() {
    let sandbox = Sandbox::new();
    let tree = Tree::with_probe(&sandbox.path("tree"));
    for victim in [Part::Client, Part::Worker, Part::First, Part::All] {
        let mut client = sandbox.spawn_ds(&["shell", tree.0.to_str().unwrap(), "/bin/probe", "hold"]);
        let shell = wait_for("the shell", || sandbox.process(&["/bin/probe", "hold"]));
        match victim {
            Part::Client => client.kill().expect("kill the client"),
            Part::Worker => process::kill(shell.parent),
            Part::First => process::kill(shell.pid),
            _ => sandbox.kill_everything(),
        }
        client.wait().expect("wait");
        wait_for("its end", || sandbox.process(&["/bin/probe", "hold"]).is_none().then_some(()));
        sandbox.ds(&["list"]).succeeds();
        wait_for("a clean machine", || sandbox.has_no_containers().then_some(()));
    }
}

#[test]
fn a_killed_monitor_ends_its_container() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &["environment.PROBE=orphans=3"]);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    let monitor = sandbox.monitor("web").unwrap();
    process::kill(monitor.pid);
    sandbox.wait_for_state("web", "failed");
    assert_eq!(sandbox.info("web")["last_exit"]["reason"], "lost");
    wait_for("a clean machine", || sandbox.has_no_containers().then_some(()));
    sandbox.ds(&["start", "web"]).succeeds();
    sandbox.wait_for_state("web", "running");
}

#[test]
fn a_killed_first_process_is_recorded_with_its_signal() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    process::kill(sandbox.first_process("web").unwrap().pid);
    sandbox.wait_for_state("web", "failed");
    let exit = &sandbox.info("web")["last_exit"];
    assert_eq!((&exit["reason"], &exit["signal"]), (&"killed".into(), &9.into()), "{exit}");
    wait_for("a clean machine", || sandbox.has_no_containers().then_some(()));
}

#[test]
fn containers_survive_a_killed_supervisor_and_the_next_one_adopts_them() {
    let sandbox = Sandbox::new();
    let trees = ["a", "b", "c"].map(|name| sandbox.container(name, &[]));
    sandbox.ds(&["start", "--all"]).succeeds();
    trees.iter().for_each(|tree| drop(wait_for("the report", || tree.report())));
    let before = sandbox.info("a");
    sandbox.kill_supervisor();
    assert!(sandbox.first_process("a").is_some());
    // The next command starts a new one, which adopts them all.
    let list = sandbox.ds(&["list", "--json"]).json();
    let running = list["containers"].as_array().unwrap().iter().filter(|one| one["state"] == "running");
    assert_eq!(running.count(), 3, "{list}");
    assert_eq!(sandbox.info("a")["pid"], before["pid"]);
    // It also watches them: a killed one is detected and cleaned up.
    process::kill(sandbox.monitor("b").unwrap().pid);
    sandbox.wait_for_state("b", "failed");
    let of_b = |top: std::path::PathBuf| top.join("b").exists();
    wait_for("the removal of its groups", || {
        (!sandbox.group_directories().into_iter().any(of_b)).then_some(())
    });
    assert_eq!(sandbox.ds(&["stop", "a", "c"]).succeeds(), "a stopped\nc stopped\n");
}

#[test]
fn remains_of_a_power_cut_are_removed_at_the_next_start() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &["limits.pids=50"]);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    sandbox.kill_everything();
    assert!(!sandbox.group_directories().is_empty(), "no process could clean up");
    assert_eq!(sandbox.ds(&["start", "web"]).succeeds(), "web started\n");
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    sandbox.assert_no_containers();
}

#[test]
fn a_failed_reboot_is_reported() {
    if !has_faults("recovery::a_failed_reboot_is_reported") {
        return;
    }
    let (sandbox, tree) = sandbox("rebooting", "fail");
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    sandbox.ds(&["restart", "web"]).fails(1, &["ds: restart web: ", "injected fault at rebooting"]);
    sandbox.wait_for_state("web", "failed");
    wait_for("a clean machine", || sandbox.has_no_containers().then_some(()));
}
