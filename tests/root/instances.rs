//! inotify instances: their number is limited for each user, so containers do not need one each, and work without any.

use crate::root_fs::Tree;
use crate::sandbox::{Sandbox, Setting};
use crate::wait_for;
use std::fs;

const NAT: [&str; 2] = ["network.mode=nat", "network.dns=192.0.2.53"];

fn has(tree: &Tree, name: &str) -> bool {
    let hosts = fs::read_to_string(tree.path("etc/hosts")).unwrap_or_default();
    hosts.lines().any(|line| line.split_whitespace().any(|word| word == name))
}

/// The number of inotify instances of a process.
fn instances(pid: i32) -> usize {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors").filter_map(Result::ok);
    let targets = files.filter_map(|file| fs::read_link(file.path()).ok());
    targets.filter(|target| target.to_string_lossy().contains("inotify")).count()
}

#[test]
fn a_container_in_a_network_has_no_inotify_instance() {
    let sandbox = Sandbox::new();
    let web = sandbox.container("web", &NAT);
    sandbox.container("db", &NAT);
    sandbox.ds(&["start", "web", "db"]).succeeds();
    wait_for("the name of db", || has(&web, "db").then_some(()));
    for name in ["web", "db"] {
        assert_eq!(instances(sandbox.monitor(name).expect("a monitor").pid), 0, "{name}");
    }
    // The next supervisor catches up.
    sandbox.kill_supervisor();
    sandbox.ds(&["stop", "db"]).succeeds();
    wait_for("the end of the name of db", || (!has(&web, "db")).then_some(()));
}

#[test]
fn a_container_that_follows_the_name_servers_has_no_inotify_instance() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    assert_eq!(instances(sandbox.monitor("web").expect("a monitor").pid), 0);
}

#[test]
fn without_inotify_instances_containers_still_learn_names() {
    let sandbox = Sandbox::with(Setting { denied: Some("inotify"), ..Setting::default() });
    let web = sandbox.container("web", &NAT);
    sandbox.container("db", &NAT);
    sandbox.ds(&["start", "web", "db"]).succeeds();
    wait_for("the name of db", || has(&web, "db").then_some(()));
    sandbox.ds(&["set", "db", "network.isolated=yes"]).succeeds();
    wait_for("the end of the name of db", || (!has(&web, "db")).then_some(()));
    sandbox.ds(&["set", "db", "network.isolated=no"]).succeeds();
    wait_for("the name of db again", || has(&web, "db").then_some(()));
    sandbox.ds(&["stop", "db"]).succeeds();
    wait_for("the end of db", || (!has(&web, "db")).then_some(()));
    let log = sandbox.log();
    assert_eq!(log.matches("networks: ").count(), 1, "{log}");
    assert!(log.contains("raise fs.inotify.max_user_instances"), "{log}");
}
