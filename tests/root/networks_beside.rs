//! Networks beside those of others: many containers, a second data directory, a hotspot.

use crate::handset::{Handset, INTERNET};
use crate::root_fs::Tree;
use crate::wait_for;
use crate::world::{Place, World, call, same, serve};
use std::collections::BTreeSet;

#[test]
fn fifty_containers_share_a_network() {
    let Some(world) = World::new("fifty_containers_share_a_network") else { return };
    serve(world.far.pid, "192.0.2.2:80", "world");
    let before = world.state();
    let names: Vec<String> = (0..50).map(|number| format!("c{number}")).collect();
    for name in &names {
        world.sandbox.container(name, &["network.mode=nat", "stop-timeout=5"]);
        world.sandbox.ds(&["start", name]).succeeds();
    }
    let addresses: BTreeSet<String> = names.iter().flat_map(|name| world.addresses(name)).collect();
    assert_eq!(addresses.len(), 100, "one of each family for each");
    let last = world.pid("c49");
    serve(last, "[::]:80", "last");
    for name in ["c0", "c25", "c49"] {
        assert!(call(world.pid(name), "192.0.2.2:80").is_some(), "{name}");
    }
    assert!(call(world.pid("c0"), &format!("{}:80", world.address("c49"))).is_some());
    // Ports of one among many, there and gone; what another program adds and removes meanwhile changes nothing.
    world.sandbox.ds(&["set", "c49", "network.ports=8080:80"]).succeeds();
    assert!(call(world.near.pid, "198.51.100.1:8080").is_some());
    world.sandbox.run(&["nft", "add table ip other; delete table ip other"]);
    world.sandbox.ds(&["set", "c49", "network.ports=8081:80"]).succeeds();
    assert!(call(world.near.pid, "198.51.100.1:8081").is_some());
    assert!(call(world.near.pid, "198.51.100.1:8080").is_none());
    world.sandbox.ds(&["set", "c49", "network.ports="]).succeeds();
    assert!(call(world.near.pid, "198.51.100.1:8081").is_none());
    world.sandbox.ds(&["stop", "--all", "--kill"]).succeeds();
    same(&world.state(), &before);
}

#[test]
fn two_data_directories_have_networks_at_once() {
    let Some(world) = World::new("two_data_directories_have_networks_at_once") else { return };
    serve(world.far.pid, "192.0.2.2:80", "world");
    let before = world.state();
    let root = format!("DS_ROOT={}", world.sandbox.path("second").display());
    let program = world.sandbox.binary();
    let second = |words: &[&str]| {
        let start = ["env", &root, program.to_str().unwrap()];
        world.sandbox.run(&[&start[..], words].concat())
    };
    let tree = Tree::with_probe(&world.sandbox.path("other"));
    let rootfs = format!("--rootfs={}", tree.path("").display());
    second(&["create", "web", &rootfs, "--set", "network.mode=nat", "--set", "network.ports=8082:80"])
        .succeeds();
    // The same name in both, and networks of the same name.
    world.boot("web", &["network.ports=8081:80"]);
    let first = world.state();
    second(&["start", "web"]).succeeds();
    let info: serde_json::Value =
        serde_json::from_str(&second(&["info", "web", "--json"]).succeeds()).unwrap();
    // By its number in the sandbox, the second one of three.
    let number = info["pid"].to_string();
    let has_number = |pid: i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("NSpid:")).unwrap_or_default();
        line.split_whitespace().nth(2) == Some(number.as_str())
    };
    let other = world.sandbox.processes().into_iter().find(|one| has_number(one.pid)).unwrap().pid;
    serve(world.pid("web"), "0.0.0.0:80", "first");
    serve(other, "0.0.0.0:80", "second");
    for (pid, port, word) in [(world.pid("web"), 8081, "first"), (other, 8082, "second")] {
        assert!(call(pid, "192.0.2.2:80").is_some(), "{word}");
        let answer = call(world.near.pid, &format!("198.51.100.1:{port}")).unwrap_or_default();
        assert!(answer.starts_with(word), "{answer}");
    }
    let address = info["network"]["addresses"][0].as_str().unwrap().to_owned();
    assert!(call(world.pid("web"), &format!("{address}:80")).is_none(), "networks of different directories");
    second(&["stop", "web", "--kill"]).succeeds();
    second(&["supervisor", "stop"]).succeeds();
    same(&world.state(), &first);
    assert!(call(world.pid("web"), "192.0.2.2:80").is_some());
    world.sandbox.ds(&["stop", "web"]).succeeds();
    same(&world.state(), &before);
}

#[test]
fn a_hotspot_comes_and_goes() {
    let Some(phone) = Handset::new("a_hotspot_comes_and_goes") else { return };
    let before = phone.state();
    phone.sandbox.container("web", &["network.mode=nat", "network.ports=8080:80"]);
    phone.sandbox.ds(&["start", "web"]).succeeds();
    let web = phone.pid("web");
    serve(web, "0.0.0.0:80", "web");
    for round in 0..2 {
        let client = Place::new(&phone.sandbox, &format!("{}", 615 + round));
        phone.shell(&format!(
            "ip link add ap0 type veth peer name eth0 netns {}; ip addr add 192.168.43.1/24 dev ap0
             ip link set ap0 up; ip route add 192.168.43.0/24 dev ap0 table 97
             ip rule add priority 21000 iif ap0 lookup $((1000 + $(ip -o link show wlan0 | sed 's/:.*//')))
             iptables-legacy -I tetherctrl_FORWARD -i ap0 -o wlan0 -j ACCEPT
             iptables-legacy -I tetherctrl_FORWARD -i wlan0 -o ap0 -j ACCEPT
             iptables-legacy -t nat -A tetherctrl_nat_POSTROUTING -o wlan0 -j MASQUERADE
             echo 1 >/proc/sys/net/ipv4/ip_forward",
            client.inside
        ));
        let there = "ip addr add 192.168.43.2/24 dev eth0; ip link set eth0 up; ip route add default via 192.168.43.1";
        client.run(&phone.sandbox, there).succeeds();
        serve(client.pid, "0.0.0.0:80", "client");
        // The container and the clients of the hotspot reach each other as published, and both the internet.
        wait_for("a client of the hotspot", || call(web, "192.168.43.2:80"));
        let answer = call(client.pid, "192.168.43.1:8080").unwrap_or_default();
        assert!(answer.starts_with("web "), "{answer}");
        for (pid, who) in [(web, "web"), (client.pid, "the client")] {
            wait_for(&format!("the internet for {who}"), || {
                (call(pid, INTERNET).as_deref() == Some("wifi 192.168.7.2")).then_some(())
            });
        }
        // netd ends it, and forwarding with it.
        phone.shell(
            "iptables-legacy -F tetherctrl_FORWARD; iptables-legacy -A tetherctrl_FORWARD -j DROP
             iptables-legacy -t nat -F tetherctrl_nat_POSTROUTING
             ip rule del priority 21000; ip link del ap0; echo 0 >/proc/sys/net/ipv4/ip_forward",
        );
        phone.wait_for_way("web", Some("wifi"));
    }
    phone.sandbox.ds(&["stop", "web"]).succeeds();
    same(&phone.state(), &before);
}

#[test]
fn an_uplink_with_ipv6_alone_is_followed_by_clat() {
    let Some(phone) = Handset::new("an_uplink_with_ipv6_alone_is_followed_by_clat") else { return };
    let before = phone.state();
    phone.sandbox.container("web", &["network.mode=nat"]);
    phone.sandbox.ds(&["start", "web"]).succeeds();
    let web = phone.pid("web");
    phone.wait_for_way("web", Some("wifi"));
    // Mobile data lose IPv4; the translator's interface has a table of its own, and the network has both.
    let clat = Place::new(&phone.sandbox, "617");
    let table = |name: &str| format!("$((1000 + $(ip -o link show {name} | sed 's/:.*//')))");
    let (mobile, translated) = (table("rmnet_data0"), table("v4-rmnet_data0"));
    phone.shell(&format!(
        "ip link add v4-rmnet_data0 type veth peer name eth0 netns {}
         ip addr add 192.0.0.4/29 dev v4-rmnet_data0; ip link set v4-rmnet_data0 up
         ip route add default via 192.0.0.1 dev v4-rmnet_data0 onlink table {translated}
         ip route flush table {mobile}",
        clat.inside
    ));
    let there = "ip addr add 192.0.0.1/29 dev eth0; ip addr add 100.64.9.9/32 dev lo; ip link set lo up; ip link set eth0 up";
    clat.run(&phone.sandbox, there).succeeds();
    serve(clat.pid, "0.0.0.0:80", "clat");
    phone.make_default(Some("wlan0"), Some("rmnet_data0"));
    phone.shell(&format!("ip rule add priority 31000 fwmark 0x0/0xffff iif lo lookup {translated}"));
    wait_for("the translator", || (call(web, INTERNET).as_deref() == Some("clat 192.0.0.4")).then_some(()));
    wait_for("its uplink", || {
        (phone.sandbox.info("web")["network"]["uplink"] == "v4-rmnet_data0").then_some(())
    });
    // Wi-Fi is back, and the translator ends.
    phone.make_default(Some("rmnet_data0"), Some("wlan0"));
    phone.shell(&format!(
        "ip rule del priority 31000 fwmark 0x0/0xffff iif lo lookup {translated}; ip link del v4-rmnet_data0
         ip route add 10.33.0.0/24 dev rmnet_data0 table {mobile}
         ip route add default via 10.33.0.1 dev rmnet_data0 table {mobile}"
    ));
    phone.wait_for_way("web", Some("wifi"));
    phone.sandbox.ds(&["stop", "web"]).succeeds();
    same(&phone.state(), &before);
}

/// A worker of the supervisor updates the networks after a change of the machine's network, but not after a change that
/// ds has made itself.
#[test]
fn own_links_start_no_worker() {
    let Some(world) = World::new("own_links_start_no_worker") else { return };
    world.boot("web", &[]);
    // The number of processes that begin while an interface is created and removed.
    let begun = |name: &str| -> u32 {
        let script = format!(
            ": & first=$!; ip link add {name} type bridge; ip addr add 10.250.0.1/24 dev {name}; ip link set {name} up
             ip link del {name}; sleep 0.5; : & echo $(($! - first))"
        );
        world.shell(&script).trim().parse().expect("a number")
    };
    // Another process may begin for another reason.
    wait_for("no process but those of the script", || (begun("ds-try") == 6).then_some(()));
    assert!(begun("try") > 6, "a change of another program");
    world.sandbox.ds(&["stop", "web"]).succeeds();
}
