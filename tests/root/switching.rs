//! Switch-over: after the end of one uplink, new connections of containers use the next one, in every way in which an
//! uplink can end, again and again.

use crate::handset::{Handset, INTERNET};
use crate::wait_for;
use crate::world::{Place, World, call, same, serve};

/// Waits until new connections of a container get an answer that begins with this word.
fn reaches(pid: i32, what: &str, word: &str) {
    wait_for(&format!("{what}: {word}"), || {
        call(pid, INTERNET).filter(|answer| answer.starts_with(word)).map(drop)
    });
}

/// The commands that end Wi-Fi and restore it on a phone whose netd does not react; with `{}` for its table.
const ENDS: [(&str, &str); 4] = [
    ("ip link set wlan0 down", "ip link set wlan0 up"),
    ("ip addr del 192.168.7.2/24 dev wlan0", "ip addr add 192.168.7.2/24 dev wlan0"),
    ("ip route flush table $table", "true"),
    (
        "ip link set wlan0 down; ip addr flush dev wlan0",
        "ip addr add 192.168.7.2/24 dev wlan0; ip link set wlan0 up",
    ),
];

#[test]
fn a_phone_switches_uplinks_and_back_again_and_again() {
    let Some(phone) = Handset::new("a_phone_switches_uplinks_and_back_again_and_again") else { return };
    let before = phone.state();
    let boot = |name: &str, setting: &str| {
        phone.sandbox.container(name, &["network.mode=nat", setting]);
        phone.sandbox.ds(&["start", name]).succeeds();
        phone.pid(name)
    };
    let (list, auto) = (boot("list", "network.uplink=wlan0,rmnet*"), boot("auto", "network.uplink=auto"));
    let table = "table=$((1000 + $(ip -o link show wlan0 | sed 's/:.*//')))";
    let routes = "ip route replace 192.168.7.0/24 dev wlan0 table $table
                  ip route replace default via 192.168.7.1 dev wlan0 table $table";
    for round in 0..2 {
        for (end, restore) in ENDS {
            let what = format!("round {round}, {end}");
            reaches(list, &what, "wifi");
            phone.shell(&format!("{table}; {end}"));
            reaches(list, &what, "mobile");
            phone.shell(&format!("{table}; {restore}; {routes}"));
        }
        // What netd does afterwards: its rules change, in both directions.
        let what = format!("round {round}, netd");
        reaches(auto, &what, "wifi");
        phone.make_default(Some("wlan0"), Some("rmnet_data0"));
        reaches(auto, &what, "mobile");
        phone.disconnect("wlan0");
        reaches(list, &what, "mobile");
        phone.connect("wlan0");
        reaches(list, &what, "wifi");
        phone.make_default(Some("rmnet_data0"), Some("wlan0"));
        reaches(auto, &what, "wifi");
    }
    phone.sandbox.ds(&["stop", "--all"]).succeeds();
    same(&phone.state(), &before);
}

#[test]
fn a_machine_with_two_uplinks_switches_between_them() {
    let Some(world) = World::new("a_machine_with_two_uplinks_switches_between_them") else { return };
    for place in [&world.far, &world.near] {
        place.run(&world.sandbox, "ip addr add 100.64.9.9/32 dev lo").succeeds();
    }
    serve(world.far.pid, "0.0.0.0:80", "wan");
    serve(world.near.pid, "0.0.0.0:80", "lan");
    let first = "ip route replace 100.64.9.9 via 192.0.2.2 dev wan0 metric 10";
    let run = |script: &str| world.sandbox.run(&["sh", "-ec", script]).succeeds();
    run(&format!("{first}; ip route add 100.64.9.9 via 198.51.100.2 dev lan0 metric 20"));
    let ends = [
        ("ip link set wan0 down", "ip link set wan0 up"),
        ("ip addr del 192.0.2.1/24 dev wan0", "ip addr add 192.0.2.1/24 dev wan0"),
        ("ip route del 100.64.9.9 metric 10", "true"),
    ];
    world.boot("list", &["network.uplink=wan0,lan0"]);
    world.boot("auto", &[]);
    world.boot("bypass", &["network.vpn=bypass"]);
    let all = ["list", "auto", "bypass"].map(|name| world.pid(name));
    for round in 0..2 {
        for (end, restore) in ends {
            let what = format!("round {round}, {end}");
            let use_it = |word: &str| all.iter().for_each(|pid| reaches(*pid, &what, word));
            use_it("wan");
            run(end);
            use_it("lan");
            run(&format!("{restore}; {first}"));
        }
    }
    world.sandbox.ds(&["stop", "--all"]).succeeds();
}

/// The shell command that sets `table` to the number of netd's table for an interface.
fn table_of(name: &str) -> String {
    format!("table=$((1000 + $(ip -o link show {name} | sed 's/:.*//')))")
}

/// Makes mobile data IPv6-only, and adds the interface of CLAT, which is down, with a host behind it.
fn make_ipv6_only(phone: &Handset) -> Place {
    let clat = Place::new(&phone.sandbox, "613");
    phone.shell(&format!(
        "ip addr del 10.33.0.2/24 dev rmnet_data0
         ip link add v4-rmnet_data0 type veth peer name eth0 netns {}
         ip addr add 192.0.0.4/24 dev v4-rmnet_data0
         ip addr add 2001:db8:9::2/64 dev rmnet_data0 nodad",
        clat.inside
    ));
    let there = "ip addr add 192.0.0.1/24 dev eth0; ip addr add 100.64.9.9/32 dev lo; ip link set lo up; ip link set eth0 up";
    clat.run(&phone.sandbox, there).succeeds();
    serve(clat.pid, "0.0.0.0:80", "clat");
    let script = "ip addr add 2001:db8:9::1/64 dev eth0 nodad; ip addr add 2001:db8:64::1/128 dev lo nodad";
    phone.in_host("rmnet_data0", script);
    serve(phone.host("rmnet_data0"), "[::]:81", "six");
    phone.shell(&format!(
        "{}; ip -6 route add 2001:db8:9::/64 dev rmnet_data0 table $table
         ip -6 route add default via 2001:db8:9::1 dev rmnet_data0 table $table",
        table_of("rmnet_data0")
    ));
    clat
}

/// A phone whose mobile data are IPv6-only: behind CLAT, IPv4 has an interface of its own; without it, there is only
/// IPv6.
#[test]
fn ipv6_only_mobile_data_is_used_with_and_without_clat() {
    const SIX: &str = "[2001:db8:64::1]:81";
    let Some(phone) = Handset::new("ipv6_only_mobile_data_is_used_with_and_without_clat") else { return };
    let _clat = make_ipv6_only(&phone);
    // netd adds the interface of CLAT to the same network, with rules of the same priorities.
    let with_clat = |verb: &str, state: &str| {
        phone.shell(&format!(
            "ip link set v4-rmnet_data0 {state}; {}
             test {state} = down || ip route add 192.0.0.0/24 dev v4-rmnet_data0 table $table
             test {state} = down || ip route add default via 192.0.0.1 dev v4-rmnet_data0 table $table
             for family in -4 -6; do
                 ip $family rule {verb} priority 23000 fwmark 101/0x1ffff iif lo lookup $table
                 ip $family rule {verb} priority 31000 fwmark 0x0/0xffff iif lo lookup $table; done",
            table_of("v4-rmnet_data0")
        ));
    };
    // Once, so that its state is that after a use.
    with_clat("add", "up");
    with_clat("del", "down");
    let before = phone.state();
    for (name, setting) in [("auto", "network.uplink=auto"), ("list", "network.uplink=v4-rmnet*, rmnet*")] {
        phone.sandbox.container(name, &["network.mode=nat", setting]);
        phone.sandbox.ds(&["start", name]).succeeds();
    }
    let (auto, list) = (phone.pid("auto"), phone.pid("list"));
    let addresses = phone.sandbox.info("auto")["network"]["addresses"].as_array().map_or(0, Vec::len);
    phone.make_default(Some("wlan0"), Some("rmnet_data0"));
    for round in 0..2 {
        let what = format!("round {round}");
        with_clat("add", "up");
        reaches(auto, &what, "clat");
        reaches(list, &what, "clat");
        if addresses > 1 {
            wait_for("IPv6", || call(auto, SIX).filter(|answer| answer == "six 2001:db8:9::2"));
            wait_for("IPv6", || call(list, SIX).filter(|answer| answer == "six 2001:db8:9::2"));
        }
        // IPv4 is refused at once, and IPv6 continues.
        with_clat("del", "down");
        for pid in [auto, list] {
            wait_for("no IPv4", || call(pid, INTERNET).is_none().then_some(()));
            if addresses > 1 {
                assert_eq!(call(pid, SIX).as_deref(), Some("six 2001:db8:9::2"), "{what}");
            }
        }
    }
    phone.make_default(Some("rmnet_data0"), Some("wlan0"));
    reaches(auto, "Wi-Fi", "wifi");
    phone.sandbox.ds(&["stop", "--all"]).succeeds();
    same(&phone.state(), &before);
}
