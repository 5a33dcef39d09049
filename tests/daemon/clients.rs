//! Clients: which ones are served, and what happens to a command when its client or its worker ends.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::machine::{Done, Machine, binary, skip, wait_for};
use crate::monitor::Monitor;

/// A machine where `ds stop web` and `ds rm --force web` wait forever.
fn stubborn(test: &str) -> Option<(Machine, Monitor)> {
    let machine = Machine::new(test)?;
    machine.container("web", &[]);
    let monitor = Monitor::start(&machine.paths, "web");
    wait_for("the monitor to be watched", || (machine.listed("web")["state"] == "running").then_some(()));
    wait_for("the workers to end", || machine.workers().is_empty().then_some(()));
    Some((machine, monitor))
}

fn one_worker(machine: &Machine) -> Pid {
    wait_for("a worker", || machine.workers().first().copied())
}

fn is_asked_to_stop(monitor: &Monitor) -> Option<()> {
    let heard = monitor.heard.lock().unwrap();
    heard.iter().any(|request| format!("{request:?}").starts_with("Stop")).then_some(())
}

#[test]
fn the_command_of_a_killed_client_ends() {
    let Some((machine, monitor)) = stubborn("clients::the_command_of_a_killed_client_ends") else { return };
    for words in [&["stop", "web"][..], &["rm", "--force", "web"]] {
        let mut client = machine.spawn(words);
        one_worker(&machine);
        wait_for("the request", || is_asked_to_stop(&monitor));
        client.kill().unwrap();
        client.wait().unwrap();
        wait_for("the end of the worker", || machine.workers().is_empty().then_some(()));
    }
    assert_eq!(machine.listed("web")["state"], "running", "only the command was interrupted");
}

#[test]
fn an_interrupted_client_ends_as_any_program_does() {
    let Some((machine, monitor)) = stubborn("clients::an_interrupted_client_ends_as_any_program_does") else {
        return;
    };
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        let client = machine.spawn(&["rm", "--force", "web"]);
        one_worker(&machine);
        wait_for("the request", || is_asked_to_stop(&monitor));
        monitor.heard.lock().unwrap().clear();
        kill(Pid::from_raw(client.id().try_into().unwrap()), signal).unwrap();
        let output = client.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(signal as i32));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        wait_for("the end of the worker", || machine.workers().is_empty().then_some(()));
    }
}

#[test]
fn the_death_of_a_worker_is_reported() {
    let Some((machine, monitor)) = stubborn("clients::the_death_of_a_worker_is_reported") else { return };
    let client = machine.spawn(&["stop", "web"]);
    // If a worker dies before it has read the request, the client connects to another.
    wait_for("the request", || is_asked_to_stop(&monitor));
    kill(one_worker(&machine), Signal::SIGKILL).unwrap();
    let done = Done::of(client.wait_with_output().unwrap());
    done.fails(1, "ds: stop: the worker died; see supervisor.log");
    wait_for("a line in the log", || machine.log().contains("was killed by SIGKILL").then_some(()));
    machine.ds(&["list"]).succeeds();
}

#[test]
fn a_command_outlives_the_supervisor() {
    let Some((machine, monitor)) = stubborn("clients::a_command_outlives_the_supervisor") else { return };
    let client = machine.spawn(&["stop", "web"]);
    wait_for("the request", || is_asked_to_stop(&monitor));
    machine.kill_supervisor();
    monitor.end(ds::monitor::protocol::ExitReason::Stopped);
    assert_eq!(Done::of(client.wait_with_output().unwrap()).succeeds(), "web stopped\n");
}

#[test]
fn another_pid_namespace_is_refused() {
    let test = "clients::another_pid_namespace_is_refused";
    let Some(machine) = Machine::new(test) else { return };
    if !Command::new("unshare").args(["-pf", "true"]).status().is_ok_and(|status| status.success()) {
        return skip(test, "no PID namespaces");
    }
    machine.ds(&["list"]).succeeds();
    let mut client = machine.command("unshare");
    client.arg("-pf").arg(binary()).arg("list");
    Done::of(client.output().unwrap()).fails(1, "ds: list: asked from another PID namespace");
    assert!(machine.log().contains("warning: a client was refused"), "{}", machine.log());
    machine.ds(&["list"]).succeeds();
}

#[test]
fn only_root_is_served() {
    let test = "clients::only_root_is_served";
    let Some(machine) = Machine::new(test) else { return };
    let client = |verb: &[&str]| machine.ds_command(verb).uid(65534).output();
    let Ok(output) = client(&["list"]) else {
        return skip(test, "the program is not executable for other users");
    };
    Done::of(output).fails(1, "ds: list: must be root; use 'su' or 'sudo'");
    let run = Done::of(client(&["run", "web", "true"]).unwrap());
    run.fails(125, "ds: run web: must be root; use 'su' or 'sudo'");
    Done::of(client(&["supervise"]).unwrap()).fails(1, "ds: supervise: must be root; use 'su' or 'sudo'");
    assert!(machine.supervisor().is_none());
}

#[test]
fn closed_streams_and_a_deleted_directory_are_supported() {
    let Some(machine) = Machine::new("clients::closed_streams_and_a_deleted_directory_are_supported") else {
        return;
    };
    machine.container("web", &[]);
    for (script, expected) in [
        ("\"$0\" list --names <&-", "web\n"),
        ("\"$0\" list --names 2>&-", "web\n"),
        ("\"$0\" list --names >&-; echo $?", "0\n"),
        ("\"$0\" list --names <&- >&- 2>&-; echo $?", "0\n"),
        ("\"$0\" list --names | true; echo $?", "0\n"),
        ("mkdir gone; cd gone; rmdir ../gone; \"$0\" list --names", "web\n"),
    ] {
        let mut shell = machine.command("/bin/sh");
        shell.current_dir(machine.path("")).args(["-c", script]).arg(binary());
        assert_eq!(Done::of(shell.output().unwrap()).succeeds(), expected, "{script}");
    }
    let mut shell = machine.command("/bin/sh");
    let script = "mkdir gone; cd gone; rmdir ../gone; \"$0\" create other --rootfs tree";
    shell.current_dir(machine.path("")).args(["-c", script]).arg(binary());
    let done = Done::of(shell.output().unwrap());
    done.fails(
        1,
        "ds: create other: tree: the supervisor cannot access the working directory; use an absolute path",
    );
}
