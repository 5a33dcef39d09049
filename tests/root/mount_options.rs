//! The restrictions of bind mounts, and memory file systems, on every kernel.

use crate::sandbox::{Sandbox, Setting};
use crate::wait_for;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;

/// The options of the mount with this target.
fn options(report: &Value, target: &str) -> String {
    let mounts = report["mounts"].as_array().unwrap();
    let last = mounts.iter().rev().find(|mount| mount["target"] == target);
    last.unwrap_or_else(|| panic!("nothing is mounted at {target}"))["options"].as_str().unwrap().to_owned()
}

#[test]
fn restrictions_of_a_bind_mount_apply_to_submounts() {
    for denied in [None, Some("old")] {
        let mut sandbox = Sandbox::with(Setting { denied, ..Setting::default() });
        let shared = sandbox.path("shared");
        fs::create_dir_all(shared.join("below")).unwrap();
        fs::write(shared.join("file"), "text").unwrap();
        symlink(&shared, sandbox.path("link")).unwrap();
        let [source, link, below] = [shared.clone(), sandbox.path("link"), shared.join("below")]
            .map(|path| path.to_str().unwrap().to_owned());
        sandbox.mount(&["-t", "tmpfs", "tmpfs", &below]);
        let binds = format!(
            "mounts.bind={source}:/mnt/all:ro:nosuid:nodev:noexec,{source}:/mnt/some:nodev,\
             {source}/file:/mnt/file:ro:noexec,{link}:/mnt/link:nosuid,{source}:/mnt/free"
        );
        let tree = sandbox.container("web", &[&binds]);
        sandbox.ds(&["start", "web"]).succeeds();
        let report = wait_for("the report", || tree.report());
        for (target, expected, others) in [
            ("/mnt/all", &["ro", "nosuid", "nodev", "noexec"][..], &[][..]),
            ("/mnt/all/below", &["ro", "nosuid", "nodev", "noexec"], &[]),
            ("/mnt/some", &["rw", "nodev"], &["ro", "nosuid", "noexec"]),
            ("/mnt/some/below", &["rw", "nodev"], &["ro", "nosuid", "noexec"]),
            ("/mnt/file", &["ro", "noexec"], &["nosuid", "nodev"]),
            ("/mnt/link", &["rw", "nosuid"], &["ro", "noexec"]),
            ("/mnt/link/below", &["rw", "nosuid"], &["ro", "noexec"]),
            ("/mnt/free", &["rw"], &["ro", "nosuid", "nodev", "noexec"]),
        ] {
            let options = options(&report, target);
            let words: Vec<&str> = options.split(',').collect();
            for word in expected {
                assert!(words.contains(word), "{denied:?}: {target}: {options}");
            }
            for word in others {
                assert!(!words.contains(word), "{denied:?}: {target}: {options}");
            }
        }
        let said = sandbox.ds(&["run", "web", "--", "/bin/cat", "/mnt/file", "/mnt/link/file"]).succeeds();
        assert_eq!(said, "texttext");
        sandbox.ds(&["stop", "web"]).succeeds();
    }
}

#[test]
fn memory_file_systems_are_mounted_inside_the_tree() {
    let sandbox = Sandbox::new();
    let shared = sandbox.path("shared");
    fs::create_dir_all(&shared).unwrap();
    let tree = sandbox.container("web", &[]);
    tree.replace_by_link("var", "../../../../tmp");
    let settings = [
        format!("mounts.bind={}:/srv", shared.display()),
        "mounts.tmpfs=/tmp:size=1M:noexec,/srv/below:mode=700,/var/in".to_owned(),
    ];
    sandbox.ds(&["set", "web", &settings[0], &settings[1]]).succeeds();
    sandbox.ds(&["start", "web"]).succeeds();
    let report = wait_for("the report", || tree.report());
    assert!(options(&report, "/tmp").contains("nosuid,nodev,noexec"));
    assert!(options(&report, "/srv/below").contains("nosuid,nodev"));
    options(&report, "/tmp/in");
    let script = "echo $(stat -c %a /tmp /srv/below); busybox dd if=/dev/zero of=/tmp/big bs=4096 count=1024 \
                  2>/dev/null || echo full; cp /bin/busybox /srv/below/b 2>/dev/null; echo >/tmp/in/file";
    let said = sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", &script.replace("stat ", "busybox stat ")]);
    assert_eq!(said.succeeds(), "1777 700\nfull\n");
    assert!(fs::read_dir(shared.join("below")).unwrap().next().is_none(), "the host is unchanged");
    sandbox.ds(&["set", "web", "mounts.tmpfs=/srv"]).fails(2, &["mounts.tmpfs", "/srv"]);
    sandbox.ds(&["set", "web", "mounts.tmpfs=/"]).fails(2, &["'/'"]);
    assert_eq!(
        sandbox.ds(&["get", "web", "mounts.tmpfs"]).succeeds(),
        "/tmp:size=1M:noexec,/srv/below:mode=700,/var/in\n"
    );
    sandbox.ds(&["stop", "web"]).succeeds();

    let path = tree.0.to_str().unwrap();
    let words =
        ["shell", "--set=mounts.tmpfs=/mnt/m:mode=711", path, "/bin/busybox", "stat", "-c", "%a", "/mnt/m"];
    assert_eq!(sandbox.ds(&words).succeeds(), "711\n");
}
