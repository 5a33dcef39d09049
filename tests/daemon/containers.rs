//! The supervisor's handling of containers: it watches, adopts and restarts them, and detects their end.

use std::fs;
use std::os::unix::net::UnixListener;

use ds::monitor::protocol::{ControlRequest, Exit, ExitReason};

use crate::machine::{Machine, wait_for};
use crate::monitor::Monitor;

fn watched(machine: &Machine, name: &str) -> Option<()> {
    let status = machine.json(&["supervisor", "status", "--json"]);
    status["watched"].as_array().unwrap().iter().any(|watched| watched == name).then_some(())
}

fn last_exit(machine: &Machine, name: &str) -> Option<Exit> {
    let text = fs::read(machine.paths.last_exit(&name.parse().unwrap())).ok()?;
    serde_json::from_slice(&text).ok()
}

#[test]
fn a_monitor_is_watched_and_adopted_after_the_supervisor_was_killed() {
    let Some(machine) =
        Machine::new("containers::a_monitor_is_watched_and_adopted_after_the_supervisor_was_killed")
    else {
        return;
    };
    machine.container("web", &[]);
    assert_eq!(machine.listed("web")["state"], "stopped");
    let monitor = Monitor::start(&machine.paths, "web");
    // No worker of this supervisor has started it.
    wait_for("the monitor to be watched", || watched(&machine, "web"));
    let listed = machine.listed("web");
    assert_eq!((&listed["state"], &listed["pid"]), (&"running".into(), &4_000_000.into()));
    assert!(listed["uptime_s"].as_u64().unwrap() > 0);
    assert_eq!(machine.ds(&["info", "web", "--pid"]).succeeds(), "4000000\n");
    for _ in 0..2 {
        machine.kill_supervisor();
        machine.ds(&["list"]).succeeds();
        watched(&machine, "web").expect("adopted before the first client is served");
    }
    // If its directory is deleted meanwhile, it is still listed and can be stopped.
    fs::remove_dir_all(machine.paths.container(&"web".parse().unwrap())).unwrap();
    assert_eq!(machine.listed("web")["state"], "running");
    monitor.end(ExitReason::Stopped);
    wait_for("the end", || machine.listed("web").is_null().then_some(()));
}

#[test]
fn a_monitor_that_is_killed_is_recorded_and_cleaned_up_after() {
    let Some(machine) = Machine::new("containers::a_monitor_that_is_killed_is_recorded_and_cleaned_up_after")
    else {
        return;
    };
    machine.container("web", &[]);
    let monitor = Monitor::start(&machine.paths, "web");
    wait_for("the status of the monitor", || machine.log().contains("web: running").then_some(()));
    monitor.die();
    let exit = wait_for("the record", || last_exit(&machine, "web"));
    assert_eq!(exit.reason, ExitReason::Lost);
    assert!(exit.uptime_s > 0, "from the last status of the monitor");
    wait_for("the sweep", || (!machine.paths.control(&"web".parse().unwrap()).exists()).then_some(()));
    let listed = machine.listed("web");
    assert_eq!((&listed["state"], &listed["restart_in_s"]), (&"failed".into(), &serde_json::Value::Null));
    assert!(machine.ds(&["info", "web"]).succeeds().contains("last exit   its monitor was killed after "));
}

#[test]
fn a_monitor_that_died_with_the_supervisor_is_found_by_the_next_one() {
    let Some(machine) =
        Machine::new("containers::a_monitor_that_died_with_the_supervisor_is_found_by_the_next_one")
    else {
        return;
    };
    machine.container("web", &[]);
    let monitor = Monitor::start(&machine.paths, "web");
    wait_for("the monitor to be watched", || watched(&machine, "web"));
    machine.kill_supervisor();
    monitor.die();
    machine.ds(&["list"]).succeeds();
    assert_eq!(wait_for("the record", || last_exit(&machine, "web")).reason, ExitReason::Lost);
    assert_eq!(machine.listed("web")["state"], "failed");
}

#[test]
fn an_ended_container_is_restarted_with_increasing_delays_until_it_is_stopped() {
    let Some(machine) = Machine::new(
        "containers::an_ended_container_is_restarted_with_increasing_delays_until_it_is_stopped",
    ) else {
        return;
    };
    machine.container("web", &["restart=always"]);
    let monitor = Monitor::start(&machine.paths, "web");
    wait_for("the monitor to be watched", || watched(&machine, "web"));
    monitor.end(ExitReason::PoweredOff);
    // The tree has no init, so the restarts fail, and the delays increase: 1 s, 2 s, 4 s.
    let listed = wait_for("the third wait", || {
        let listed = machine.listed("web");
        (listed["restart_in_s"].as_u64() >= Some(2)).then_some(listed)
    });
    assert_eq!(listed["state"], "restarting");
    assert!(machine.ds(&["list"]).succeeds().contains("restarts in "));
    assert!(machine.log().contains("start web: "), "{}", machine.log());
    assert_eq!(machine.ds(&["stop", "web"]).succeeds(), "web is not running; its restart was cancelled\n");
    let listed = machine.listed("web");
    assert_eq!((&listed["state"], &listed["restart_in_s"]), (&"failed".into(), &serde_json::Value::Null));
    let status = machine.json(&["supervisor", "status", "--json"]);
    assert_eq!(status["restarting"], serde_json::json!([]));
}

#[test]
fn a_container_that_was_stopped_or_started_manually_is_not_restarted() {
    let Some(machine) =
        Machine::new("containers::a_container_that_was_stopped_or_started_manually_is_not_restarted")
    else {
        return;
    };
    machine.container("web", &["restart=always"]);
    let monitor = Monitor::start(&machine.paths, "web");
    wait_for("the monitor to be watched", || watched(&machine, "web"));
    monitor.end(ExitReason::Stopped);
    wait_for("the end", || (machine.listed("web")["state"] == "stopped").then_some(()));
    wait_for("the supervisor to notice it", || watched(&machine, "web").is_none().then_some(()));
    assert_eq!(machine.listed("web")["restart_in_s"], serde_json::Value::Null);

    let monitor = Monitor::start(&machine.paths, "web");
    wait_for("the monitor to be watched", || watched(&machine, "web"));
    monitor.end(ExitReason::Exited);
    wait_for("the wait", || (machine.listed("web")["state"] == "restarting").then_some(()));
    let _monitor = Monitor::start(&machine.paths, "web");
    wait_for("the monitor to be watched", || watched(&machine, "web"));
    wait_for("the restart to be cancelled", || {
        let status = machine.json(&["supervisor", "status", "--json"]);
        (status["restarting"] == serde_json::json!([])).then_some(())
    });
}

#[test]
fn a_hanging_monitor_does_not_block_the_list() {
    let Some(machine) = Machine::new("containers::a_hanging_monitor_does_not_block_the_list") else {
        return;
    };
    machine.container("web", &[]);
    // It accepts no connection and sends no answer; it is not even a packet socket.
    let name = "web".parse().unwrap();
    ds::paths::create_private(&machine.paths.run_container(&name)).unwrap();
    let _stranger = UnixListener::bind(machine.paths.control(&name)).unwrap();
    let listed = machine.listed("web");
    assert!(listed["problem"].is_string(), "{listed}");
    fs::remove_file(machine.paths.control(&name)).unwrap();
    let _hanging = ds::socket::listen_at(&machine.paths.control(&name)).unwrap();
    let listed = machine.listed("web");
    assert_eq!(listed["problem"], "its monitor does not answer; run 'ds stop web --kill' to end both");
    assert_eq!(listed["state"], "running");
}

#[test]
fn only_monitors_that_know_the_report_hear_of_name_servers() {
    let Some(machine) = Machine::new("containers::only_monitors_that_know_the_report_hear_of_name_servers")
    else {
        return;
    };
    machine.container("old", &[]);
    machine.container("new", &[]);
    let [old, new] =
        [("old", 2), ("new", 3)].map(|(name, version)| Monitor::of_version(&machine.paths, name, version));
    let reports = |monitor: &Monitor| {
        let heard = monitor.heard.lock().unwrap();
        heard.iter().filter(|request| matches!(request, ControlRequest::NameServers)).count()
    };
    // Both are older than the supervisor, which cannot know what has changed before.
    machine.ds(&["list"]).succeeds();
    wait_for("the report", || (reports(&new) == 1).then_some(()));
    machine.ds(&["supervisor", "stop"]).succeeds();
    machine.ds(&["list"]).succeeds();
    wait_for("the report of the next supervisor", || (reports(&new) == 2).then_some(()));
    assert_eq!(reports(&old), 0);
}
