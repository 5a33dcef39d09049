//! Uplinks: containers follow a phone that changes its uplink, and bound ones use no other uplink.

use crate::handset::{Handset, INTERNET};
use crate::process;
use crate::root_fs::Tree;
use crate::wait_for;
use crate::world::{call, same, within};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

/// An init that only pings the internet, from its start on.
const CALLER: &str = "#!/bin/busybox sh
trap 'exit 0' TERM INT PWR HUP
while :; do busybox ping -c 1 -W 1 100.64.9.9 >/dev/null 2>&1; busybox usleep 5000; done
";

fn boot(phone: &Handset, name: &str, settings: &[&str]) -> Tree {
    let settings: Vec<&str> = ["network.mode=nat"].iter().chain(settings).copied().collect();
    let tree = phone.sandbox.container(name, &settings);
    phone.sandbox.ds(&["start", name]).succeeds();
    tree
}

/// A container whose packets are counted from the first one on.
fn call_without_end(phone: &Handset, name: &str, settings: &[&str]) {
    let settings: Vec<&str> =
        ["network.mode=nat", "stop-timeout=1"].iter().chain(settings).copied().collect();
    let tree = phone.sandbox.container(name, &settings);
    std::fs::remove_file(tree.path("sbin/init")).unwrap();
    std::fs::write(tree.path("sbin/init"), CALLER).unwrap();
    std::fs::set_permissions(tree.path("sbin/init"), std::fs::Permissions::from_mode(0o755)).unwrap();
    phone.sandbox.ds(&["start", name]).succeeds();
}

fn uplink(phone: &Handset, name: &str) -> serde_json::Value {
    phone.sandbox.info(name)["network"]["uplink"].clone()
}

#[test]
fn containers_follow_the_default_network_and_leave_nothing() {
    let Some(phone) = Handset::new("containers_follow_the_default_network_and_leave_nothing") else { return };
    let before = phone.state();
    boot(&phone, "web", &["network.ports=8080:80"]);
    let web = phone.pid("web");
    assert_eq!(call(web, INTERNET).as_deref(), Some("wifi 192.168.7.2"));
    assert_eq!(uplink(&phone, "web"), json!("wlan0"));
    // A published port is reachable from the phone's network, and from the phone.
    crate::world::serve(web, "0.0.0.0:80", "web");
    assert!(call(phone.host("wlan0"), "192.168.7.2:8080").is_some());
    assert!(call(phone.machine(), "127.0.0.1:8080").is_some());
    // An existing connection gets an error when its uplink disappears, instead of blocking.
    let listener = within(phone.host("wlan0"), || TcpListener::bind("0.0.0.0:81").unwrap());
    let held = thread::spawn(move || listener.accept().unwrap());
    let stream = within(web, || TcpStream::connect("100.64.9.9:81").unwrap());
    let _held = held.join().unwrap();
    phone.make_default(Some("wlan0"), Some("rmnet_data0"));
    phone.wait_for_way("web", Some("mobile"));
    assert_eq!(call(web, INTERNET).as_deref(), Some("mobile 10.33.0.2"));
    wait_for("its uplink", || (uplink(&phone, "web") == "rmnet_data0").then_some(()));
    let mut stream = stream;
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    wait_for("the end of the old connection", || {
        let sent = stream.write_all(b"still there?");
        let heard = stream.read(&mut [0]);
        let waits = heard.as_ref().is_err_and(|error| {
            matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
        });
        (sent.is_err() || !waits).then_some(())
    });
    // The MTU follows.
    phone.shell("ip link set rmnet_data0 mtu 1380");
    wait_for("the MTU", || {
        let said = phone.sandbox.ds(&["run", "web", "--", "/bin/busybox", "ip", "link", "show", "eth0"]);
        said.text().contains("mtu 1380").then_some(())
    });
    phone.shell("ip link set rmnet_data0 mtu 1500");
    // No network, a network again, and a restart of netd.
    phone.make_default(Some("rmnet_data0"), None);
    phone.wait_for_way("web", None);
    phone.make_default(None, Some("wlan0"));
    phone.wait_for_way("web", Some("wifi"));
    phone.restart_netd("wlan0");
    phone.wait_for_way("web", Some("wifi"));
    wait_for("the published port", || call(phone.host("wlan0"), "192.168.7.2:8080"));
    // The next supervisor catches up with changes.
    phone.sandbox.kill_supervisor();
    phone.make_default(Some("wlan0"), Some("rmnet_data0"));
    phone.sandbox.ds(&["list"]).succeeds();
    phone.wait_for_way("web", Some("mobile"));
    phone.make_default(Some("rmnet_data0"), Some("wlan0"));
    phone.sandbox.ds(&["stop", "web"]).succeeds();
    same(&phone.state(), &before);
}

#[test]
fn no_packet_of_a_bound_container_uses_another_uplink() {
    let Some(phone) = Handset::new("no_packet_of_a_bound_container_uses_another_uplink") else { return };
    let before = phone.state();
    let (wifi, start) = (phone.received("wlan0"), phone.received("rmnet_data0"));
    let more = |than: u64| wait_for("packets", || (phone.received("rmnet_data0") > than).then_some(()));
    call_without_end(&phone, "web", &["network.uplink=rmnet*"]);
    more(start + 2);
    wait_for("its uplink", || (uplink(&phone, "web") == "rmnet_data0").then_some(()));
    // Its uplink disappears and returns, with and without a supervisor; netd restarts.
    phone.disconnect("rmnet_data0");
    wait_for("no uplink", || uplink(&phone, "web").is_null().then_some(()));
    let text = phone.sandbox.ds(&["info", "web"]).succeeds();
    assert!(text.contains("\nuplink      none\n"), "{text}");
    phone.sandbox.kill_supervisor();
    phone.connect("rmnet_data0");
    thread::sleep(Duration::from_millis(200));
    phone.disconnect("rmnet_data0");
    thread::sleep(Duration::from_millis(200));
    phone.sandbox.ds(&["list"]).succeeds();
    phone.connect("rmnet_data0");
    more(phone.received("rmnet_data0") + 2);
    phone.restart_netd("wlan0");
    more(phone.received("rmnet_data0") + 2);
    // Killed and started again: from the first packet on.
    process::kill(phone.sandbox.monitor("web").expect("a monitor").pid);
    wait_for("the end of web", || (phone.sandbox.state("web") == "failed").then_some(()));
    phone.sandbox.ds(&["start", "web"]).succeeds();
    more(phone.received("rmnet_data0") + 2);
    assert_eq!(phone.received("wlan0"), wifi, "packets of a container that is bound to mobile data");
    // A change takes effect immediately.
    phone.sandbox.ds(&["set", "web", "network.uplink=wlan0"]).succeeds();
    wait_for("packets", || (phone.received("wlan0") > wifi + 2).then_some(()));
    phone.sandbox.ds(&["stop", "web"]).succeeds();
    same(&phone.state(), &before);
}

#[test]
fn a_vpn_is_followed_bypassed_or_the_only_uplink() {
    let Some(phone) = Handset::new("a_vpn_is_followed_bypassed_or_the_only_uplink") else { return };
    let before = phone.state();
    let others = || (phone.received("wlan0"), phone.received("rmnet_data0"));
    let quiet = others();
    call_without_end(&phone, "only", &["network.vpn=only"]);
    call_without_end(&phone, "vpn", &["network.uplink=vpn", "network.name=lab"]);
    let vpn = phone.received("tun0");
    phone.vpn("add", "0-99999");
    wait_for("packets", || (phone.received("tun0") > vpn + 4).then_some(()));
    for name in ["only", "vpn"] {
        phone.wait_for_way(name, Some("vpn"));
    }
    phone.vpn("del", "0-99999");
    thread::sleep(Duration::from_millis(300));
    assert_eq!(others(), quiet, "packets of containers that only use a VPN");
    phone.sandbox.ds(&["stop", "--all"]).succeeds();
    boot(&phone, "follows", &[]);
    boot(&phone, "bypasses", &["network.vpn=bypass"]);
    let both = |follows: &str| {
        phone.wait_for_way("follows", Some(follows));
        phone.wait_for_way("bypasses", Some("wifi"));
    };
    both("wifi");
    phone.vpn("add", "0-99999");
    both("vpn");
    phone.vpn("del", "0-99999");
    both("wifi");
    // Containers do not use a VPN for selected programs.
    phone.vpn("add", "10123-10123");
    both("wifi");
    phone.vpn("del", "10123-10123");
    phone.sandbox.ds(&["stop", "--all"]).succeeds();
    same(&phone.state(), &before);
}
