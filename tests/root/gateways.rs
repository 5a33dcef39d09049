//! `network.mode = gateway`: a container is the only way out of others.

use crate::process;
use crate::world::{Place, World, call, same, serve, within};
use crate::{skip, wait_for};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// An address behind a link that only the router has.
const HIDDEN: &str = "10.200.0.2:80";
const CLIENT: [&str; 2] = ["network.mode=gateway", "network.gateway=router"];

fn client(world: &World, name: &str, settings: &[&str]) {
    let tree = world.sandbox.container(name, &[&CLIENT, settings].concat());
    world.sandbox.ds(&["start", name]).succeeds();
    wait_for("the report", || tree.report());
}

/// A command in the router's network, with the host's programs.
fn in_router(world: &World, script: &str) -> crate::done::Done {
    let pid = world.sandbox.info("router")["pid"].to_string();
    world.sandbox.run(&["nsenter", "--target", &pid, "--net", "sh", "-ec", script])
}

/// Gives the router a link of its own, such as a VPN, to a host that knows the clients.
fn tunnel(world: &World, hidden: &Place) {
    let script = format!(
        "ip link add tun7 type veth peer name eth0 netns {}; ip addr add 10.200.0.1/24 dev tun7; ip link set tun7 up",
        hidden.inside
    );
    in_router(world, &script).succeeds();
    let there = "ip addr add 10.200.0.2/24 dev eth0; ip link set lo up; ip link set eth0 up; ip route add default via 10.200.0.1";
    hidden.run(&world.sandbox, there).succeeds();
}

/// Waits for the answer to a ping.
fn answered(world: &World, name: &str, to: &str) {
    wait_for(&format!("an answer of {to} to {name}"), || world.pings(name, to).then_some(()));
}

/// How many pings the world has received.
fn pinged(world: &World) -> u64 {
    let script = "awk '/^Icmp:/ { if (!at) { for (i = 1; i <= NF; i++) if ($i == \"InEchos\") at = i } else print $at }' /proc/net/snmp";
    world.far.run(&world.sandbox, script).succeeds().trim().parse().expect("a number")
}

#[test]
fn packets_leave_only_through_the_gateway_and_survive_its_reboot() {
    const TEST: &str = "packets_leave_only_through_the_gateway_and_survive_its_reboot";
    let Some(world) = World::new(TEST) else { return };
    let hidden = Place::new(&world.sandbox, "603");
    world.boot("router", &[]);
    client(&world, "web", &["network.dns=auto"]);
    let web = world.pid("web");
    let address = world.address("web");
    let router = address.rsplit_once('.').map(|(start, _)| format!("{start}.1")).unwrap();
    let resolv = world.inside("web", "cat /etc/resolv.conf").succeeds();
    assert_eq!(resolv.trim(), format!("nameserver {router}"));
    let info = world.sandbox.info("web")["network"].clone();
    assert_eq!(
        (&info["mode"], &info["gateway"], &info["uplink"]),
        (&json!("gateway"), &json!("router"), &json!("wan0"))
    );
    tunnel(&world, &hidden);
    serve(hidden.pid, HIDDEN, "hidden");
    let reaches = || call(web, HIDDEN) == Some(format!("hidden {address}"));
    let waits = |what: &str| wait_for(what, || reaches().then_some(()));
    waits("the host behind the router");
    assert_eq!(call(world.machine(), HIDDEN), None);
    // A connection survives each reboot of the gateway.
    let listener = within(hidden.pid, || TcpListener::bind("10.200.0.2:81").unwrap());
    let echo = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut byte = [0];
        while stream.read(&mut byte).unwrap_or(0) == 1 && stream.write_all(&byte).is_ok() {}
    });
    let mut stream = within(web, || TcpStream::connect("10.200.0.2:81").unwrap());
    stream.set_read_timeout(Some(Duration::from_secs(180))).unwrap();
    let reboots: [(&str, &dyn Fn()); 2] = [
        ("restart", &|| drop(world.sandbox.ds(&["restart", "router"]).succeeds())),
        ("reboot", &|| drop(world.sandbox.ds(&["run", "router", "--", "/bin/probe", "reboot"]))),
    ];
    for (what, reboot) in reboots {
        let old = world.sandbox.info("router")["pid"].clone();
        reboot();
        wait_for(what, || {
            let info = world.sandbox.info("router");
            (info["state"] == "running" && info["pid"] != old).then_some(())
        });
        wait_for("the end of the tunnel", || {
            (hidden.run(&world.sandbox, "ip link show eth0 2>/dev/null").code != 0).then_some(())
        });
        tunnel(&world, &hidden);
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).expect(what);
        waits(what);
        assert_eq!(world.pid("web"), web, "{what}");
    }
    drop(stream);
    echo.join().unwrap();
}

#[test]
fn without_its_gateway_no_packet_leaves_and_nothing_is_left() {
    const TEST: &str = "without_its_gateway_no_packet_leaves_and_nothing_is_left";
    let Some(world) = World::new(TEST) else { return };
    let hidden = Place::new(&world.sandbox, "604");
    let before = world.state();
    world.boot("router", &[]);
    client(&world, "web", &[]);
    tunnel(&world, &hidden);
    serve(hidden.pid, HIDDEN, "hidden");
    let web = world.pid("web");
    wait_for("the host behind the router", || call(web, HIDDEN));
    process::kill(world.sandbox.monitor("router").expect("a monitor").pid);
    wait_for("the end of the router", || (world.sandbox.state("router") == "failed").then_some(()));
    wait_for("no uplink", || world.sandbox.info("web")["network"]["uplink"].is_null().then_some(()));
    // The kernel removes its network some time after its processes.
    wait_for("the end of its network", || call(web, HIDDEN).is_none().then_some(()));
    let quiet = pinged(&world);
    assert!(!world.pings("web", "192.0.2.2"));
    assert_eq!(pinged(&world), quiet, "packets of a container without its gateway");
    world.sandbox.ds(&["start", "router"]).succeeds();
    // The host's rules cover a client's packets too, once the gateway translates their addresses.
    let translate = "nft 'add table ip t; add chain ip t p { type nat hook postrouting priority 100; }; add rule ip t p oifname eth0 masquerade' 2>/dev/null ||
        iptables-legacy -t nat -A POSTROUTING -o eth0 -j MASQUERADE";
    if in_router(&world, translate).code == 0 {
        serve(world.far.pid, "192.0.2.2:80", "world");
        wait_for("the world", || call(web, "192.0.2.2:80").filter(|it| it == "world 192.0.2.1"));
    } else {
        skip(TEST, "no nft and no iptables-legacy");
    }
    // Whoever is killed, nothing is left.
    for name in ["router", "web"] {
        process::kill(world.sandbox.monitor(name).expect("a monitor").pid);
        wait_for("its end", || (world.sandbox.state(name) == "failed").then_some(()));
    }
    let members = world.sandbox.run_directory("network/host");
    wait_for("the end of the rules", || (!members.exists()).then_some(()));
    same(&world.state(), &before);
}

#[test]
fn clients_start_before_their_gateway_and_keep_its_interface() {
    let Some(world) = World::new("clients_start_before_their_gateway_and_keep_its_interface") else { return };
    let before = world.state();
    world.sandbox.container("router", &["network.mode=nat"]);
    world.sandbox.container("web", &[&CLIENT[..], &["network.address=192.168.1.50"]].concat());
    let done = world.sandbox.ds(&["start", "web"]);
    assert!(done.errors.contains("router is not running"), "{}", done.errors);
    done.succeeds();
    // The host has nothing of it.
    same(&world.state(), &before);
    world.sandbox.ds(&["start", "router"]).succeeds();
    answered(&world, "web", "192.168.1.1");
    // It sees the interface from its first process on, and keeps it without clients.
    let index = || in_router(&world, "cat /sys/class/net/eth1/ifindex || ip -o link show eth1").text();
    let first = index();
    world.sandbox.ds(&["stop", "web"]).succeeds();
    assert_eq!(index(), first);
    client(&world, "db", &["network.gateway-interface=eth1"]);
    client(&world, "guest", &["network.name=guests", "network.gateway-interface=eth2"]);
    assert_eq!(index(), first);
    let gateway = world.address("guest").rsplit_once('.').map(|(start, _)| format!("{start}.1")).unwrap();
    answered(&world, "guest", &gateway);
    answered(&world, "db", "192.168.1.1");
    // An interface that came later is kept as well.
    world.sandbox.ds(&["stop", "guest"]).succeeds();
    in_router(&world, "ip link show eth2").succeeds();
    // The kernel refuses the address of a neighbour, and `isolated` applies to a running container.
    world.sandbox.ds(&["start", "web"]).succeeds();
    let web = world.address("web");
    answered(&world, "db", &web);
    world.sandbox.ds(&["set", "web", "network.isolated=yes"]).succeeds();
    world.sandbox.ds(&["set", "db", "network.isolated=yes"]).succeeds();
    assert!(!world.pings("db", &web));
    answered(&world, "db", "192.168.1.1");
    // A temporary container.
    let tree = crate::root_fs::Tree::with_probe(&world.sandbox.path("tree"));
    let words = [
        "shell",
        "--set",
        CLIENT[0],
        "--set",
        CLIENT[1],
        tree.0.to_str().unwrap(),
        "/bin/busybox",
        "ping",
        "-c1",
        "192.168.1.1",
    ];
    world.sandbox.ds(&words).succeeds();
    world.sandbox.ds(&["stop", "--all"]).succeeds();
    same(&world.state(), &before);
}

#[test]
fn a_gateway_that_cannot_be_one_is_refused_with_the_reason() {
    let Some(world) = World::new("a_gateway_that_cannot_be_one_is_refused_with_the_reason") else { return };
    let sandbox = &world.sandbox;
    sandbox.container("web", &["network.mode=none"]);
    let set = |words: &[&str]| sandbox.ds(&[&["set"], words].concat());
    let config = || sandbox.ds(&["get", "web", "--file"]).succeeds();
    let refused_setting = |words: &[&str], reason: &str| {
        let before = config();
        let line = format!("ds: set {}: {reason}", words[0]);
        set(words).fails(1, &[&line]);
        set(&[words, &["--dry-run"]].concat()).fails(1, &[&line]);
        assert_eq!(config(), before);
    };
    set(&["web", "network.gateway-interface=eth0"]).fails(2, &["network.gateway-interface"]);
    // Also while the mode is a different one.
    refused_setting(&["web", "network.gateway=web"], "network.gateway: web is the container itself; name");
    refused_setting(
        &["web", "network.gateway=router"],
        "network.gateway: there is no container router; create",
    );
    refused_setting(&["web", "network.mode=gateway"], "network.gateway is not set; set it to");
    let refused = |name: &str, parts: &[&str]| {
        sandbox.ds(&["start", name]).fails(1, parts);
    };
    // A file edited by hand is checked at the start.
    let file = sandbox.data("containers/web/container.ini");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("mode = none", "mode = gateway")).unwrap();
    refused("web", &["ds: start web: network.gateway is not set; set it to"]);
    let new = ["create", "new", "--rootfs", "/usr", "--set", "network.mode=gateway", "--set"];
    let refused_new = |setting: &str, reason: &str| {
        sandbox.ds(&[&new[..], &[setting]].concat()).fails(1, &[&format!("ds: create new: {reason}")]);
        assert!(!sandbox.data("containers/new").exists());
    };
    refused_new("network.gateway=router", "network.gateway: there is no container router; create");
    sandbox.container("router", &[]);
    let reason = "network.gateway: router has network.mode = host; set it to nat";
    refused_setting(&["web", "network.gateway=router"], reason);
    refused_new("network.gateway=router", reason);
    set(&["router", "network.mode=nat"]).succeeds();
    set(&["web", "network.gateway=router"]).succeeds();
    let cycle = ["router", "network.mode=gateway", "network.gateway=web", "network.name=other"];
    refused_setting(&cycle, "network.gateway: web is itself behind router; remove the cycle");
    // The start notices later changes of the gateway, and other keys can be changed nevertheless.
    sandbox.ds(&["rename", "router", "other"]).succeeds();
    refused("web", &["ds: start web: network.gateway: there is no container router"]);
    set(&["web", "network.isolated=no"]).succeeds();
    sandbox.ds(&["rename", "other", "router"]).succeeds();
    set(&["router", "network.mode=nat", "network.name=lan"]).succeeds();
    refused("web", &["network.name: router is in lan itself"]);
    set(&["router", "network.name=default"]).succeeds();
    sandbox.ds(&["start", "router", "web"]).succeeds();
    world.boot("second", &[]);
    sandbox.container("db", &["network.mode=gateway", "network.gateway=second"]);
    refused("db", &["network.gateway: network lan already has gateway router, which web uses"]);
    set(&["db", "network.gateway=router", "network.gateway-interface=lan0"]).succeeds();
    refused("db", &["network.gateway-interface: router has network lan at eth1"]);
    set(&["db", "network.name=lab", "network.gateway-interface=eth1"]).succeeds();
    refused("db", &["network.gateway-interface: router already has an interface eth1"]);
    set(&["db", "network.mode=nat", "network.name=lan"]).succeeds();
    refused("db", &["network.name: lan is the network of gateway router"]);
    refused_setting(&["web", "network.name=default"], "network.name: router is in default itself");
}

#[test]
fn settings_without_effect_are_refused_when_they_are_set() {
    let Some(world) = World::new("settings_without_effect_are_refused_when_they_are_set") else { return };
    let sandbox = &world.sandbox;
    sandbox.container("web", &["network.mode=nat", "network.uplink=vpn"]);
    let set = |settings: &[&str]| sandbox.ds(&[&["set", "web"], settings].concat());
    set(&["network.vpn=bypass"]).fails(1, &["ds: set web: network.vpn: bypass", "network.uplink = vpn"]);
    set(&["network.vpn=bypass", "network.uplink=wan0"]).succeeds();
    set(&["network.uplink=vpn"]).fails(1, &["network.vpn: bypass"]);
    let loopback = ["network.ports=[::]:81:81, [::1]:80:80"];
    set(&loopback).fails(1, &["ds: set web: network.ports: [::1]:80:80", "use 127.0.0.1"]);
    // Another key can be changed in a file that has it already.
    let file = sandbox.data("containers/web/container.ini");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("[network]\n", "[network]\nports = [::1]:80:80\n")).unwrap();
    set(&["network.isolated=yes"]).succeeds();
}

#[test]
fn an_address_that_cannot_be_used_is_refused_when_it_is_set() {
    let Some(world) = World::new("an_address_that_cannot_be_used_is_refused_when_it_is_set") else { return };
    let sandbox = &world.sandbox;
    world.boot("db", &[]);
    let address = world.address("db");
    let other = address.rsplit_once('.').map(|(start, _)| format!("{start}.77")).unwrap();
    sandbox.container("web", &["network.mode=nat"]);
    let set = |name: &str, address: &str| sandbox.ds(&["set", name, &format!("network.address={address}")]);
    set("web", &address).fails(1, &["ds: set web: network.address: another container has"]);
    set("web", "10.200.77.9").fails(1, &["ds: set web: network.address: 10.200.77.9 is not in this network"]);
    set("web", &other).succeeds();
    // Before either has started.
    sandbox.container("second", &["network.mode=nat"]);
    set("second", &other).fails(1, &[&format!("ds: set second: network.address: web has {other}")]);
    sandbox.ds(&["set", "second", &format!("network.address={other}"), "network.name=lab"]).succeeds();
    sandbox.ds(&["start", "web"]).succeeds();
    assert_eq!(world.address("web"), other);
}
