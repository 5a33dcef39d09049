//! A container that sends whatever it likes on its link: to its neighbours and to the machine it stays one among others.

use crate::frames::{Tap, ethernet, icmp6, udp};
use crate::wait_for;
use crate::world::{World, call, serve};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const ALL: [u8; 6] = [0xff; 6];
const MARK: &[u8] = b"not mine";

fn mac(world: &World, name: &str) -> [u8; 6] {
    let text =
        world.inside(name, "busybox cat /sys/class/net/eth0/address || busybox ip link show eth0").text();
    let text = text.split_whitespace().find(|word| word.len() == 17 && *word != "ff:ff:ff:ff:ff:ff").unwrap();
    let octets: Vec<u8> = text.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect();
    octets.try_into().unwrap()
}

fn four(text: &str) -> [u8; 4] {
    text.parse::<Ipv4Addr>().unwrap().octets()
}

fn six(text: &str) -> [u8; 16] {
    text.parse::<Ipv6Addr>().unwrap().octets()
}

fn has_mark(frame: &[u8]) -> bool {
    frame.windows(MARK.len()).any(|window| window == MARK)
}

/// "I am at `address`", to everybody.
fn announcement(own: [u8; 6], address: [u8; 4]) -> Vec<u8> {
    let content = [&[0, 1, 8, 0, 6, 4, 0, 2][..], &own, &address, &ALL, &address, MARK].concat();
    ethernet(ALL, own, 0x0806, &content)
}

#[test]
fn what_a_hostile_container_sends_reaches_no_neighbour() {
    let Some(world) = World::new("what_a_hostile_container_sends_reaches_no_neighbour") else { return };
    world.boot("web", &[]);
    world.boot("db", &[]);
    serve(world.pid("db"), "[::]:80", "db");
    let (own, other) = (mac(&world, "web"), mac(&world, "db"));
    let (web, db) = (world.addresses("web"), world.addresses("db"));
    let gateway = format!("{}.1", web[0].rsplit_once('.').unwrap().0);
    let before = world.state();
    let link = Tap::new(world.pid("web"), "eth0");
    let watched = [
        Tap::new(world.pid("db"), "eth0"),
        Tap::new(world.far.pid, "eth0"),
        Tap::new(world.near.pid, "eth0"),
    ];
    let everybody = [0x33, 0x33, 0, 0, 0, 1];
    let router = six("fe80::1");
    for _ in 0..3 {
        // ARP: the neighbour's address, and the router's.
        link.send(&announcement(own, four(&db[0])));
        link.send(&announcement(own, four(&gateway)));
        // A DHCP server.
        let offer = udp((four(&gateway), 67), ([255; 4], 68), &[&[2, 1, 6, 0][..], MARK, &[0; 240]].concat());
        link.send(&ethernet(ALL, own, 0x0800, &offer));
        // A router, and the neighbour's and the router's IPv6 addresses.
        let advertisement = [
            &[134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1][..],
            &own,
            &[5, 2, 0, 0, 0, 0, 5, 0],
            MARK,
        ]
        .concat();
        link.send(&ethernet(everybody, own, 0x86dd, &icmp6(router, six("ff02::1"), &advertisement)));
        for stolen in [six(&db[1]), router] {
            let claim =
                [&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &stolen, &[2, 1], &own, &[5, 2, 0, 0, 0, 0, 5, 0], MARK]
                    .concat();
            link.send(&ethernet(everybody, own, 0x86dd, &icmp6(stolen, six("ff02::1"), &claim)));
        }
        // Packets of others: to the router's link-layer address, to the neighbour's, to all.
        let bridge = world.shell("cat /sys/class/net/ds-br0/address; ip link show ds-br0").trim().to_owned();
        let bridge = bridge.split_whitespace().find(|word| word.len() == 17).unwrap().to_owned();
        let bridge: Vec<u8> = bridge.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect();
        for to in [bridge.try_into().unwrap(), other, ALL] {
            for (from, port) in [(four("203.0.113.9"), 9), (four(&db[0]), 9), (four(&gateway), 9)] {
                for there in [four("192.0.2.2"), four("198.51.100.2"), four(&db[0])] {
                    link.send(&ethernet(to, own, 0x0800, &udp((from, port), (there, port), MARK)));
                    // And with another sender's link-layer address.
                    link.send(&ethernet(to, other, 0x0800, &udp((from, port), (there, port), MARK)));
                }
            }
        }
    }
    for (tap, place) in watched.iter().zip(["db", "the world", "the neighbour"]) {
        let bad = tap.frames(Duration::from_millis(300)).into_iter().find(|frame| has_mark(frame));
        assert_eq!(bad, None, "{place}");
    }
    assert_eq!(world.state(), before, "routes and addresses of the machine");
    for address in [format!("{}:80", db[0]), format!("[{}]:80", db[1])] {
        assert!(call(world.machine(), &address).is_some_and(|said| said.starts_with("db")), "{address}");
        assert!(call(world.pid("web"), &address).is_some_and(|said| said.starts_with("db")), "{address}");
    }
}

#[test]
fn a_flood_of_requests_gets_one_lease() {
    let Some(world) = World::new("a_flood_of_requests_gets_one_lease") else { return };
    let tree = world.boot("web", &[]);
    let own = mac(&world, "web");
    let lease = four(&world.address("web"));
    let file = world.sandbox.data("network/default.json");
    let leases = || std::fs::read_to_string(&file).unwrap();
    let before = leases();
    let link = Tap::new(world.pid("web"), "eth0");
    for number in 0..2000_u16 {
        let [high, low] = number.to_be_bytes();
        let client = [2, 0xaa, 0, 0, high, low];
        let mut message = vec![0; 236];
        message[..8].copy_from_slice(&[1, 1, 6, 0, 1, 2, high, low]);
        message[28..34].copy_from_slice(&client);
        message.extend([99, 130, 83, 99, 53, 1, 1, 61, 7, 1, 2, 0xaa, 0, 0, high, low, 255]);
        let packet = udp(([0; 4], 68), ([255; 4], 67), &message);
        // As itself with many identities, and as many senders.
        link.send(&ethernet(ALL, own, 0x0800, &packet));
        link.send(&ethernet(ALL, client, 0x0800, &packet));
    }
    let offers: Vec<_> =
        link.frames(Duration::from_secs(1)).into_iter().filter(|frame| frame[34..36] == [0, 67]).collect();
    assert!(!offers.is_empty() && offers.len() < 500, "{}", offers.len());
    for offer in &offers {
        assert_eq!(offer[58..62], lease, "another address than its own");
    }
    assert_eq!(leases(), before);
    world.boot("db", &[]);
    // It is served again, and so is IPv6.
    tree.write("said", "#!/bin/busybox sh\necho \"$1 $ip\" >>/answers\n");
    let script = "busybox chmod 755 /said; busybox udhcpc -i eth0 -n -q -f -t 9 -T 1 -s /said";
    world.inside("web", script).succeeds();
    assert!(std::fs::read_to_string(tree.path("answers")).unwrap().contains(&world.address("web")));
}

#[test]
fn a_container_configures_ipv6_by_advertisements() {
    let Some(world) = World::new("a_container_configures_ipv6_by_advertisements") else { return };
    serve(world.far.pid, "[2001:db8:1::2]:80", "world");
    let tree = world.boot("web", &[]);
    serve(world.pid("web"), "[::]:80", "web");
    let own = world.addresses("web")[1].clone();
    // Off and on again: the kernel forgets what it had, and asks.
    world
        .inside(
            "web",
            "busybox ip link set eth0 down; busybox ip -6 addr flush dev eth0; busybox ip link set eth0 up",
        )
        .succeeds();
    wait_for("an address and a route", || {
        let script = "busybox ip -6 addr show dev eth0; busybox ip -6 route show default";
        let text = world.inside("web", script).text();
        (text.contains(&format!("inet6 {own}/64")) && text.contains("via fe80::1")).then_some(())
    });
    wait_for("the world", || call(world.pid("web"), "[2001:db8:1::2]:80"));
    // Any address of its own prefix is its own, and reached by the machine; one of a neighbour's prefix is not.
    let start = own.split(':').take(4).collect::<Vec<_>>().join(":");
    let more = format!("{start}:1:2:3:4");
    world.inside("web", &format!("busybox ip -6 addr add {more}/128 dev eth0")).succeeds();
    wait_for("another address", || call(world.machine(), &format!("[{more}]:80")));
    assert!(world.pings("web", &format!("-I {more} 2001:db8:1::2")));
    let (network, _) = start.rsplit_once(':').unwrap();
    let foreign = format!("{network}:99::1");
    world.inside("web", &format!("busybox ip -6 addr add {foreign}/128 dev eth0")).succeeds();
    assert!(!world.pings("web", &format!("-I {foreign} 2001:db8:1::2")));
    drop(tree);
}

#[test]
fn debian_configures_ipv6_by_itself() {
    let Some(mut world) = World::new("debian_configures_ipv6_by_itself") else { return };
    // Nothing of the image is adapted: its own manager has the link.
    let changes = world.sandbox.distribution("deb", "bookworm", &["network.mode=nat", "seed=no"]);
    changes.write(
        "etc/systemd/network/eth0.network",
        "[Match]\nName=eth0\n\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n",
    );
    let wants = changes.path("etc/systemd/system/multi-user.target.wants");
    std::fs::create_dir_all(&wants).unwrap();
    let unit = "/lib/systemd/system/systemd-networkd.service";
    std::os::unix::fs::symlink(unit, wants.join("systemd-networkd.service")).unwrap();
    serve(world.far.pid, "192.0.2.2:80", "world");
    serve(world.far.pid, "[2001:db8:1::2]:80", "world");
    world.sandbox.ds(&["start", "deb", "--wait=90"]).succeeds();
    let run = |script: &str| world.sandbox.ds(&["run", "deb", "--", "/bin/sh", "-c", script]).text();
    // Without what it has before its first process runs.
    run(
        "ip -6 addr flush dev eth0 scope global; ip -6 route flush default; systemctl restart systemd-networkd",
    );
    let own = world.addresses("deb")[1].clone();
    wait_for("an address and a route of an advertisement", || {
        let text = run("ip -6 route show default; ip -6 addr show dev eth0 scope global");
        (text.contains("via fe80::1 dev eth0 proto ra") && text.contains(&format!("{own}/64"))).then_some(())
    });
    wait_for("a DHCP lease", || run("ip -4 route show default").contains("proto dhcp").then_some(()));
    let deb = world.pid("deb");
    wait_for("IPv6", || call(deb, "[2001:db8:1::2]:80"));
    assert!(call(deb, "192.0.2.2:80").is_some());
    world.sandbox.ds(&["stop", "deb", "--kill"]).succeeds();
}
