//! The verbs that change data on disk.

use std::fs;
use std::process::Command;

use ds::monitor::protocol::ExitReason;

use crate::machine::{Done, Machine, binary, skip, wait_for};
use crate::monitor::Monitor;

fn nothing_is_left(machine: &Machine) {
    let left = |path: &std::path::Path| -> Vec<_> {
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert!(left(&machine.paths.containers()).is_empty(), "{:?}", left(&machine.paths.containers()));
    assert!(left(&machine.paths.run_containers()).is_empty(), "{:?}", left(&machine.paths.run_containers()));
}

#[test]
fn a_container_is_created_completely_or_not_at_all() {
    let Some(machine) = Machine::new("data::a_container_is_created_completely_or_not_at_all") else { return };
    let tree = machine.tree("tree");
    let tree = tree.to_str().unwrap();
    let create = |more: &[&str]| machine.ds(&[&["create", "web", "--rootfs", tree][..], more].concat());
    assert_eq!(create(&["--set", "limits.memory=much"]).code, Some(2));
    assert_eq!(create(&["--set", "hostnam=x"]).code, Some(2));
    machine
        .ds(&["create", "web", "--rootfs", "/nonexistent"])
        .fails(1, "ds: create web: the root file system /nonexistent does not exist");
    let file = machine.path("file");
    fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    machine
        .ds(&["create", "web", "--rootfs", file])
        .fails(1, &format!("ds: create web: the root file system {file} is not a directory"));
    machine
        .ds(&["create", "web", "--rootfs", "/"])
        .fails(1, "ds: create web: the host's own root directory cannot be a container; use another one");
    let create_image = machine.ds(&["create", "web", "--image", file]);
    let empty = "it is empty; 'ds create NAME --from ARCHIVE --size SIZE' fills a new one";
    create_image.fails(1, &format!("ds: create web: the image {file}: {empty}"));
    nothing_is_left(&machine);

    assert_eq!(create(&["--set", "hostname=first"]).succeeds(), "web created\n");
    let again = "ds: create web: a container with this name exists; choose another name, or change the container with 'ds set'";
    create(&[]).fails(1, again);
    assert_eq!(machine.ds(&["get", "web", "hostname"]).succeeds(), "first\n");
    // A relative path is the client's.
    let mut relative = machine.ds_command(&["create", "rel", "--rootfs", "./tree/../tree"]);
    Done::of(relative.current_dir(machine.path("")).output().unwrap()).succeeds();
    assert_eq!(
        machine.ds(&["get", "rel", "rootfs"]).succeeds().trim(),
        fs::canonicalize(tree).unwrap().display().to_string()
    );
}

#[test]
fn settings_are_changed_and_comments_kept() {
    let Some(machine) = Machine::new("data::settings_are_changed_and_comments_kept") else { return };
    machine.container("web", &[]);
    let file = machine.paths.container_ini(&"web".parse().unwrap());
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}# mine\n")).unwrap();
    machine.ds(&["set", "web", "autostart=yes", "priority=-3", "limits.memory=512M"]).succeeds();
    assert!(fs::read_to_string(&file).unwrap().contains("# mine"));
    let listed = machine.listed("web");
    assert_eq!((&listed["autostart"], &listed["priority"]), (&true.into(), &(-3).into()));
    assert!(machine.ds(&["get", "web"]).succeeds().contains("limits.memory = 512M\n"));
    assert_eq!(machine.ds(&["set", "web", "priority=x"]).code, Some(2));
    machine.ds(&["set", "wbe", "priority=1"]).fails(1, "ds: set wbe: no such container; did you mean 'web'?");
    // A damaged file: every verb reports the position, and the list continues.
    fs::write(&file, "[container]\nrootfs = /x\nautostart = perhaps\n").unwrap();
    let broken = machine.ds(&["get", "web"]);
    assert!(broken.stderr.contains("container.ini:3:13: "), "{}", broken.stderr);
    assert!(broken.stderr.lines().any(|line| line.trim() == "^"), "{}", broken.stderr);
    assert!(machine.listed("web")["problem"].as_str().unwrap().contains("container.ini:3:13: "));
}

#[test]
fn a_running_container_is_neither_renamed_nor_deleted() {
    let Some(machine) = Machine::new("data::a_running_container_is_neither_renamed_nor_deleted") else {
        return;
    };
    machine.container("web", &[]);
    let monitor = Monitor::start(&machine.paths, "web");
    machine.ds(&["rm", "web"]).fails(1, "ds: rm web: it is running; stop it first, or use --force");
    machine.ds(&["rename", "web", "www"]).fails(1, "ds: rename web: it is running; stop it first");
    let rm = machine.spawn(&["rm", "--force", "web"]);
    wait_for("the request", || {
        let heard = monitor.heard.lock().unwrap();
        heard.iter().any(|request| format!("{request:?}").contains("kill: true")).then_some(())
    });
    monitor.end(ExitReason::Stopped);
    assert_eq!(Done::of(rm.wait_with_output().unwrap()).succeeds(), "web deleted\n");
    assert!(!monitor.lock_exists());
    nothing_is_left(&machine);
    assert!(machine.path("tree").exists(), "a tree used in place stays");
}

#[test]
fn a_renamed_container_keeps_its_own_files() {
    let Some(machine) = Machine::new("data::a_renamed_container_keeps_its_own_files") else { return };
    machine.container("web", &["priority=4"]);
    machine.container("other", &[]);
    let own = machine.paths.container(&"web".parse().unwrap()).join("rootfs");
    fs::create_dir_all(own.join("etc")).unwrap();
    machine.ds(&["set", "web", &format!("rootfs={}", own.display())]).succeeds();
    let taken = "ds: rename web: a container other already exists; choose another name";
    machine.ds(&["rename", "web", "other"]).fails(1, taken);
    machine.ds(&["rename", "web", "www"]).succeeds();
    assert_eq!(machine.ds(&["list", "--names"]).succeeds(), "other\nwww\n");
    assert_eq!(machine.ds(&["get", "www", "priority"]).succeeds(), "4\n");
    let moved = machine.paths.container(&"www".parse().unwrap()).join("rootfs");
    assert_eq!(machine.ds(&["get", "www", "rootfs"]).succeeds().trim(), moved.display().to_string());
    assert_eq!(machine.ds(&["rm", "www"]).succeeds(), "www deleted\n");
    assert_eq!(machine.ds(&["rm", "other"]).succeeds(), "other deleted\n");
    nothing_is_left(&machine);
}

#[test]
fn a_copy_and_an_import_report_network_settings_that_prevent_their_start() {
    let test = "data::a_copy_and_an_import_report_network_settings_that_prevent_their_start";
    let Some(machine) = Machine::new(test) else { return };
    machine.container("router", &["network.mode=nat"]);
    machine.container("web", &["network.mode=nat", "network.address=10.89.40.10"]);
    machine.container("client", &["network.mode=gateway", "network.gateway=router"]);
    let taken =
        "cannot start with these settings: network.address: web has 10.89.40.10; use a different address";
    let copied = machine.ds(&["copy", "web", "second"]);
    assert!(copied.stderr.contains(taken), "{}", copied.stderr);
    assert_eq!(copied.code, Some(0), "{}", copied.stderr);
    assert_eq!(machine.ds(&["get", "second", "network.address"]).succeeds(), "10.89.40.10\n");
    assert!(!machine.ds(&["copy", "client", "third"]).stderr.contains("cannot start"));
    let file = machine.path("client.tar.zst");
    let file = file.to_str().unwrap();
    machine.ds(&["export", "client", "-o", file]).succeeds();
    machine.ds(&["rm", "router"]).succeeds();
    let imported = machine.ds(&["import", file, "fourth"]);
    let missing = "cannot start with these settings: network.gateway: there is no container router";
    assert!(imported.stderr.contains(missing), "{}", imported.stderr);
    assert_eq!(imported.code, Some(0), "{}", imported.stderr);
}

#[test]
fn nothing_is_deleted_across_a_mount_point() {
    let test = "data::nothing_is_deleted_across_a_mount_point";
    let Some(machine) = Machine::new(test) else { return };
    let unshare = ["-m", "--propagation", "private"];
    if !Command::new("unshare").args(unshare).arg("true").status().is_ok_and(|status| status.success()) {
        return skip(test, "no mount namespaces");
    }
    machine.container("web", &[]);
    let own = machine.paths.container(&"web".parse().unwrap()).join("a b");
    fs::create_dir_all(&own).unwrap();
    fs::write(machine.path("tree/keep"), "keep").unwrap();
    machine.ds(&["supervisor", "stop"]).succeeds();
    // The supervisor must see the mount, so it is started in the same mount namespace.
    let script = "mount --bind \"$1\" \"$2\" && \"$0\" rm web; echo $?; umount \"$2\" && \"$0\" rm web";
    let mut shell = machine.command("unshare");
    shell.args(unshare).args(["sh", "-c", script]).arg(binary()).arg(machine.path("tree")).arg(&own);
    let done = Done::of(shell.output().unwrap());
    let line = format!("ds: rm web: something is mounted at {}; unmount it first\n", own.display());
    assert_eq!((done.stdout.as_str(), done.stderr), ("1\nweb deleted\n", line));
    assert_eq!(fs::read_to_string(machine.path("tree/keep")).unwrap(), "keep");
    nothing_is_left(&machine);
}

#[test]
fn an_interrupted_deletion_is_completed() {
    let Some(machine) = Machine::new("data::an_interrupted_deletion_is_completed") else { return };
    machine.container("web", &[]);
    let containers = machine.paths.containers();
    fs::rename(containers.join("web"), containers.join(".trash-web-1234")).unwrap();
    assert_eq!(machine.ds(&["list", "--names"]).succeeds(), "");
    // The supervisor, which has just started, may complete it first.
    let gone = "ds: rm web: no such container; see 'ds list'\n";
    wait_for("the end of the deletion", || {
        let done = machine.ds(&["rm", "web"]);
        assert!(done.stdout == "web deleted\n" || done.stderr == gone, "{done:?}");
        (done.stderr == gone && !containers.join(".trash-web-1234").exists()).then_some(())
    });
    nothing_is_left(&machine);
}
