//! Seeding of distributions, in the root file system and in /run.

use crate::root_fs::Tree;
use crate::sandbox::Sandbox;
use crate::storage::{archive, assert_same, directory, text};
use crate::wait_for;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

fn run(sandbox: &Sandbox, script: &str) -> String {
    sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", script]).succeeds()
}

fn boot(fixture: &str, settings: &[&str]) -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.distribution("web", fixture, settings);
    sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
    sandbox
}

/// The container's tree, which is only mounted in the sandbox.
fn top(sandbox: &Sandbox) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{}", sandbox.init_pid(), sandbox.path("web").display()))
}

/// Every entry of /etc with its content, its mode and its owner.
fn etc(tree: &Path) -> Vec<(String, Vec<u8>, u32, u32, u32)> {
    let entries = fs::read_dir(tree.join("etc")).unwrap().map(Result::unwrap);
    let mut all: Vec<_> = entries
        .map(|entry| {
            let about = entry.metadata().unwrap();
            let content = if about.is_file() { fs::read(entry.path()).unwrap() } else { Vec::new() };
            let name = entry.file_name().into_string().unwrap();
            (name, content, about.mode(), about.uid(), about.gid())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn every_distribution_resolves_its_own_name() {
    for fixture in ["bookworm", "forky", "openrc", "sysvinit", "runit"] {
        let sandbox = boot(fixture, &["hostname=web.example.org"]);
        assert_eq!(
            run(
                &sandbox,
                "hostname; getent hosts $(hostname); getent hosts web; grep '^127.0.1.1' /etc/hosts"
            )
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .filter(|line| *line != format!("127.0.1.1 {fixture}"))
            .collect::<Vec<_>>(),
            [
                "web.example.org",
                "::1 web.example.org web",
                "::1 web.example.org web",
                "127.0.1.1 web.example.org web # droidspaces"
            ],
            "{fixture}"
        );
        let about = sandbox.info("web");
        assert_eq!((&about["seed"], &about["seeded"][0]), (&"yes".into(), &"/etc/hosts".into()), "{about}");
        sandbox.ds(&["stop", "web", "--kill"]).succeeds();
    }
}

#[test]
fn sudo_prints_no_warning_and_no_unit_fails() {
    for (fixture, mode) in [("bookworm", "host"), ("forky", "host"), ("bookworm", "none")] {
        let sandbox = boot(fixture, &[&format!("network.mode={mode}")]);
        assert_eq!(run(&sandbox, "sudo true 2>&1; sudo -u user id -un 2>&1"), "user\n");
        assert_eq!(
            run(&sandbox, "systemctl is-system-running --wait; systemctl --failed --no-legend --plain"),
            "running\n",
            "{fixture} {mode}"
        );
        let masked =
            "systemctl is-enabled systemd-journald-audit.socket systemd-networkd-wait-online.service; true";
        assert_eq!(run(&sandbox, masked), "masked-runtime\nmasked-runtime\n");
        assert_eq!(run(&sandbox, "journalctl -b -k -o cat | head -1"), "", "the kernel's log is the host's");
        sandbox.ds(&["stop", "web", "--kill"]).succeeds();
    }
}

#[test]
fn interfaces_have_the_route_metrics_of_a_phone() {
    let sandbox = boot("bookworm", &["network.mode=none"]);
    run(
        &sandbox,
        "for name in wlan0 rmnet_data0 eth0; do ip link add $name type veth; done; systemctl start systemd-networkd",
    );
    for (interface, metric) in [("wlan0", 100), ("rmnet_data0", 200), ("eth0", 300)] {
        let script = format!(
            "networkctl status {interface} | sed -n 's/.*Network File: //p' | xargs grep -h RouteMetric= | sort -u"
        );
        wait_for("the interface to be configured", || {
            (run(&sandbox, &script) == format!("RouteMetric={metric}\n")).then_some(())
        });
    }
}

#[test]
fn in_the_hosts_network_nothing_configures_it() {
    let sandbox = boot("bookworm", &[]);
    run(&sandbox, "systemctl start systemd-networkd systemd-networkd.socket 2>&1; true");
    let script = "systemctl is-active systemd-networkd; systemctl show -P ConditionResult systemd-networkd; \
                  test -e /run/host/network-is-shared && echo shared";
    assert_eq!(run(&sandbox, script), "inactive\nno\nshared\n");
}

#[test]
fn udev_replays_what_is_safe_and_nothing_else() {
    let mut sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.data("")).unwrap();
    fs::write(sandbox.data("supervisor.ini"), "[seed]\nudev-subsystems = input,tty\n").unwrap();
    sandbox.distribution("web", "services", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("udevd", || {
        let script = "systemctl is-active systemd-udevd droidspaces-udev-trigger; true";
        (run(&sandbox, script) == "active\nactive\n").then_some(())
    });
    let enabled = "systemctl is-enabled systemd-udev-trigger systemd-udev-settle; true";
    assert_eq!(run(&sandbox, enabled), "masked-runtime\nmasked-runtime\n");
    let unit = run(&sandbox, "systemctl cat droidspaces-udev-trigger | grep ExecStart=");
    assert!(unit.ends_with("--action=add --subsystem-match=input --subsystem-match=tty\n"), "{unit}");
    sandbox.ds(&["stop", "web", "--kill"]).succeeds();
}

#[test]
fn a_container_without_seeding_is_not_changed() {
    let mut sandbox = Sandbox::new();
    sandbox.distribution("web", "bookworm", &["seed=no"]);
    let tree = top(&sandbox);
    let before = etc(&tree);
    sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
    assert_eq!(run(&sandbox, "ls /run/systemd/journald.conf.d /run/systemd/network 2>/dev/null; true"), "");
    sandbox.ds(&["stop", "web"]).succeeds();
    let hosts = |all: Vec<(String, Vec<u8>, u32, u32, u32)>| all.into_iter().find(|entry| entry.0 == "hosts");
    assert_eq!(hosts(etc(&tree)), hosts(before));
}

#[test]
fn a_volatile_container_is_seeded_and_its_tree_is_not() {
    let mut sandbox = Sandbox::new();
    sandbox.distribution("web", "busybox", &[]);
    let before = etc(&top(&sandbox));
    let told = sandbox.ds(&["seed", "web", "--dry-run"]).succeeds();
    assert!(told.contains("would change /etc/hosts\n"), "{told}");
    assert_eq!(etc(&top(&sandbox)), before);
    let started = sandbox.ds(&["start", "web", "--volatile"]);
    if started.code == 0 {
        assert!(run(&sandbox, "cat /etc/hosts").contains("127.0.1.1\tweb"));
        sandbox.ds(&["stop", "web", "--kill"]).succeeds();
    }
    let hosts =
        |all: &[(String, Vec<u8>, u32, u32, u32)]| all.iter().find(|entry| entry.0 == "hosts").cloned();
    assert_eq!(hosts(&etc(&top(&sandbox))), hosts(&before));
    assert!(!sandbox.data("containers/web/seed.json").exists());
}

#[test]
fn seeding_twice_changes_nothing_and_undoing_it_leaves_no_byte() {
    for fixture in ["bookworm", "forky", "openrc", "sysvinit", "runit", "busybox"] {
        let mut sandbox = Sandbox::new();
        sandbox.distribution("web", fixture, &[]);
        let tree = top(&sandbox);
        fs::create_dir_all(tree.join("etc/init.d")).unwrap();
        let script = "#!/sbin/openrc-run\nstart() {\n\tudevadm trigger --type=devices --action=add\n}\n";
        fs::write(tree.join("etc/init.d/udev-trigger"), script).unwrap();
        let before = etc(&tree);
        let told = sandbox.ds(&["seed", "web", "--dry-run"]).succeeds();
        assert_eq!(etc(&tree), before, "{fixture}");
        let done = sandbox.ds(&["seed", "web"]).succeeds();
        assert_eq!(done, told.replace("would change", "changed"), "{fixture}");
        assert!(done.contains("changed /etc/hosts\n") && done.contains("changed /etc/init.d/udev-trigger\n"));
        let limited = fs::read_to_string(tree.join("etc/init.d/udev-trigger")).unwrap();
        assert!(
            limited.contains("udevadm trigger --subsystem-match=usb --subsystem-match=block"),
            "{limited}"
        );
        let seeded = etc(&tree);
        assert_eq!(sandbox.ds(&["seed", "web"]).succeeds(), "web: nothing to change\n");
        assert_eq!(etc(&tree), seeded, "{fixture}");
        sandbox.ds(&["set", "web", "hostname=other"]).succeeds();
        sandbox.ds(&["seed", "web"]).succeeds();
        assert!(fs::read_to_string(tree.join("etc/hosts")).unwrap().contains("\tother\t"));
        sandbox.ds(&["seed", "web", "--undo"]).succeeds();
        assert_eq!(etc(&tree), before, "{fixture}");
        assert_eq!(fs::read_to_string(tree.join("etc/init.d/udev-trigger")).unwrap(), script);
    }
}

#[test]
fn edits_of_the_user_are_kept() {
    let mut sandbox = Sandbox::new();
    sandbox.distribution("web", "busybox", &[]);
    let hosts = top(&sandbox).join("etc/hosts");
    sandbox.ds(&["seed", "web"]).succeeds();
    fs::write(&hosts, "10.0.0.1 mine\n").unwrap();
    let told = "/etc/hosts was edited by the user and is kept";
    let second = sandbox.ds(&["seed", "web"]);
    assert!(second.errors.contains(told), "{}", second.errors);
    let third = sandbox.ds(&["seed", "web"]);
    assert!(!third.errors.contains(told), "it is reported once: {}", third.errors);
    let undone = sandbox.ds(&["seed", "web", "--undo"]);
    assert!(undone.code == 0 && undone.errors.contains(told), "{}", undone.errors);
    assert_eq!(fs::read_to_string(&hosts).unwrap(), "10.0.0.1 mine\n");
}

#[test]
fn nixos_is_left_alone_and_no_link_is_followed() {
    let mut sandbox = Sandbox::new();
    sandbox.distribution("web", "busybox", &[]);
    let tree = top(&sandbox);
    let outside = sandbox.path("outside");
    fs::write(&outside, "of the host\n").unwrap();
    let _ = fs::remove_file(tree.join("etc/hosts"));
    symlink(&outside, tree.join("etc/hosts")).unwrap();
    sandbox.ds(&["seed", "web"]).succeeds();
    assert_eq!(fs::read_to_string(&outside).unwrap(), "of the host\n");
    fs::create_dir_all(tree.join("nix/store")).unwrap();
    let told = sandbox.ds(&["seed", "web"]).succeeds();
    assert_eq!(told, "web: NixOS generates its files itself; its root file system is not seeded\n");
}

/// A small tree with the layout of a distribution.
fn small(path: &Path) -> Tree {
    let tree = Tree::with_probe(path);
    tree.write("etc/os-release", "ID=test\n");
    tree.write("etc/hosts", "127.0.0.1 localhost\n");
    tree
}

#[test]
fn a_new_container_is_seeded_and_this_can_be_undone() {
    let sandbox = Sandbox::new();
    let tree = small(&sandbox.path("tree"));
    let packed = archive(&sandbox, &tree, "tree.tar", &[]);
    let from = ["--from", text(&packed)];
    for (name, more) in [("dir", &[][..]), ("img", &["--size", "64M"])] {
        sandbox.ds(&[&["create", name], &from[..], more].concat()).succeeds();
        assert!(sandbox.data(&format!("containers/{name}/seed.json")).exists());
        let again = sandbox.ds(&["seed", name, "--dry-run"]).succeeds();
        assert_eq!(again, format!("{name}: nothing to change\n"));
    }
    let hosts = |name: &str| fs::read_to_string(directory(&sandbox, name).join("etc/hosts")).unwrap();
    assert!(hosts("dir").contains("127.0.1.1\tdir"));
    sandbox.ds(&["convert", "img", "dir"]).succeeds();
    sandbox.ds(&["export", "dir", "-o", text(&sandbox.path("out"))]).succeeds();
    sandbox.ds(&["import", text(&sandbox.path("out")), "new"]).succeeds();
    assert!(hosts("new").contains("127.0.1.1\tnew") && !hosts("new").contains("\tdir"), "{}", hosts("new"));
    // The record is copied with the tree.
    for name in ["dir", "img", "new"] {
        sandbox.ds(&["seed", name, "--undo"]).succeeds();
        assert_eq!(etc(&directory(&sandbox, name)), etc(&tree.0));
    }
    sandbox.ds(&[&["create", "plain", "--set", "seed=no"], &from[..]].concat()).succeeds();
    sandbox.ds(&[&["create", "gone", "--set", "volatile=yes"], &from[..]].concat()).succeeds();
    for name in ["plain", "gone"] {
        assert_same(&tree.0, &directory(&sandbox, name));
    }
    // A tree used in place is not seeded at its creation, but when it becomes the container's own.
    sandbox.ds(&["create", "place", "--rootfs", text(&tree.0)]).succeeds();
    sandbox.ds(&["convert", "place", "image", "--size", "64M"]).succeeds();
    assert_eq!(sandbox.ds(&["seed", "place"]).succeeds(), "place: nothing to change\n");
    assert_eq!(fs::read_to_string(tree.path("etc/hosts")).unwrap(), "127.0.0.1 localhost\n");
}

#[test]
fn a_tree_in_place_is_restored_when_its_container_is_deleted() {
    let sandbox = Sandbox::new();
    let tree = small(&sandbox.path("tree"));
    let before = etc(&tree.0);
    sandbox.ds(&["create", "web", "--rootfs", text(&tree.0)]).succeeds();
    sandbox.ds(&["seed", "web"]).succeeds();
    assert_ne!(etc(&tree.0), before);
    assert_eq!(sandbox.ds(&["rm", "web"]).succeeds(), "web deleted\n");
    assert_eq!(etc(&tree.0), before);
    // An image as well, after it has run.
    let packed = archive(&sandbox, &tree, "tree.tar", &[]);
    sandbox.ds(&["create", "img", "--from", text(&packed), "--size", "64M", "--set", "seed=no"]).succeeds();
    let own = sandbox.path("own.img");
    fs::rename(sandbox.data("containers/img/rootfs.img"), &own).unwrap();
    sandbox.ds(&["create", "web", "--image", text(&own)]).succeeds();
    sandbox.ds(&["start", "web"]).succeeds();
    assert!(run(&sandbox, "cat /etc/hosts").contains("127.0.1.1\tweb"));
    assert_eq!(sandbox.ds(&["rm", "web", "--force"]).succeeds(), "web deleted\n");
    sandbox.ds(&["create", "web", "--image", text(&own), "--set", "seed=no"]).succeeds();
    sandbox.ds(&["start", "web"]).succeeds();
    assert_eq!(run(&sandbox, "cat /etc/hosts"), "127.0.0.1 localhost\n");
}

/// As shipped by the distribution: prompts on terminals that no container has, and none on the console.
fn without_console(tree: &Path, fixture: &str) {
    let inittab = tree.join("etc/inittab");
    if fixture == "runit" {
        fs::remove_file(tree.join("etc/runit/runsvdir/default/getty-console")).unwrap();
        fs::remove_dir_all(tree.join("etc/sv/getty-console")).unwrap();
        return;
    }
    let text = fs::read_to_string(&inittab).unwrap();
    let mut lines: Vec<String> =
        text.lines().filter(|line| !line.contains("getty")).map(str::to_owned).collect();
    lines.extend((1..=6).map(|number| match fixture {
        "busybox" => format!("tty{number}::respawn:/sbin/getty 38400 tty{number}"),
        _ => format!("{number}:2345:respawn:/sbin/getty 38400 tty{number}"),
    }));
    fs::write(&inittab, lines.join("\n") + "\n").unwrap();
}

#[test]
fn every_init_system_prompts_only_on_the_console() {
    for fixture in ["openrc", "sysvinit", "runit", "busybox"] {
        let mut sandbox = Sandbox::new();
        sandbox.distribution("web", fixture, &[]);
        let tree = top(&sandbox);
        without_console(&tree, fixture);
        let before = etc(&tree);
        sandbox.ds(&["start", "web"]).succeeds();
        let mut console = sandbox.ds_on_terminal(&["console", "web"]);
        console.send(b"\r");
        console.expect("login: ");
        console.send(b"root\r");
        console.expect("# ");
        console.send(b"\x1d\x1d");
        console.wait();
        let gettys =
            "ps | grep -c '[g]etty.*tty[0-9]'; ps ax 2>/dev/null | grep -c '[g]etty.*tty[0-9]'; true";
        // Debian's services of runit end by themselves.
        assert!(
            fixture == "runit"
                || !run(&sandbox, gettys).contains(|letter: char| ('1'..='9').contains(&letter)),
            "{fixture}"
        );
        sandbox.ds(&["stop", "web", "--kill"]).succeeds();
        sandbox.ds(&["seed", "web", "--undo"]).succeeds();
        let changed = |all: Vec<(String, Vec<u8>, u32, u32, u32)>| {
            all.into_iter().find(|entry| entry.0 == "inittab").map(|entry| entry.1)
        };
        assert_eq!(changed(etc(&tree)), changed(before), "{fixture}");
        assert!(!tree.join("etc/sv/getty-console").exists() || fixture != "runit");
    }
}
