//! The life cycle of containers: create, start, inspect, restart, stop, delete; and the JSON output.

use crate::process;
use crate::sandbox::{Sandbox, files_below};
use crate::wait_for;
use serde_json::Value;

/// The keys of an object, in alphabetical order.
fn keys(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn a_container_is_created_started_stopped_and_deleted() {
    let sandbox = Sandbox::new();
    let tree = crate::root_fs::Tree::with_probe(&sandbox.path("web"));
    let path = tree.0.to_str().unwrap();
    assert_eq!(sandbox.ds(&["create", "web", "--rootfs", path]).succeeds(), "web created\n");
    assert_eq!(sandbox.state("web"), "stopped");

    assert_eq!(sandbox.ds(&["start", "web"]).succeeds(), "web started\n");
    assert_eq!(sandbox.state("web"), "running");
    let report = wait_for("the report", || tree.report());
    assert_eq!(report["pid"], 1);
    assert_eq!(report["argv"], serde_json::json!(["/sbin/init"]));
    assert_eq!(report["hostname"], "web");
    assert_eq!(report["cwd"], "/");

    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    assert_eq!(sandbox.state("web"), "stopped");
    assert_eq!(tree.signals(), [libc::SIGTERM], "one shutdown request, in the init system's own way");
    sandbox.ds(&["rm", "web"]).succeeds();
    assert!(!sandbox.data("containers/web").exists());
    assert!(tree.path("sbin/init").exists(), "a tree that was used in place is kept");
    sandbox.ds(&["info", "web"]).fails(1, &["ds: info web: ", "no such container"]);
}

#[test]
fn repeated_commands_succeed() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web is not running\n");
    sandbox.ds(&["start", "web"]).succeeds();
    let before = sandbox.info("web");
    assert_eq!(sandbox.ds(&["start", "web"]).succeeds(), "web is already running\n");
    assert_eq!(sandbox.info("web")["pid"], before["pid"]);
}

#[test]
fn an_unknown_container_is_one_line() {
    let sandbox = Sandbox::new();
    for words in [&["start", "nobody"][..], &["stop", "nobody"], &["restart", "nobody"], &["rm", "nobody"]] {
        sandbox.ds(words).fails(1, &[&format!("ds: {} nobody: ", words[0])]);
    }
    assert_eq!(sandbox.ds(&["list", "--json"]).json(), serde_json::json!({ "containers": [] }));
}

#[test]
fn invalid_names_are_refused() {
    let sandbox = Sandbox::new();
    let long = "a".repeat(65);
    for name in ["..", ".hidden", "a/b", "a b", "-x", "ä", &long] {
        let done = sandbox.ds(&["create", "--rootfs", "/", "--", name]);
        assert!(done.code == 1 || done.code == 2, "{name}: {}", done.code);
        assert_eq!(done.errors.matches('\n').count(), 1, "{name}: {}", done.errors);
    }
    assert_eq!(files_below(&sandbox.data("containers"), &|_| true), Vec::<std::path::PathBuf>::new());
}

#[test]
fn list_and_info_have_the_promised_keys() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &["priority=7", "hostname=www.example.org"]);
    let list = sandbox.ds(&["list", "--json"]).json();
    let promised = ["name", "state", "pid", "autostart", "priority", "uptime_s"];
    for key in promised {
        assert!(keys(&list["containers"][0]).contains(&key), "list: {key}: {list}");
    }
    assert_eq!(list["containers"][0]["pid"], Value::Null);
    assert_eq!(list["containers"][0]["uptime_s"], Value::Null);

    // Not before: the first command starts a supervisor, which would start it.
    sandbox.ds(&["set", "web", "autostart=yes"]).succeeds();
    sandbox.ds(&["start", "web"]).succeeds();
    let info = sandbox.info("web");
    let more = ["init", "rootfs", "cgroup", "hostname", "network", "warnings", "os", "last_exit"];
    for key in promised.iter().chain(&more) {
        assert!(keys(&info).contains(key), "info: {key}: {info}");
    }
    assert_eq!(info["name"], "web");
    assert_eq!(info["state"], "running");
    assert_eq!(info["autostart"], true);
    assert_eq!(info["priority"], 7);
    assert_eq!(info["hostname"], "www.example.org");
    assert_eq!(info["init"], "other");
    assert_eq!(
        info["network"],
        serde_json::json!({ "mode": "host", "addresses": [], "ports": [], "uplink": null })
    );
    assert_eq!(info["warnings"], serde_json::json!([]));
    assert_eq!(info["last_exit"], Value::Null);
    assert_eq!(keys(&info["rootfs"]), ["kind", "path"]);
    assert_eq!(info["rootfs"]["path"], sandbox.path("web").to_str().unwrap());
    assert!(info["uptime_s"].as_u64().unwrap() < 60);
    // The process id is that in the sandbox's PID namespace, where `ds` runs.
    let first = sandbox.first_process("web").unwrap();
    let inner = std::fs::read_to_string(format!("/proc/{}/status", first.pid)).unwrap();
    let numbers = inner.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap().to_owned();
    let pid = info["pid"].as_i64().unwrap();
    assert!(numbers.split_whitespace().any(|number| number.parse() == Ok(pid)), "{numbers} {info}");
    assert_eq!(sandbox.ds(&["info", "web", "--pid"]).succeeds(), format!("{}\n", info["pid"]));
    sandbox.ds(&["stop", "web"]).succeeds();
    assert_eq!(sandbox.ds(&["info", "web", "--pid"]).ends_with(1), "NONE\n");
    assert_eq!(sandbox.info("web")["last_exit"]["reason"], "stopped");
}

#[test]
fn json_writes_a_percent_sign_as_an_escape() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    tree.write("etc/os-release", "PRETTY_NAME=\"100% Linux\"\n");
    let text = sandbox.ds(&["info", "web", "--json"]).succeeds();
    assert!(!text.contains('%') && text.contains(r"100\u0025 Linux"), "{text}");
}

#[test]
fn several_are_started_and_stopped_in_one_command() {
    let sandbox = Sandbox::new();
    for name in ["a", "b", "c"] {
        sandbox.container(name, &[]);
    }
    assert_eq!(sandbox.ds(&["start", "a", "b"]).succeeds(), "a started\nb started\n");
    sandbox.ds(&["start", "--all"]).succeeds();
    let list = sandbox.ds(&["list", "--json"]).json();
    let states: Vec<_> = list["containers"].as_array().unwrap().iter().map(|one| &one["state"]).collect();
    assert_eq!(states, ["running"; 3]);
    sandbox.ds(&["stop", "--all"]).succeeds();
    assert_eq!(sandbox.ds(&["list", "--names"]).succeeds(), "a\nb\nc\n");
    // A failure does not prevent the others from starting.
    std::fs::remove_file(sandbox.path("b/sbin/init")).unwrap();
    sandbox.ds(&["start", "a", "b", "c"]).fails(1, &["ds: start b: ", "/sbin/init"]);
    assert_eq!([sandbox.state("a"), sandbox.state("c")], ["running", "running"]);
}

#[test]
fn two_starts_of_one_name_both_succeed_and_one_wins() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    // The first of the two also starts the supervisor.
    let starts: Vec<_> = (0..8).map(|_| sandbox.spawn_ds(&["start", "web"])).collect();
    let mut lines = Vec::new();
    for start in starts {
        let output = start.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        lines.push(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    lines.sort();
    assert_eq!(lines[7], "web started\n");
    assert!(lines[..7].iter().all(|line| line == "web is already running\n"), "{lines:?}");
    wait_for("the report", || tree.report());
    assert_eq!(tree.boots(), 1);
}

#[test]
fn twenty_containers_at_once() {
    let sandbox = Sandbox::new();
    let names: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
    let trees: Vec<_> = names.iter().map(|name| sandbox.container(name, &[])).collect();
    sandbox.ds(&["start", "--all"]).succeeds();
    for tree in &trees {
        wait_for("the report", || tree.report());
    }
    let list = sandbox.ds(&["list", "--json"]).json();
    let containers = list["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 20);
    assert!(containers.iter().all(|one| one["state"] == "running"), "{list}");
    sandbox.ds(&["stop", "--all"]).succeeds();
    sandbox.kill_supervisor();
    sandbox.assert_clean();
}

#[test]
fn restart_keeps_the_monitor_and_uses_the_new_configuration() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the first boot", || (tree.boots() == 1).then_some(()));
    let (monitor, first) = (sandbox.monitor("web").unwrap(), sandbox.first_process("web").unwrap());
    sandbox.ds(&["set", "web", "hostname=renamed"]).succeeds();
    assert_eq!(sandbox.ds(&["restart", "web"]).succeeds(), "web restarted\n");
    wait_for("the second boot", || (tree.boots() == 2).then_some(()));
    assert_eq!(sandbox.monitor("web").unwrap().pid, monitor.pid);
    assert_ne!(sandbox.first_process("web").unwrap().pid, first.pid);
    assert_eq!(sandbox.info("web")["hostname"], "renamed");
    wait_for("the new name", || (tree.report()?["hostname"] == "renamed").then_some(()));
    sandbox.ds(&["stop", "web"]).succeeds();
    assert_eq!(
        sandbox.ds(&["restart", "web"]).succeeds(),
        "web restarted\n",
        "a stopped container is started"
    );
    assert_eq!(sandbox.state("web"), "running");
}

#[test]
fn a_reboot_inside_boots_again() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &["environment.PROBE=first:reboot"]);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the second boot", || (tree.boots() == 2).then_some(()));
    sandbox.wait_for_state("web", "running");
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    assert_eq!(tree.boots(), 2);
}

#[test]
fn a_container_that_keeps_rebooting_is_stopped() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &["environment.PROBE=reboot"]);
    sandbox.ds(&["start", "web"]).succeeds();
    sandbox.wait_for_state("web", "failed");
    let exit = &sandbox.info("web")["last_exit"];
    assert!(exit["message"].as_str().unwrap().contains("rebooted"), "{exit}");
}

#[test]
fn every_end_is_recorded_with_its_cause() {
    let sandbox = Sandbox::new();
    for (probe, state, reason, code, signal) in [
        ("poweroff", "stopped", "powered-off", None, None),
        ("halt", "stopped", "powered-off", None, None),
        ("exit=0", "stopped", "exited", Some(0), None),
        ("exit=3", "failed", "exited", Some(3), None),
        ("crash", "failed", "killed", None, Some(11)),
    ] {
        let name = probe.split('=').collect::<String>();
        sandbox.container(&name, &[&format!("environment.PROBE={probe}")]);
        sandbox.ds(&["start", &name]).succeeds();
        wait_for("the end", || sandbox.monitor(&name).is_none().then_some(()));
        let info = sandbox.info(&name);
        assert_eq!(info["state"], state, "{probe}");
        let exit = &info["last_exit"];
        assert_eq!(exit["reason"], reason, "{probe}");
        assert_eq!(exit["code"].as_i64(), code, "{probe}");
        assert_eq!(exit["signal"].as_i64(), signal, "{probe}");
    }
}

#[test]
fn start_can_wait_until_the_init_system_is_up() {
    let sandbox = Sandbox::new();
    sandbox.container("prompt", &["environment.PROBE=sleep=300,login"]);
    assert_eq!(sandbox.ds(&["start", "prompt", "--wait=30"]).succeeds(), "prompt is up\n");
    assert_eq!(sandbox.info("prompt")["ready"], true);

    // The probe, in place of systemd, receives the address for the readiness notification.
    let tree = crate::root_fs::Tree::disguised(&sandbox.path("notify"), "usr/lib/systemd/systemd");
    sandbox.create("notify", &tree.0, &["environment.PROBE=sleep=300,ready"]);
    assert_eq!(sandbox.ds(&["start", "notify", "--wait=30"]).succeeds(), "notify is up\n");

    sandbox.container("silent", &[]);
    sandbox.ds(&["start", "silent", "--wait=1"]).fails(1, &["ds: start silent: ", "ds logs silent"]);
    assert_eq!(sandbox.state("silent"), "running", "a timeout is not a failure of the container");

    sandbox.container("brief", &["environment.PROBE=sleep=300,exit=4"]);
    sandbox.ds(&["start", "brief", "--wait=30"]).fails(1, &["ds: start brief: ", "ended"]);
}

#[test]
fn a_dry_run_prints_the_plan_and_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &["hostname=planned", "mounts.bind=/usr:/mnt:ro"]);
    let plan = sandbox.ds(&["start", "--dry-run", "web"]).succeeds();
    for line in ["hostname planned", "mount /usr /mnt none rbind,ro,nofail", "exec /sbin/init"] {
        assert!(plan.lines().any(|found| found == line), "no '{line}' in {plan}");
    }
    assert_eq!(sandbox.state("web"), "stopped");
    assert!(!sandbox.path("web/mnt").exists());
    assert!(sandbox.group_directories().is_empty());
}

#[test]
fn start_creates_a_missing_container() {
    let sandbox = Sandbox::new();
    let tree = crate::root_fs::Tree::with_probe(&sandbox.path("web"));
    let path = tree.0.to_str().unwrap();
    sandbox.ds(&["start", "web", "--rootfs", path, "--set", "hostname=fresh"]).succeeds();
    assert_eq!(sandbox.info("web")["hostname"], "fresh");
    assert_eq!(sandbox.state("web"), "running");
    assert_eq!(sandbox.ds(&["start", "web", "--rootfs", path]).succeeds(), "web is already running\n");
}

#[test]
fn a_running_container_is_deleted_only_by_force() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    sandbox.ds(&["rm", "web"]).fails(1, &["ds: rm web: ", "--force"]);
    assert_eq!(sandbox.state("web"), "running");
    sandbox.ds(&["rm", "web", "--force"]).succeeds();
    assert!(!sandbox.data("containers/web").exists() && tree.path("sbin").exists());
    sandbox.kill_supervisor();
    sandbox.assert_clean();
}

#[test]
fn nothing_is_deleted_across_a_mount_point() {
    let mut sandbox = Sandbox::new();
    let tree = crate::root_fs::Tree::with_probe(&sandbox.data("containers/web/rootfs"));
    sandbox.create("web", &tree.0, &[]);
    let elsewhere = sandbox.path("elsewhere");
    std::fs::create_dir_all(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("precious"), "x").unwrap();
    let inside = tree.path("mnt");
    std::fs::create_dir_all(&inside).unwrap();
    sandbox.mount(&["--bind", elsewhere.to_str().unwrap(), inside.to_str().unwrap()]);
    let done = sandbox.ds(&["rm", "web"]);
    assert_eq!(std::fs::read_to_string(elsewhere.join("precious")).unwrap(), "x");
    done.fails(1, &["ds: rm web: ", "mount"]);
}

#[test]
fn settings_are_kept_with_their_comments() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    let file = sandbox.data("containers/web/container.ini");
    let before = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("# mine\n{before}; and this\n")).unwrap();
    sandbox.ds(&["set", "web", "priority=3", "limits.memory=512M"]).succeeds();
    assert_eq!(sandbox.ds(&["get", "web", "limits.memory"]).succeeds(), "512M\n");
    let after = std::fs::read_to_string(&file).unwrap();
    assert!(after.starts_with("# mine\n") && after.contains("; and this"), "{after}");
    sandbox.ds(&["set", "web", "prioritty=3"]).fails(2, &["container.priority"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), after);
}

#[test]
fn info_shows_how_a_container_ended() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &["restart=no"]);
    let last = || {
        let text = sandbox.ds(&["info", "web"]).succeeds();
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix("last exit")).map(str::trim);
        line.unwrap_or_else(|| panic!("no last exit in {text}")).to_owned()
    };
    let ends: [(&dyn Fn(), &str); 6] = [
        (&|| drop(sandbox.ds(&["stop", "web"]).succeeds()), "stopped"),
        (&|| drop(sandbox.ds(&["stop", "web", "--kill"]).succeeds()), "killed by 'ds stop'"),
        (&|| drop(sandbox.ds(&["restart", "web"]).succeeds()), "restarted"),
        (&|| drop(sandbox.ds(&["run", "web", "--", "/bin/probe", "reboot"])), "rebooted from inside"),
        (&|| process::kill(sandbox.first_process("web").unwrap().pid), "its init was killed by SIGKILL"),
        (&|| process::kill(sandbox.monitor("web").unwrap().pid), "its monitor was killed"),
    ];
    for (end, words) in ends {
        let boots = tree.boots();
        sandbox.ds(&["start", "web"]).succeeds();
        wait_for("the boot", || (tree.boots() > boots).then_some(()));
        end();
        wait_for(words, || sandbox.ds(&["info", "web"]).text().contains(words).then_some(()));
        assert!(last().starts_with(words), "{}", last());
        sandbox.ds(&["stop", "web", "--kill"]).succeeds();
        wait_for("the end", || sandbox.has_no_containers().then_some(()));
    }
}
