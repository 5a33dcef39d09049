//! Network managers of the guest: in a separate network, they use the best uplink; in the host's, they change nothing.

use crate::root_fs::Tree;
use crate::sandbox::Sandbox;
use crate::world::Place;
use crate::{given, wait_for};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Stdio};

fn run(sandbox: &Sandbox, script: &str) -> String {
    sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", script]).succeeds()
}

/// A DHCP server for each of these interfaces, which appear in the namespace of a process.
struct Servers(Vec<Child>);

impl Servers {
    fn start(sandbox: &Sandbox, place: &Place, names: &[&str], inside: &str) -> Self {
        fs::create_dir_all(sandbox.path("")).unwrap();
        let servers = names.iter().enumerate().map(|(number, name)| {
            let script = format!(
                "ip link add out{number} type veth peer name {name} netns {inside} &&
                 ip addr add 10.9.{number}.1/24 dev out{number} && ip link set out{number} up"
            );
            place.run(sandbox, &script).succeeds();
            let conf = sandbox.path(&format!("udhcpd.{number}"));
            let text = format!(
                "interface out{number}\nstart 10.9.{number}.10\nend 10.9.{number}.20\nlease_file {}.leases\n\
                 pidfile {}.pid\nopt router 10.9.{number}.1\nopt subnet 255.255.255.0\n",
                conf.display(),
                conf.display()
            );
            fs::write(&conf, text).unwrap();
            fs::write(conf.with_extension(format!("{number}.leases")), "").unwrap();
            let words = [
                "nsenter",
                "--target",
                &place.inside,
                "--net",
                "busybox",
                "udhcpd",
                "-f",
                conf.to_str().unwrap(),
            ];
            sandbox.command_within(600, &words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        });
        Self(servers.collect())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn the_best_uplink_is_used_and_the_next_one_when_it_disappears() {
    const NAMES: [&str; 3] = ["wlan0", "rmnet_data0", "eth0"];
    for fixture in ["bookworm", "forky"] {
        let mut sandbox = Sandbox::new();
        sandbox.distribution("web", fixture, &["network.mode=none"]);
        sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
        let place = Place::new(&sandbox, "611");
        let _servers = Servers::start(&sandbox, &place, &NAMES, &sandbox.info("web")["pid"].to_string());
        run(&sandbox, "systemctl start systemd-networkd");
        wait_for("three default routes", || {
            let routes = run(&sandbox, "ip -4 route show default");
            let mut metrics: Vec<(String, u32)> = routes
                .lines()
                .filter_map(|line| {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    let after = |key: &str| words.iter().skip_while(|word| **word != key).nth(1).copied();
                    Some((after("dev")?.to_owned(), after("metric")?.parse().ok()?))
                })
                .collect();
            metrics.sort_by_key(|(_, metric)| *metric);
            let expected = [("wlan0", 100), ("rmnet_data0", 200), ("eth0", 300)];
            (metrics == expected.map(|(name, metric)| (name.to_owned(), metric))).then_some(())
        });
        wait_for("networkd to be configured", || {
            let script = "networkctl --no-legend list | grep -c 'routable *configured'";
            (run(&sandbox, &format!("{script}; true")) == "3\n").then_some(())
        });
        let uses = |name: &str| {
            wait_for(&format!("the route through {name}"), || {
                let route = run(&sandbox, "ip route get 203.0.113.1; true");
                route.contains(&format!(" dev {name} ")).then_some(())
            });
        };
        uses("wlan0");
        place.run(&sandbox, "ip link set out0 down").succeeds();
        uses("rmnet_data0");
        place.run(&sandbox, "ip link del out1").succeeds();
        uses("eth0");
        place.run(&sandbox, "ip link set out0 up").succeeds();
        uses("wlan0");
        sandbox.ds(&["stop", "web", "--kill"]).succeeds();
    }
}

/// A machine with an uplink that managers would configure, and with rules that networkd would remove.
fn machine(sandbox: &Sandbox, place: &Place) -> Servers {
    let servers = Servers::start(sandbox, place, &["wlan0", "eth0"], "1");
    let script = "ip link set lo up; ip link set wlan0 up; ip addr add 10.9.0.2/24 dev wlan0;
                  ip route add default via 10.9.0.1 proto static; ip route add 192.0.2.0/24 via 10.9.0.1 table 7;
                  ip rule add from 10.9.0.2 lookup 7 priority 100; ip link set eth0 down";
    sandbox.run(&["sh", "-ec", script]).succeeds();
    servers
}

/// The network state that a manager could change.
fn state(sandbox: &Sandbox) -> String {
    let script = "ip -o link | sed 's/state.*link/link/'; ip -o -4 addr; ip -4 route show table all; ip rule; ip -6 rule";
    sandbox.run(&["sh", "-ec", script]).succeeds()
}

#[test]
fn systemds_managers_leave_the_hosts_network_alone() {
    let mut sandbox = Sandbox::new();
    let place = Place::new(&sandbox, "612");
    let _servers = machine(&sandbox, &place);
    let before = state(&sandbox);
    // It may configure interfaces, its administrator has configured all of them, and has overridden the condition.
    let tree = sandbox.distribution("web", "bookworm", &["security.privileged=nocaps"]);
    tree.write("etc/systemd/network/80-all.network", "[Match]\nName=*\n\n[Network]\nDHCP=yes\n");
    tree.write(
        "etc/systemd/system/systemd-networkd.service.d/99-mine.conf",
        "[Unit]\nConditionPathExists=\n",
    );
    sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
    run(&sandbox, "systemctl start systemd-networkd; systemctl is-active systemd-networkd");
    wait_for("networkd to see both", || {
        let script = "networkctl --no-legend list | grep -c unmanaged; true";
        (run(&sandbox, script) == "3\n").then_some(())
    });
    run(
        &sandbox,
        "systemctl restart systemd-networkd; networkctl reload; networkctl reconfigure wlan0 2>&1; sleep 1",
    );
    assert_eq!(state(&sandbox), before);
    sandbox.ds(&["stop", "web", "--kill"]).succeeds();
    assert_eq!(state(&sandbox), before);
}

/// A network manager for this init system, which leaves a marker file.
fn install(tree: &Tree, fixture: &str) {
    let body = "ip addr add 192.0.2.77/32 dev wlan0; ip link set wlan0 down; : >/root/ran";
    let (path, text, link, to) = match fixture {
        "openrc" => (
            "etc/init.d/networking",
            format!("#!/sbin/openrc-run\ndepend() {{\n\tprovide net\n}}\nstart() {{\n\t{body}\n\ttrue\n}}\n"),
            "etc/runlevels/default/networking",
            "/etc/init.d/networking",
        ),
        "sysvinit" => (
            "etc/init.d/networking",
            format!("#!/bin/sh\n### BEGIN INIT INFO\n# Provides: networking\n### END INIT INFO\n{body}\n"),
            "etc/rc2.d/S01networking",
            "../init.d/networking",
        ),
        _ => (
            "etc/sv/dhcpcd/run",
            format!("#!/bin/sh\n{body}\nexec sleep 100000\n"),
            "etc/runit/runsvdir/default/dhcpcd",
            "/etc/sv/dhcpcd",
        ),
    };
    tree.write(path, &text);
    if fixture == "sysvinit" {
        // The order of startpar(8), as insserv(8) writes it.
        let known = given("DS_FIXTURES").join("sysvinit/etc/init.d/.depend.start");
        let known = fs::read_to_string(known).unwrap();
        tree.write("etc/init.d/.depend.start", &known.replacen("TARGETS = ", "TARGETS = networking ", 1));
    }
    fs::set_permissions(tree.path(path), PermissionsExt::from_mode(0o755)).unwrap();
    fs::create_dir_all(tree.path(link).parent().unwrap()).unwrap();
    symlink(to, tree.path(link)).unwrap();
}

#[test]
fn managers_of_other_init_systems_leave_the_hosts_network_alone() {
    for fixture in ["openrc", "sysvinit", "runit"] {
        let mut sandbox = Sandbox::new();
        let place = Place::new(&sandbox, "613");
        let _servers = machine(&sandbox, &place);
        let before = state(&sandbox);
        let tree = sandbox.distribution("web", fixture, &["security.privileged=nocaps"]);
        install(&tree, fixture);
        sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
        if fixture == "openrc" {
            let status = run(&sandbox, "rc-status default");
            assert!(
                status.lines().any(|line| line.contains("networking") && line.contains("started")),
                "{status}"
            );
        }
        assert_eq!(run(&sandbox, "ls /root/ran 2>/dev/null; true"), "", "{fixture}");
        assert_eq!(state(&sandbox), before, "{fixture}");
        sandbox.ds(&["stop", "web", "--kill"]).succeeds();
        // In a separate network, the same service runs.
        sandbox.ds(&["set", "web", "network.mode=none"]).succeeds();
        sandbox.ds(&["start", "web", "--wait=90"]).succeeds();
        wait_for("the manager", || (run(&sandbox, "ls /root/ran; true") == "/root/ran\n").then_some(()));
        sandbox.ds(&["stop", "web", "--kill"]).succeeds();
        assert_eq!(state(&sandbox), before, "{fixture}");
    }
}
