//! /dev of a container: its content, and its own terminals.

use crate::sandbox::Sandbox;
use crate::wait_for;

#[test]
fn the_devices_are_those_of_every_linux_and_no_others() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    let report = wait_for("the report", || tree.report());
    let mut found: Vec<String> = Vec::new();
    for (path, about) in report["devices"].as_object().unwrap() {
        let field = |name: &str| about[name].as_str().unwrap_or("-").to_owned();
        found.push(match about["kind"].as_str().unwrap() {
            "link" => format!("{path} -> {}", field("to")),
            "directory" => format!("{path}/ {}", field("mode")),
            kind => format!(
                "{path} {kind} {} {} {}:{}",
                field("number"),
                field("mode"),
                about["uid"],
                about["gid"]
            ),
        });
    }
    let expected = [
        "/dev/console character 136:0 0620 0:5",
        "/dev/core -> /proc/kcore",
        "/dev/fd -> /proc/self/fd",
        "/dev/full character 1:7 0666 0:0",
        "/dev/fuse character 10:229 0666 0:0",
        "/dev/mqueue/ 1777",
        "/dev/net/ 0755",
        "/dev/net/tun character 10:200 0666 0:0",
        "/dev/null character 1:3 0666 0:0",
        "/dev/ptmx -> pts/ptmx",
        "/dev/pts/ 0755",
        "/dev/pts/0 character 136:0 0620 0:5",
        "/dev/pts/ptmx character 5:2 0666 0:0",
        "/dev/random character 1:8 0666 0:0",
        "/dev/shm/ 1777",
        "/dev/stderr -> /proc/self/fd/2",
        "/dev/stdin -> /proc/self/fd/0",
        "/dev/stdout -> /proc/self/fd/1",
        "/dev/tty character 5:0 0666 0:0",
        "/dev/urandom character 1:9 0666 0:0",
        "/dev/zero character 1:5 0666 0:0",
    ];
    assert_eq!(found, expected);
    assert_eq!(report["terminal"]["stdin"], "/dev/pts/0", "its name inside is the one it was opened with");
    assert!(!tree.path("dev/null").exists(), "nothing is created in the tree itself");
}

#[test]
fn two_containers_have_terminals_of_their_own() {
    let sandbox = Sandbox::new();
    for name in ["a", "b"] {
        let tree = sandbox.container(name, &[]);
        sandbox.ds(&["start", name]).succeeds();
        let report = wait_for("the report", || tree.report());
        assert_eq!(report["terminal"]["console"], "136:0", "{name}: each counts from zero");
    }
}

#[test]
fn nothing_is_left_in_a_device_directory_that_the_image_brought() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    tree.write("dev/null", "not a device");
    tree.write("dev/console", "");
    sandbox.ds(&["start", "web"]).succeeds();
    let report = wait_for("the report", || tree.report());
    assert_eq!(report["devices"]["/dev/null"]["number"], "1:3");
    assert_eq!(std::fs::read_to_string(tree.path("dev/null")).unwrap(), "not a device");
}
