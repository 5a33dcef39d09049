//! Network managers of a real Debian in a `nat` network: they come up without configuration of the host, with the
//! addresses, routes and name servers that the container already has.

use crate::wait_for;
use crate::world::{World, call, serve};
use std::os::unix::fs::{PermissionsExt, symlink};

const SETTINGS: [&str; 3] = ["network.mode=nat", "network.dns=192.0.2.53", "seed=udev,hosts,journal,login"];
const WORLD: &str = "192.0.2.2:80";
const WORLD_6: &str = "[2001:db8:1::2]:81";
/// Services of the fixture that this test does not need.
const HEAVY: [&str; 14] = [
    "avahi-daemon",
    "chrony",
    "cups",
    "exim4",
    "fail2ban",
    "mariadb",
    "nginx",
    "nmbd",
    "postgresql",
    "postgresql@15-main",
    "redis-server",
    "samba-ad-dc",
    "smbd",
    "udisks2",
];

fn run(world: &World, script: &str) -> String {
    world.sandbox.ds(&["run", "deb", "--", "/bin/sh", "-c", script]).succeeds()
}

/// Both families reach the world, with an address, a default route and a name server.
fn is_connected(world: &World, what: &str) {
    let deb = world.pid("deb");
    let expected = world.addresses("deb");
    wait_for(&format!("{what}: IPv4"), || call(deb, WORLD).filter(|answer| answer == "world 192.0.2.1"));
    wait_for(&format!("{what}: the address"), || {
        run(world, "ip -4 -o addr show eth0").contains(&format!("{}/", expected[0])).then_some(())
    });
    wait_for(&format!("{what}: the name server"), || {
        run(world, "cat /etc/resolv.conf").contains("nameserver 192.0.2.53").then_some(())
    });
    if expected.len() > 1 {
        wait_for(&format!("{what}: IPv6"), || {
            call(deb, WORLD_6).filter(|answer| answer == "six 2001:db8:1::1")
        });
        assert!(run(world, "ip -6 route show default").contains("eth0"), "{what}");
    }
}

fn serve_world(world: &World) {
    serve(world.far.pid, "0.0.0.0:80", "world");
    serve(world.far.pid, "[::]:81", "six");
}

#[test]
fn debian_with_ifupdown_comes_up() {
    let Some(mut world) = World::new("debian_with_ifupdown_comes_up") else { return };
    serve_world(&world);
    let changes = world.sandbox.distribution("deb", "sysvinit", &SETTINGS);
    let interfaces =
        "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\niface eth0 inet6 auto\n";
    changes.write("etc/network/interfaces", interfaces);
    world.sandbox.ds(&["start", "deb", "--wait=90"]).succeeds();
    let client = || {
        wait_for("ifup", || {
            (run(&world, "/sbin/ifquery --state eth0; true").trim() == "eth0=eth0").then_some(())
        });
        wait_for("dhclient", || run(&world, "pgrep -x dhclient; true").lines().next().map(drop));
    };
    client();
    is_connected(&world, "at the start");
    run(&world, "/sbin/ifdown eth0 2>&1; /sbin/ifup eth0 2>&1");
    client();
    is_connected(&world, "after ifdown and ifup");
    world.sandbox.ds(&["stop", "deb"]).succeeds();
}

#[test]
fn debian_with_network_manager_comes_up() {
    let Some(mut world) = World::new("debian_with_network_manager_comes_up") else { return };
    serve_world(&world);
    let changes = world.sandbox.distribution("deb", "services", &SETTINGS);
    let profile = "[connection]\nid=dhcp\ntype=ethernet\ninterface-name=eth0\n\n[ipv4]\nmethod=auto\n\n[ipv6]\nmethod=auto\n";
    let path = "etc/NetworkManager/system-connections/dhcp.nmconnection";
    changes.write(path, profile);
    std::fs::set_permissions(changes.path(path), PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::create_dir_all(changes.path("etc/systemd/system")).unwrap();
    for unit in HEAVY {
        symlink("/dev/null", changes.path(&format!("etc/systemd/system/{unit}.service"))).unwrap();
    }
    world.sandbox.ds(&["start", "deb", "--wait=110"]).succeeds();
    let device = |expected: &str| {
        wait_for(&format!("eth0: {expected}"), || {
            let said = run(&world, "nmcli -t -f DEVICE,STATE device; true");
            said.lines().any(|line| line == format!("eth0:{expected}")).then_some(())
        });
    };
    // It finds the interface configured, and keeps it.
    device("connected (externally)");
    is_connected(&world, "as it was");
    run(&world, "nmcli connection up dhcp");
    device("connected");
    is_connected(&world, "by DHCP");
    run(&world, "nmcli device disconnect eth0 && nmcli connection up dhcp");
    device("connected");
    is_connected(&world, "connected again");
    // With the defaults of ds, NetworkManager leaves the interface as it is.
    world.sandbox.ds(&["stop", "deb"]).succeeds();
    world.sandbox.ds(&["set", "deb", "seed=yes"]).succeeds();
    world.sandbox.ds(&["start", "deb", "--wait=110"]).succeeds();
    device("unmanaged");
    is_connected(&world, "unmanaged");
    world.sandbox.ds(&["stop", "deb"]).succeeds();
}
