//! The identity of a container: a boot ID for each boot, and a machine ID for each copy.

use crate::root_fs::Tree;
use crate::sandbox::Sandbox;
use crate::wait_for;
use std::collections::BTreeSet;
use std::fs;

fn boot_id(sandbox: &Sandbox) -> String {
    let id = sandbox.ds(&["run", "web", "--", "cat", "/proc/sys/kernel/random/boot_id"]).succeeds();
    assert_eq!(id.len(), 37, "{id}");
    id
}

#[test]
fn each_boot_has_an_id_of_its_own() {
    let sandbox = Sandbox::new();
    sandbox.container("web", &[]);
    let mut seen = BTreeSet::from([fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap()]);
    for verb in ["start", "restart", "restart"] {
        sandbox.ds(&[verb, "web"]).succeeds();
        assert_eq!(boot_id(&sandbox), boot_id(&sandbox), "it is constant during a boot");
        assert!(seen.insert(boot_id(&sandbox)), "{seen:?}");
    }
    let script = "echo x > /proc/sys/kernel/random/boot_id";
    assert_ne!(sandbox.ds(&["run", "web", "--", "sh", "-c", script]).code, 0, "it cannot be written");
}

#[test]
fn each_throw_away_container_has_a_boot_id_of_its_own() {
    let sandbox = Sandbox::new();
    let tree = Tree::with_probe(&sandbox.path("tree"));
    let path = tree.0.to_str().unwrap();
    let mut seen = BTreeSet::from([fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap()]);
    for _ in 0..3 {
        let id = sandbox.ds(&["shell", path, "cat", "/proc/sys/kernel/random/boot_id"]).succeeds();
        assert_eq!(id.len(), 37, "{id}");
        assert!(seen.insert(id), "{seen:?}");
    }
}

#[test]
fn the_journal_tells_boots_apart() {
    let mut sandbox = Sandbox::new();
    let tree = sandbox.distribution("web", "bookworm", &[]);
    drop(tree);
    fs::create_dir_all(sandbox.path("web/var/log/journal")).unwrap();
    sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
    let run = |script: &str| sandbox.ds(&["run", "web", "--", "sh", "-c", script]).succeeds();
    run("logger first; journalctl --sync");
    let before = sandbox.info("web")["pid"].clone();
    sandbox.ds(&["run", "web", "--", "systemctl", "reboot"]);
    wait_for("the second boot", || {
        let info = sandbox.info("web");
        (info["state"] == "running" && info["pid"] != before).then_some(())
    });
    sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
    run("logger second; journalctl --sync");
    sandbox.ds(&["restart", "web"]).succeeds();
    sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
    run("logger third; journalctl --sync");
    let boots = run("journalctl --list-boots --no-pager -q");
    assert_eq!(boots.lines().count(), 3, "{boots}");
    for (boot, words) in [("0", "third"), ("-1", "second"), ("-2", "first")] {
        let text = run(&format!("journalctl -b {boot} -t root -o cat --no-pager -q"));
        assert_eq!(text, format!("{words}\n"), "boot {boot}");
    }
}

#[test]
fn a_copy_and_an_import_have_a_machine_id_of_their_own() {
    const OLD: &str = "0123456789abcdef0123456789abcdef\n";
    let sandbox = Sandbox::new();
    let tree = sandbox.container("web", &[]);
    tree.write("etc/machine-id", OLD);
    tree.write("var/lib/dbus/machine-id", OLD);
    sandbox.ds(&["copy", "web", "copied"]).succeeds();
    let file = sandbox.path("web.tar.zst");
    sandbox.ds(&["export", "web", "-o", file.to_str().unwrap()]).succeeds();
    sandbox.ds(&["import", file.to_str().unwrap(), "imported"]).succeeds();
    sandbox.ds(&["convert", "imported", "image"]).succeeds();
    sandbox.ds(&["copy", "imported", "image"]).succeeds();
    let mut seen = BTreeSet::from([OLD.to_owned()]);
    for name in ["copied", "imported", "image"] {
        sandbox.ds(&["start", name]).succeeds();
        let read = |path: &str| sandbox.ds(&["run", name, "--", "cat", path]).succeeds();
        let id = read("/etc/machine-id");
        assert_eq!(read("/var/lib/dbus/machine-id"), id);
        assert!(seen.insert(id), "{name}: {seen:?}");
        let place = sandbox.data(&format!("containers/{name}"));
        let left = |name: &str| name.starts_with(".ds-job") || name == "mount";
        let names =
            fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(names.filter(|name| left(name)).count(), 0, "{name}: no files of the job are left");
        sandbox.ds(&["stop", name]).succeeds();
    }
    assert_eq!(
        fs::read_to_string(tree.path("etc/machine-id")).unwrap(),
        OLD,
        "that of the original is unchanged"
    );
}
