//! The network of a phone, in network namespaces of the test: Wi-Fi, mobile data and a VPN, and the rules, tables and
//! chains of Android's netd.
//!
//! The sandbox's network namespace is the phone. Behind each interface is a host that simulates the internet
//! (100.64.9.9) and counts received packets. This module simulates netd: a table for each interface, rules by the marks
//! of its networks, and `unreachable` at the end (RouteController.cpp of netd).

use crate::sandbox::Sandbox;
use crate::world::{Place, serve, state, wait_for_links};
use crate::{skip, wait_for};
use std::fs;

/// The address of the simulated internet.
pub const INTERNET: &str = "100.64.9.9:80";
/// Interfaces, their networks, and their numbers in netd.
const NETWORKS: [(&str, &str, u32); 3] =
    [("wlan0", "192.168.7", 100), ("rmnet_data0", "10.33.0", 101), ("tun0", "172.29.0", 102)];
/// netd's chains; forwarded packets that are not tethered are dropped.
const CHAINS: &str = "for one in iptables ip6tables; do
    for chain in oem_fwd fw_FORWARD bw_FORWARD tetherctrl_FORWARD; do
        $one-legacy -N $chain; $one-legacy -A FORWARD -j $chain; done
    $one-legacy -A tetherctrl_FORWARD -j DROP
    $one-legacy -t nat -N tetherctrl_nat_POSTROUTING
    $one-legacy -t nat -A POSTROUTING -j tetherctrl_nat_POSTROUTING
    $one-legacy -t mangle -S >/dev/null
done";
/// netd's changes of other chains at its start.
const FLUSH_CHAINS: &str = "for one in iptables ip6tables; do
    $one-legacy -F INPUT; $one-legacy -F FORWARD; $one-legacy -t mangle -F PREROUTING; $one-legacy -t mangle -F FORWARD
    $one-legacy -t nat -F PREROUTING; $one-legacy -t nat -F POSTROUTING
    for chain in oem_fwd fw_FORWARD bw_FORWARD tetherctrl_FORWARD; do $one-legacy -A FORWARD -j $chain; done
    $one-legacy -t nat -A POSTROUTING -j tetherctrl_nat_POSTROUTING
done";

/// A phone and its networks.
pub struct Handset {
    places: Vec<Place>,
    pub sandbox: Sandbox,
}

impl Handset {
    /// `None` with a reported reason if this machine lacks a requirement. Wi-Fi is the default network, mobile data are
    /// also connected, and there is no VPN.
    pub fn new(test: &str) -> Option<Self> {
        let sandbox = Sandbox::new();
        let able =
            sandbox.run(&["sh", "-c", "ip link add ds-try type bridge && ip link del ds-try && ip rule"]);
        if able.code != 0 {
            skip(test, "no bridges, or no iproute2");
            return None;
        }
        let places = (0..3).map(|number| Place::new(&sandbox, &format!("{}", 610 + number))).collect();
        let phone = Self { places, sandbox };
        let rest =
            "for file in /proc/sys/net/bridge/bridge-nf-call-ip*; do test ! -e $file || echo 0 >$file; done;
            ip link set lo up; for family in -4 -6; do
            ip $family rule del priority 32766; ip $family rule del priority 32767; done";
        phone.sandbox.run(&["sh", "-c", rest]);
        for ((name, network, _), place) in NETWORKS.iter().zip(&phone.places) {
            phone.shell(&format!(
                "ip link add {name} type veth peer name eth0 netns {} && ip addr add {network}.2/24 dev {name}",
                place.inside
            ));
            let there = format!(
                "ip addr add {network}.1/24 dev eth0 && ip addr add 100.64.9.9/32 dev lo && ip link set eth0 up &&
                 ip link set lo up"
            );
            place.run(&phone.sandbox, &there).succeeds();
        }
        for (place, word) in phone.places.iter().zip(["wifi", "mobile", "vpn"]) {
            serve(place.pid, "0.0.0.0:80", word);
        }
        phone.sandbox.run(&["sh", "-c", CHAINS]);
        phone.basic_rules();
        // Brought up once, so that its state is that after a VPN.
        phone.shell("ip link set tun0 up && ip link set tun0 down");
        phone.connect("wlan0");
        phone.connect("rmnet_data0");
        phone.make_default(None, Some("wlan0"));
        wait_for_links(&phone.sandbox, &["wlan0", "rmnet_data0"]);
        Some(phone)
    }

    fn basic_rules(&self) {
        self.shell(
            "for family in -4 -6; do
                ip $family rule add priority 10000 fwmark 0xc0000/0xd0000 lookup 99
                ip $family rule add priority 18000 fwmark 0x0/0x10000 lookup 99
                ip $family rule add priority 19000 fwmark 0x0/0x10000 lookup 98
                ip $family rule add priority 20000 fwmark 0x0/0x10000 lookup 97
                ip $family rule add priority 32000 unreachable
            done",
        );
    }

    pub fn shell(&self, script: &str) -> String {
        self.sandbox.run(&["sh", "-c", script]).succeeds()
    }

    pub fn machine(&self) -> i32 {
        self.sandbox.init_pid()
    }

    /// Simulates the connection of a network by netd: its routes in its own table, and the rules for its mark.
    pub fn connect(&self, name: &str) {
        let (network, id) = known(name);
        self.shell(&format!(
            "ip link set {name} up; table=$((1000 + $(ip -o link show {name} | sed 's/:.*//')))
             ip route add {network}.0/24 dev {name} table $table
             ip route add default via {network}.1 dev {name} table $table"
        ));
        self.rules_of(name, id, "add");
    }

    /// Simulates its disconnection.
    pub fn disconnect(&self, name: &str) {
        self.rules_of(name, known(name).1, "del");
        self.shell(&format!("ip link set {name} down"));
    }

    fn rules_of(&self, name: &str, id: u32, verb: &str) {
        self.shell(&format!(
            "table=$((1000 + $(ip -o link show {name} | sed 's/:.*//'))); for family in -4 -6; do
                ip $family rule {verb} priority 16000 fwmark {:#x}/0x1ffff iif lo lookup $table
                ip $family rule {verb} priority 17000 iif lo oif {name} lookup $table
                ip $family rule {verb} priority 23000 fwmark {id:#x}/0x1ffff iif lo lookup $table
             done",
            0x1_0000 | id
        ));
    }

    /// Simulates a change of the default network: the new rule is added, then the old one is removed.
    pub fn make_default(&self, old: Option<&str>, new: Option<&str>) {
        for (verb, name) in [("add", new), ("del", old)] {
            let Some(name) = name else { continue };
            self.shell(&format!(
                "table=$((1000 + $(ip -o link show {name} | sed 's/:.*//'))); for family in -4 -6; do
                 ip $family rule {verb} priority 31000 fwmark 0x0/0xffff iif lo lookup $table; done"
            ));
        }
    }

    /// A VPN of these users, possibly of all.
    pub fn vpn(&self, verb: &str, users: &str) {
        if verb == "add" {
            self.connect("tun0");
        }
        self.shell(&format!(
            "table=$((1000 + $(ip -o link show tun0 | sed 's/:.*//'))); for family in -4 -6; do
             ip $family rule {verb} priority 13000 fwmark 0x0/0x20000 iif lo uidrange {users} lookup $table; done"
        ));
        if verb == "del" {
            self.disconnect("tun0");
        }
    }

    /// Simulates a restart of netd: all rules are gone for a moment, including those of its chains.
    pub fn restart_netd(&self, default: &str) {
        self.sandbox.run(&["sh", "-c", FLUSH_CHAINS]);
        self.shell(
            "for family in -4 -6; do ip $family rule | sed 's/:.*//' | grep -v '^0$' | while read -r priority; do
                ip $family rule del priority $priority; done; done",
        );
        self.basic_rules();
        for name in ["wlan0", "rmnet_data0"] {
            self.rules_of(name, known(name).1, "add");
        }
        self.make_default(None, Some(default));
    }

    /// The number of pings that the host behind an interface has received.
    pub fn received(&self, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/net/snmp", self.host(name))).expect("snmp");
        let mut lines = text.lines().filter(|line| line.starts_with("Icmp:")).map(str::split_whitespace);
        let (mut names, mut numbers) = (lines.next().expect("names"), lines.next().expect("numbers"));
        let at = names.position(|name| name == "InEchos").expect("InEchos");
        numbers.nth(at).expect("a number for each name").parse().expect("a number")
    }

    /// The process whose namespace is that of the host behind an interface.
    pub fn host(&self, name: &str) -> i32 {
        self.place(name).pid
    }

    fn place(&self, name: &str) -> &Place {
        &self.places[NETWORKS.iter().position(|(other, ..)| *other == name).expect("a network")]
    }

    /// Runs a script in the host behind an interface.
    pub fn in_host(&self, name: &str, script: &str) {
        self.place(name).run(&self.sandbox, script).succeeds();
    }

    pub fn state(&self) -> String {
        state(&self.sandbox)
    }

    /// A process in the namespace of a container.
    pub fn pid(&self, name: &str) -> i32 {
        self.sandbox.first_process(name).expect("a running container").pid
    }

    /// Waits until a container's new connections use this uplink, or none for `None`.
    pub fn wait_for_way(&self, name: &str, way: Option<&str>) {
        let pid = self.pid(name);
        wait_for(&format!("{name} to use {way:?}"), || {
            let answer = crate::world::call(pid, INTERNET);
            let word = answer.as_deref().and_then(|answer| answer.split(' ').next());
            (word == way).then_some(())
        });
    }
}

fn known(name: &str) -> (&'static str, u32) {
    let (_, network, id) = NETWORKS.iter().find(|(other, ..)| *other == name).expect("a network");
    (network, *id)
}
