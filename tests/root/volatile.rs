//! Volatile containers: their changes are in memory, and each boot begins without them.

use crate::images::{create, field, forget_check, image, loop_devices, text};
use crate::root_fs::Tree;
use crate::sandbox::Sandbox;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Runs a shell command in a container; returns its output.
#[track_caller]
fn sh(sandbox: &Sandbox, name: &str, line: &str) -> String {
    sandbox.ds(&["run", name, "--", "/bin/sh", "-c", line]).succeeds()
}

/// Every file of a tree, with the attributes that reveal a change.
fn snapshot(top: &Path) -> BTreeMap<String, (u32, u64, i64, u64)> {
    let mut found = BTreeMap::new();
    let mut pending = vec![top.to_owned()];
    while let Some(path) = pending.pop() {
        let about = fs::symlink_metadata(&path).expect("lstat");
        if about.is_dir() {
            pending.extend(fs::read_dir(&path).expect("list").map(|entry| entry.expect("entry").path()));
        }
        let shown = path.display().to_string();
        found.insert(shown, (about.mode(), about.size(), about.mtime(), about.ino()));
    }
    found
}

#[test]
fn changes_of_a_volatile_container_are_lost_at_every_boot() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &["volatile=yes"]);
    let before = snapshot(&tree.0);
    sandbox.ds(&["start", "web"]).succeeds();
    let change = "echo x >/made; echo more >>/etc/passwd; /bin/busybox rm /etc/group; /bin/busybox ls /";
    assert!(sh(&sandbox, "web", change).contains("made"));
    assert_eq!(
        sh(&sandbox, "web", "cat /proc/self/mounts | head -1 | /bin/busybox cut -d' ' -f2,3"),
        "/ overlay\n"
    );
    sandbox.ds(&["restart", "web"]).succeeds();
    sh(&sandbox, "web", "! /bin/busybox test -e /made && cat /etc/group >/dev/null && echo again >/made");
    // It boots with all mounts and files of a container.
    assert_eq!(sh(&sandbox, "web", "cat /etc/hostname"), "web\n");
    sandbox.ds(&["stop", "web"]).succeeds();
    assert_eq!(snapshot(&tree.0), before);
    sandbox.ds(&["start", "web"]).succeeds();
    sh(&sandbox, "web", "! /bin/busybox test -e /made");
    sandbox.ds(&["stop", "web"]).succeeds();
    assert_eq!(snapshot(&tree.0), before);
}

#[test]
fn the_top_of_the_tree_keeps_its_attributes() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &["volatile=yes"]);
    fs::set_permissions(&tree.0, std::os::unix::fs::PermissionsExt::from_mode(0o751)).expect("chmod");
    std::os::unix::fs::chown(&tree.0, Some(0), Some(10)).expect("chown");
    sandbox.ds(&["start", "web"]).succeeds();
    assert_eq!(sh(&sandbox, "web", "/bin/busybox stat -c '%a %u %g' /"), "751 0 10\n");
    sandbox.ds(&["stop", "web"]).succeeds();
}

#[test]
fn the_memory_of_changes_is_limited() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &["volatile=yes", "volatile-size=2M"]);
    sandbox.ds(&["start", "web"]).succeeds();
    sh(&sandbox, "web", "/bin/busybox dd if=/dev/zero of=/small bs=1024 count=1024");
    let full = "/bin/busybox dd if=/dev/zero of=/large bs=1024 count=4096 2>&1";
    let told = sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", full]).ends_with(1);
    assert!(told.contains("No space left"), "{told}");
    sandbox.ds(&["stop", "web"]).succeeds();
}

#[test]
fn no_character_of_a_path_is_special() {
    let sandbox = Sandbox::new();
    let path = sandbox.path("a:b,c\\d lowerdir=x");
    let tree = Tree::with_probe(&path);
    let before = snapshot(&tree.0);
    sandbox.ds(&["create", "web", "--rootfs", text(&path), "--set", "volatile=yes"]).succeeds();
    sandbox.ds(&["start", "web"]).succeeds();
    sh(&sandbox, "web", "echo x >/made");
    sandbox.ds(&["stop", "web"]).succeeds();
    assert_eq!(snapshot(&tree.0), before);
}

#[test]
fn several_volatile_containers_share_an_unchanged_image() {
    let sandbox = Sandbox::new();
    let path = image(&sandbox, "shared");
    let before = fs::read(&path).expect("read");
    for name in ["one", "two", "three"] {
        create(&sandbox, name, &path, &["volatile=yes", "fsck=never"]);
    }
    create(&sandbox, "writer", &path, &[]);
    sandbox.ds(&["start", "one", "two", "three"]).succeeds();
    assert_eq!(loop_devices(&sandbox).len(), 3);
    for name in ["one", "two", "three"] {
        sh(&sandbox, name, "! /bin/busybox test -e /made && echo $HOSTNAME >/made");
    }
    sandbox.ds(&["start", "writer"]).fails(1, &["uses the image"]);
    sandbox.ds(&["stop", "one", "three"]).succeeds();
    assert_eq!(loop_devices(&sandbox).len(), 1);
    sh(&sandbox, "two", "cat /made");
    sandbox.ds(&["restart", "two"]).succeeds();
    sh(&sandbox, "two", "! /bin/busybox test -e /made");
    sandbox.ds(&["stop", "two"]).succeeds();
    assert_eq!(loop_devices(&sandbox), [""; 0]);
    assert!(fs::read(&path).expect("read") == before, "the image is unchanged");
    sandbox.ds(&["start", "writer"]).succeeds();
    sandbox.ds(&["stop", "writer"]).succeeds();
}

#[test]
fn the_first_volatile_container_checks_the_image_and_the_others_wait() {
    let sandbox = Sandbox::new();
    let path = image(&sandbox, "shared");
    for name in ["one", "two"] {
        create(&sandbox, name, &path, &["volatile=yes", "fsck=always"]);
    }
    let long_ago = forget_check(&path);
    sandbox.ds(&["start", "one", "two"]).succeeds();
    let checked = field(&path, "Last checked");
    assert_ne!(checked, long_ago);
    forget_check(&path);
    sandbox.ds(&["restart", "one"]).succeeds();
    sandbox.ds(&["stop", "two"]).succeeds();
    sandbox.ds(&["start", "two"]).succeeds();
    assert_eq!(field(&path, "Last checked"), long_ago, "not while another one has it mounted");
    sandbox.ds(&["stop", "one", "two"]).succeeds();
}

#[test]
fn an_unclean_image_is_read_without_repair() {
    let sandbox = Sandbox::new();
    let path = image(&sandbox, "cut");
    create(&sandbox, "web", &path, &["volatile=yes", "fsck=never"]);
    let done = sandbox.run(&["debugfs", "-w", "-R", "feature needs_recovery", text(&path)]);
    done.succeeds();
    let before = fs::read(&path).expect("read");
    let done = sandbox.ds(&["start", "web"]);
    assert!(done.errors.contains("was not unmounted"), "{}", done.errors);
    done.succeeds();
    sh(&sandbox, "web", "echo x >/made");
    sandbox.ds(&["stop", "web"]).succeeds();
    assert!(fs::read(&path).expect("read") == before, "the image is unchanged");
}

#[test]
fn a_tree_that_overlayfs_refuses_is_explained() {
    let mut sandbox = Sandbox::new();
    let bottom = Tree::with_probe(&sandbox.path("bottom"));
    // Overlays can be stacked to a depth of two, and the container's own would be the third.
    let mut lower = bottom.0;
    for level in ["first", "second"] {
        let [top, changes, work] =
            ["top", "changes", "work"].map(|part| sandbox.path(&format!("{level}.{part}")));
        for directory in [&top, &changes, &work] {
            fs::create_dir_all(directory).expect("mkdir");
        }
        let options =
            format!("lowerdir={},upperdir={},workdir={}", text(&lower), text(&changes), text(&work));
        sandbox.mount(&["-t", "overlay", "overlay", "-o", &options, text(&top)]);
        lower = top;
    }
    sandbox.create("web", &lower, &["volatile=yes"]);
    sandbox
        .ds(&["start", "web"])
        .fails(1, &["overlayfs does not support", "on overlayfs", "'ds convert NAME image'"]);
    sandbox.ds(&["set", "web", "volatile=no"]).succeeds();
    sandbox.ds(&["start", "web"]).succeeds();
    sandbox.ds(&["stop", "web"]).succeeds();
}

#[test]
fn a_read_only_file_system_is_booted_volatile() {
    let sandbox = Sandbox::new();
    let tree = Tree::with_probe(&sandbox.path("tree"));
    let path = sandbox.path("tree.squashfs");
    let made = std::process::Command::new("mksquashfs").args([text(&tree.0), text(&path), "-quiet"]).output();
    let supported = fs::read_to_string("/proc/filesystems").expect("read").contains("\tsquashfs\n");
    if !made.is_ok_and(|made| made.status.success()) || !supported {
        crate::skip("volatile::a_read_only_file_system_is_booted_volatile", "no mksquashfs, or no squashfs");
        return;
    }
    create(&sandbox, "web", &path, &[]);
    sandbox.ds(&["start", "web"]).fails(1, &["squashfs is used read-only", "volatile=yes"]);
    sandbox.ds(&["set", "web", "volatile=yes"]).succeeds();
    sandbox.ds(&["start", "web"]).succeeds();
    sh(&sandbox, "web", "echo x >/made");
    sandbox.ds(&["stop", "web"]).succeeds();
}

#[test]
fn a_distribution_boots_volatile() {
    let mut sandbox = Sandbox::new();
    let changes = sandbox.distribution("web", "bookworm", &["volatile=yes"]);
    sandbox.ds(&["start", "web", "--wait"]).succeeds();
    let state = sandbox.ds(&["run", "web", "--", "systemctl", "is-system-running", "--wait"]).text();
    assert_eq!(state, "running\n");
    sandbox.ds(&["stop", "web"]).succeeds();
    assert_eq!(fs::read_dir(&changes.0).expect("list").count(), 0, "nothing was written below");
}

#[test]
fn the_command_line_of_droidspaces_boots_a_volatile_image() {
    let sandbox = Sandbox::new();
    let path = image(&sandbox, "old");
    let before = fs::read(&path).expect("read");
    let name = sandbox.path("droidspaces");
    std::os::unix::fs::symlink(sandbox.binary(), &name).expect("symlink");
    let line = |words: &[&str]| {
        let mut all = vec![text(&name).to_owned(), "--name=old".to_owned()];
        all.extend(words.iter().map(ToString::to_string));
        let done = sandbox.run(&all);
        let told = "old: saved in the configuration, also for later starts: volatile=yes";
        assert_eq!(done.errors.contains(told), words.contains(&"start"), "{}", done.errors);
        done.succeeds()
    };
    line(&[&format!("--rootfs-img={}", path.display()), "--volatile", "start"]);
    let info = sandbox.info("old");
    assert_eq!((info["rootfs"]["kind"].as_str(), info["volatile"].as_bool()), (Some("image"), Some(true)));
    sh(&sandbox, "old", "echo x >/made");
    line(&["stop"]);
    sandbox.ds(&["set", "old", "volatile=no", "fsck=never"]).succeeds();
    assert!(fs::read(&path).expect("read").len() == before.len());
    sandbox.ds(&["start", "old"]).succeeds();
    sh(&sandbox, "old", "! /bin/busybox test -e /made");
    sandbox.ds(&["stop", "old"]).succeeds();
}

#[test]
fn a_volatile_start_applies_to_that_start_only() {
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    let before = fs::read(sandbox.data("containers/web/container.ini")).expect("read");
    sandbox.ds(&["start", "web", "--volatile"]).succeeds();
    assert_eq!(sandbox.info("web")["volatile"], true);
    assert_eq!(sandbox.ds(&["get", "web", "volatile"]).succeeds(), "no\n");
    sh(&sandbox, "web", "echo x >/lost");
    // It remains volatile across reboots, also after a change of the file.
    sandbox.ds(&["restart", "web"]).succeeds();
    assert_eq!(sandbox.info("web")["volatile"], true);
    sh(&sandbox, "web", "! /bin/busybox test -e /lost; echo x >/lost");
    sandbox.ds(&["stop", "web"]).succeeds();
    assert!(!tree.path("lost").exists());
    assert_eq!(fs::read(sandbox.data("containers/web/container.ini")).expect("read"), before);
    sandbox.ds(&["start", "web"]).succeeds();
    assert_eq!(sandbox.info("web")["volatile"], false);
    sh(&sandbox, "web", "echo x >/kept");
    sandbox.ds(&["stop", "web"]).succeeds();
    assert!(tree.path("kept").exists());
    // A container that the start creates behaves in the same way.
    let other = crate::storage::full_tree(&sandbox.path("other"));
    sandbox.ds(&["start", "new", "--rootfs", text(&other.0), "--volatile"]).succeeds();
    assert_eq!(sandbox.info("new")["volatile"], true);
    assert_eq!(sandbox.ds(&["get", "new", "volatile"]).succeeds(), "no\n");
    sandbox.ds(&["stop", "new"]).succeeds();
}
