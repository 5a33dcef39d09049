//! The supervisor with real containers: autostart, restarts, and access control.
//!
//! `tests/daemon` tests its handling of clients and monitors.

use crate::sandbox::Sandbox;
use crate::wait_for;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// The lines of the supervisor's log with this text, without their time.
fn logged(sandbox: &Sandbox, text: &str) -> Vec<String> {
    sandbox
        .log()
        .lines()
        .filter(|line| line.contains(text))
        .map(|line| line.split(": ").skip(1).collect::<Vec<_>>().join(": "))
        .collect()
}

#[test]
fn containers_start_by_themselves_in_order_of_priority() {
    let sandbox = Sandbox::new();
    for (name, priority) in [("c", 30), ("a", -5), ("b1", 10), ("b2", 10)] {
        sandbox.container(name, &["autostart=yes", "start-after=boot", &format!("priority={priority}")]);
    }
    sandbox.container("not", &[]);
    sandbox.ds(&["supervise"]).succeeds();
    for name in ["a", "b1", "b2", "c"] {
        sandbox.wait_for_state(name, "running");
    }
    assert_eq!(sandbox.state("not"), "stopped");
    let mut order = wait_for("the records of four starts", || {
        Some(logged(&sandbox, ": running")).filter(|order| order.len() >= 4)
    });
    order[1..3].sort();
    assert_eq!(order, ["a: running", "b1: running", "b2: running", "c: running"]);
    // A later supervisor does not start containers that were stopped since.
    sandbox.ds(&["stop", "a"]).succeeds();
    sandbox.kill_supervisor();
    sandbox.ds(&["supervise"]).succeeds();
    assert_eq!(sandbox.state("a"), "stopped");
    assert_eq!(sandbox.state("c"), "running");
}

#[test]
fn a_failed_start_does_not_prevent_others() {
    let sandbox = Sandbox::new();
    let broken = sandbox.container("broken", &["autostart=yes", "start-after=boot", "priority=1"]);
    fs::remove_file(broken.path("sbin/init")).unwrap();
    sandbox.container("after", &["autostart=yes", "start-after=boot", "priority=2"]);
    sandbox.ds(&["supervise"]).succeeds();
    sandbox.wait_for_state("after", "running");
    assert_eq!(sandbox.state("broken"), "failed");
    assert!(sandbox.log().contains("/sbin/init"), "{}", sandbox.log());
}

#[test]
fn a_container_is_restarted_with_increasing_delays() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &["restart=always", "environment.PROBE=exit=1"]);
    sandbox.ds(&["start", "web"]).succeeds();
    // The container's own record of its boots: this test may look late.
    let mut times = BTreeMap::new();
    wait_for("the third boot", || {
        let written = fs::metadata(tree.path("booted")).ok()?.modified().ok()?;
        times.entry(tree.boots()).or_insert(written);
        (tree.boots() >= 3).then_some(())
    });
    // Restarts may be late on a busy machine, but never early.
    for (boot, shortest) in [(1, 0.9), (2, 1.9)] {
        let (Some(one), Some(next)) = (times.get(&boot), times.get(&(boot + 1))) else { continue };
        let wait = next.duration_since(*one).unwrap().as_secs_f32();
        assert!(wait >= shortest, "boot {} was {wait} s after the one before", boot + 1);
    }
    wait_for("the wait", || sandbox.ds(&["list"]).succeeds().contains("restarts in").then_some(()));
    // A stop cancels the restart.
    sandbox.ds(&["stop", "web"]).succeeds();
    let boots = tree.boots();
    std::thread::sleep(Duration::from_millis(4500));
    assert_eq!(tree.boots(), boots);
}

#[test]
fn the_policy_decides_what_is_restarted() {
    let sandbox = Sandbox::new();
    let cases = [
        ("no", "exit=1", false),
        ("on-failure", "exit=0", false),
        ("on-failure", "poweroff", false),
        ("on-failure", "exit=1", true),
        ("on-failure", "crash", true),
        ("always", "exit=0", true),
        ("always", "poweroff", true),
    ];
    let trees = cases.map(|(policy, probe, _)| {
        let name = format!("{policy}-{}", probe.replace('=', ""));
        let tree = sandbox
            .container(&name, &[&format!("restart={policy}"), &format!("environment.PROBE=first:{probe}")]);
        sandbox.ds(&["start", &name]).succeeds();
        (name, tree)
    });
    for ((_, tree), case) in trees.iter().zip(&cases).filter(|(_, case)| case.2) {
        wait_for(&format!("{case:?}"), || (tree.boots() == 2).then_some(()));
    }
    // The others have had the same time.
    std::thread::sleep(Duration::from_millis(1500));
    for ((name, tree), (policy, probe, again)) in trees.iter().zip(&cases) {
        assert_eq!(tree.boots(), if *again { 2 } else { 1 }, "{policy} {probe}");
        if *again {
            sandbox.wait_for_state(name, "running");
        } else {
            assert!(["stopped", "failed"].contains(&&*sandbox.state(name)), "{policy} {probe}");
        }
    }
}

#[test]
fn a_killed_monitor_counts_as_a_failure() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &["restart=on-failure"]);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report());
    crate::process::kill(sandbox.monitor("web").unwrap().pid);
    wait_for("the second boot", || (tree.boots() == 2).then_some(()));
    sandbox.wait_for_state("web", "running");
    assert_eq!(sandbox.info("web")["last_exit"]["reason"], "lost", "the reason for the restart");
}

#[test]
fn a_containers_root_cannot_command_the_supervisor() {
    let sandbox = Sandbox::new();
    let run = sandbox.run_directory("");
    fs::create_dir_all(&run).unwrap();
    // The sockets are reachable in the container.
    let tree = sandbox.container("web", &[&format!("mounts.bind={}:/mnt/run", run.display())]);
    sandbox.container("victim", &[]);
    tree.copy(&crate::given("DS_BIN"), "bin/ds");
    let started = sandbox.ds(&["start", "web", "victim"]);
    assert_eq!(started.errors, "");
    started.succeeds();
    let answer = sandbox.ds(&["run", "web", "-e", "DS_ROOT=/mnt", "--", "/bin/ds", "stop", "victim"]);
    answer.fails(1, &["ds: stop", "PID namespace"]);
    assert_eq!(sandbox.state("victim"), "running");
}

#[test]
fn a_containers_root_cannot_stop_its_neighbour_by_its_control_socket() {
    let sandbox = Sandbox::new();
    let run = sandbox.run_directory("");
    fs::create_dir_all(&run).unwrap();
    sandbox.container("web", &[&format!("mounts.bind={}:/mnt/run", run.display())]);
    sandbox.container("victim", &[]);
    sandbox.ds(&["start", "web", "victim"]).succeeds();
    let stop = r#"{"Stop":{"timeout_s":null,"kill":true}}"#;
    for request in [stop, "\"Status\"", "\"Console\""] {
        let words = ["run", "web", "--", "/bin/probe", "say", "/mnt/run/containers/victim/control", request];
        assert_eq!(sandbox.ds(&words).succeeds(), "refused\n", "{request}");
    }
    assert_eq!(sandbox.state("victim"), "running");
    // From outside, the same request works.
    sandbox.ds(&["stop", "victim", "--kill"]).succeeds();
}

#[test]
fn the_log_does_not_grow_for_ever() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.data("")).unwrap();
    fs::write(sandbox.data("supervisor.ini"), "[supervisor]\nlog-size = 4K\nlog-files = 2\n").unwrap();
    sandbox.container("web", &[]);
    for _ in 0..40 {
        sandbox.ds(&["start", "web"]).succeeds();
        sandbox.ds(&["stop", "web", "--kill"]).succeeds();
    }
    // It rotates its log as long as it runs.
    sandbox.ds(&["supervisor", "stop"]).succeeds();
    sandbox.assert_clean();
    let files: Vec<_> = fs::read_dir(sandbox.data("log")).unwrap().map(|entry| entry.unwrap()).collect();
    let total: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(files.len() == 2 && total <= 9 << 10, "{total} bytes in {files:?}");
}
