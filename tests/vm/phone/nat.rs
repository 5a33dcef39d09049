//! A container with `nat` on a phone with Android's old iptables, whose rules and chains are like those of netd
//! (`android/boot`), and with a kernel that lacks what stock kernels lack: nf_tables, translation of IPv6 addresses, and
//! the match for the host's own addresses.

use super::Phone;
use crate::machine::{PUBLISHED, SERVER};
use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

/// Everything of the phone that a network could leave behind.
const STATE: &str = "for family in iptables ip6tables; do for table in filter mangle nat; do
        $family-save -t $table 2>/dev/null | sed 's/\\[[0-9:]*\\]//; /^#/d'; done; done
    ip -o link | sed 's/: <.*//'; ip rule; ip -6 rule; ip route show table all | sed 's/ metric.*//'
    cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding";

/// The answer of the program behind the published port.
const ANSWER: &str = "from inside";

pub fn a_network_of_its_own(phone: &mut Phone) {
    assert!(!phone.run("test -e /sys/module/nf_tables -o -e /sys/module/xt_addrtype").is_success());
    let before = phone.run(STATE).succeeds();
    assert!(before.contains("-A tetherctrl_FORWARD -j DROP"), "{before}");
    phone.root("ds set toy network.mode=nat network.ports=8080:80").succeeds();
    let said = phone.root("ds start toy");
    assert!(said.is_success() && said.errors.contains("only IPv4"), "{said:?}");
    assert_ne!(phone.run(STATE).succeeds(), before);
    // The server outside speaks TLS and answers this with an alert.
    let call =
        format!("printf 'no greeting\\n\\n' | /bin/busybox nc -w 30 {SERVER} 443 | /bin/busybox xxd -p");
    let answer = phone.root(&format!("ds run toy -- sh -c \"{call}\"")).succeeds();
    assert!(answer.starts_with("15"), "{answer}");
    let serve = format!("while true; do echo {ANSWER} | /bin/busybox nc -l -p 80; done");
    phone.run(&format!("su -c \"ds run toy -- sh -c '{serve}'\" >/dev/null 2>&1 &")).succeeds();
    let (address, port) = PUBLISHED.split_once(':').expect("a port");
    for own in [address, "127.0.0.1"] {
        phone.wait_for(&format!(
            "[ \"$(/data/adb/ksu/bin/busybox nc -w 5 {own} {port} </dev/null)\" = '{ANSWER}' ]"
        ));
    }
    assert_eq!(from_outside(phone.inwards), format!("{ANSWER}\n"));
    phone.root("ds stop toy && ds set toy network.mode=host network.ports=").succeeds();
    assert_eq!(phone.run(STATE).succeeds(), before);
}

/// Connects to the published port from another machine. The program inside answers one call at a time.
fn from_outside(port: u16) -> String {
    for _ in 0..100 {
        let mut text = String::new();
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { continue };
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        if stream.read_to_string(&mut text).is_ok() && !text.is_empty() {
            return text;
        }
    }
    String::new()
}
