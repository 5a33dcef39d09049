//! A phone whose mobile data have only IPv6: its packets reach IPv4 hosts through two translators, CLAT on the phone and
//! NAT64 in the network (RFC 6877). Both are tayga(8), on interfaces of the kind that phones have.

use crate::handset::Handset;
use crate::world::{call, same, within};
use crate::{skip, wait_for};
use std::io::Write;
use std::net::TcpListener;
use std::thread;

/// The server of [`crate::handset::INTERNET`], as DNS64 names it.
const SYNTHESISED: &str = "[2001:db8:64:ff9b::100.64.9.9]:80";
/// A long answer of the same host.
const DOWNLOAD: &str = "100.64.9.9:82";
const LENGTH: usize = 400_000;

/// The command of a translator, whose directory is in that of the test.
fn translator(phone: &Handset, name: &str, settings: &str) -> String {
    let folder = phone.sandbox.path(name);
    std::fs::create_dir_all(&folder).expect("a directory");
    let text = format!(
        "prefix 2001:db8:64:ff9b::/96\ntun-device {name}\ndata-dir {}\n{settings}\n",
        folder.display()
    );
    std::fs::write(folder.join("conf"), text).expect("its settings");
    format!("tayga -c {0}/conf -p {0}/pid", folder.display())
}

/// The network's translator, which gives each IPv6 address one of 10.99.0.0/24.
fn nat64(phone: &Handset) {
    let tayga = translator(phone, "nat64", "ipv4-addr 10.99.0.1\ndynamic-pool 10.99.0.0/24");
    phone.in_host(
        "rmnet_data0",
        &format!(
            "set -e; ip addr add 2001:db8:9::1/64 dev eth0 nodad
             echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
             {tayga} --mktun; ip link set nat64 up; {tayga}
             ip route add 10.99.0.0/24 dev nat64; ip -6 route add 2001:db8:64:ff9b::/96 dev nat64
             ip -6 route add 2001:db8:9:0:c1a::4 via 2001:db8:9::2 dev eth0"
        ),
    );
    let pid = phone.host("rmnet_data0");
    let listener = within(pid, || TcpListener::bind(DOWNLOAD).expect("bind"));
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(&vec![b'x'; LENGTH]);
        }
    });
}

/// Mobile data with only IPv6, and the phone's translator as Android has it: an interface of the same network, with the
/// address 192.0.0.4. Android's `clatd` sends its packets itself; here, the kernel forwards them.
fn clat(phone: &Handset) {
    let tayga = translator(
        phone,
        "v4-rmnet_data0",
        "ipv4-addr 192.0.0.1\nipv6-addr 2001:db8:9:0:c1a::1\nmap 192.0.0.4 2001:db8:9:0:c1a::4",
    );
    phone.shell(&format!(
        "set -e; ip addr del 10.33.0.2/24 dev rmnet_data0; ip addr add 2001:db8:9::2/64 dev rmnet_data0 nodad
         table() {{ echo $((1000 + $(ip -o link show $1 | sed 's/:.*//'))); }}
         ip -6 route add 2001:db8:9::/64 dev rmnet_data0 table $(table rmnet_data0)
         ip -6 route add default via 2001:db8:9::1 dev rmnet_data0 table $(table rmnet_data0)
         {tayga} --mktun; ip link set v4-rmnet_data0 mtu 1472 up; ip addr add 192.0.0.4/32 dev v4-rmnet_data0; {tayga}
         ip route add default dev v4-rmnet_data0 table $(table v4-rmnet_data0)
         ip -6 route add 2001:db8:9:0:c1a::4 dev v4-rmnet_data0 table 97
         ip -6 rule add priority 15000 to 2001:db8:9:0:c1a::4 lookup 97
         ip -6 rule add priority 15000 iif v4-rmnet_data0 lookup $(table rmnet_data0)
         for one in -i -o; do ip6tables-legacy -A oem_fwd $one v4-rmnet_data0 -j ACCEPT; done
         echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
         for family in -4 -6; do
             ip $family rule add priority 31000 fwmark 0x0/0xffff iif lo lookup $(table v4-rmnet_data0); done"
    ));
    phone.make_default(Some("wlan0"), Some("rmnet_data0"));
}

#[test]
fn a_container_reaches_ipv4_hosts_through_clat_and_nat64() {
    let Some(phone) = Handset::new("a_container_reaches_ipv4_hosts_through_clat_and_nat64") else { return };
    if phone.sandbox.run(&["sh", "-c", "command -v tayga && test -c /dev/net/tun"]).code != 0 {
        skip("a_container_reaches_ipv4_hosts_through_clat_and_nat64", "no tayga, or no tun interfaces");
        return;
    }
    nat64(&phone);
    clat(&phone);
    let before = phone.state();
    for (name, setting) in [("auto", "network.uplink=auto"), ("list", "network.uplink=v4-rmnet*, rmnet*")] {
        phone.sandbox.container(name, &["network.mode=nat", setting]);
        phone.sandbox.ds(&["start", name]).succeeds();
        let pid = phone.pid(name);
        let through = |at: &str| {
            wait_for(&format!("{name}: the answer of {at} through NAT64"), || {
                call(pid, at).filter(|answer| answer.starts_with("mobile 10.99.0."))
            })
        };
        let by_clat = through(crate::handset::INTERNET);
        assert_eq!(call(pid, DOWNLOAD).map_or(0, |answer| answer.len()), LENGTH, "{name}");
        // Without CLAT, with an address from the network's name server. It is another host for NAT64.
        if phone.sandbox.info(name)["network"]["addresses"].as_array().is_some_and(|all| all.len() > 1) {
            assert_ne!(through(SYNTHESISED), by_clat);
        }
    }
    phone.sandbox.ds(&["stop", "--all"]).succeeds();
    let after = phone.state();
    for name in ["nat64", "v4-rmnet_data0"] {
        let pid = std::fs::read_to_string(phone.sandbox.path(name).join("pid")).expect("a number");
        phone.shell(&format!("kill {}", pid.trim()));
    }
    same(&after, &before);
}
