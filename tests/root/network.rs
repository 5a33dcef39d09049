//! Network modes: `host` and `none`; `nat` has its own file.

use crate::sandbox::{Sandbox, Setting};
use crate::wait_for;
use serde_json::{Value, json};
use std::path::PathBuf;

/// What a container with systemd-resolved prints of it: its state, and the file that programs read.
const STUB: &str = "active\n/run/systemd/resolve/stub-resolv.conf\n";

fn boot(sandbox: &Sandbox, settings: &[&str]) -> Value {
    let tree = sandbox.container("web", settings);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report())
}

/// The network namespace of `ds` itself.
fn host_network(sandbox: &Sandbox) -> String {
    let supervisor = sandbox.supervisor().expect("a supervisor").pid;
    std::fs::read_link(format!("/proc/{supervisor}/ns/net")).unwrap().display().to_string()
}

/// Whether it may change its network: CAP_NET_ADMIN.
fn rules_its_network(report: &Value) -> bool {
    report["capabilities_bounding"].as_array().unwrap().contains(&json!(12))
}

#[test]
fn none_has_loopback_only_and_it_is_up() {
    let sandbox = Sandbox::new();
    let report = boot(&sandbox, &["network.mode=none"]);
    assert_eq!(report["interfaces"], json!(["lo"]));
    assert_eq!(report["loopback_up"], true);
    assert_eq!(
        sandbox.info("web")["network"],
        json!({ "mode": "none", "addresses": [], "ports": [], "uplink": null })
    );
    assert_ne!(report["namespaces"]["net"], host_network(&sandbox));
    assert!(rules_its_network(&report));
    // Its own settings are writable, the others are not.
    assert_eq!(report["files"]["/proc/sys/net/ipv4/ip_forward"]["write"], "yes");
    assert_eq!(report["files"]["/proc/sys/kernel/core_pattern"]["write"], "EROFS");
}

#[test]
fn the_host_mode_uses_the_hosts_network() {
    let sandbox = Sandbox::new();
    let report = boot(&sandbox, &[]);
    assert_eq!(report["namespaces"]["net"], host_network(&sandbox));
    assert_eq!(report["loopback_up"], false, "as on this host, unchanged");
    assert!(!rules_its_network(&report), "the host's network cannot be changed");
    assert_eq!(report["files"]["/proc/sys/net/ipv4/ip_forward"]["write"], "EROFS");
}

/// A machine whose /etc the test can change; its name server is 192.0.2.1.
fn machine_with_own_etc() -> (Sandbox, PathBuf) {
    with_own_etc(Sandbox::new())
}

fn with_own_etc(mut sandbox: Sandbox) -> (Sandbox, PathBuf) {
    let etc = sandbox.path("etc");
    std::fs::create_dir_all(&etc).unwrap();
    sandbox.run(&["cp", "-a", "/etc/.", etc.to_str().unwrap()]).succeeds();
    let file = etc.join("resolv.conf");
    let _ = std::fs::remove_file(&file);
    std::fs::write(&file, "nameserver 192.0.2.1\n").unwrap();
    sandbox.mount(&["--bind", etc.to_str().unwrap(), "/etc"]);
    (sandbox, etc)
}

#[test]
fn systemd_resolved_keeps_its_stub_and_follows_the_name_servers() {
    let (mut sandbox, etc) = machine_with_own_etc();
    sandbox.distribution("web", "trixie", &[]);
    let stub = "../run/systemd/resolve/stub-resolv.conf";
    sandbox.run(&["ln", "-s", stub, sandbox.path("web/etc/resolv.conf").to_str().unwrap()]).succeeds();
    sandbox.ds(&["start", "web", "--wait=110"]).succeeds();
    let inside = |script: &str| sandbox.ds(&["run", "web", "--", "/bin/sh", "-c", script]).succeeds();
    assert_eq!(inside("systemctl is-active systemd-resolved; readlink -f /etc/resolv.conf"), STUB);
    assert!(inside("resolvectl dns").contains("Global: 192.0.2.1"));
    std::fs::write(etc.join("new"), "nameserver 192.0.2.2\n").unwrap();
    std::fs::rename(etc.join("new"), etc.join("resolv.conf")).unwrap();
    // It answers nothing while it restarts.
    wait_for("the new server", || {
        let said = sandbox.ds(&["run", "web", "--", "resolvectl", "dns"]);
        said.text().contains("Global: 192.0.2.2").then_some(())
    });
    assert_eq!(inside("systemctl is-active systemd-resolved; readlink -f /etc/resolv.conf"), STUB);
    sandbox.ds(&["stop", "web", "--kill"]).succeeds();
}

#[test]
fn name_servers_follow_what_changed_without_a_supervisor() {
    let (sandbox, etc) = machine_with_own_etc();
    sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    let path = format!("/proc/{}/root/etc/resolv.conf", sandbox.first_process("web").unwrap().pid);
    let inside = || std::fs::read_to_string(&path).unwrap();
    sandbox.kill_supervisor();
    std::fs::write(etc.join("new"), "nameserver 192.0.2.2\n").unwrap();
    std::fs::rename(etc.join("new"), etc.join("resolv.conf")).unwrap();
    sandbox.ds(&["list"]).succeeds();
    wait_for("the server of meanwhile", || (inside() == "nameserver 192.0.2.2\n").then_some(()));
    // The file becomes a link, and then its target changes.
    std::fs::create_dir(etc.join("net")).unwrap();
    std::fs::write(etc.join("net/servers"), "nameserver 192.0.2.3\n").unwrap();
    std::fs::remove_file(etc.join("resolv.conf")).unwrap();
    std::os::unix::fs::symlink("net/servers", etc.join("resolv.conf")).unwrap();
    wait_for("the server behind the link", || (inside() == "nameserver 192.0.2.3\n").then_some(()));
    std::fs::write(etc.join("net/servers"), "nameserver 192.0.2.4\n").unwrap();
    wait_for("the next one", || (inside() == "nameserver 192.0.2.4\n").then_some(()));
}

#[test]
fn name_servers_follow_the_machine_without_inotify_instances() {
    let setting = Setting { denied: Some("inotify"), ..Setting::default() };
    let (sandbox, etc) = with_own_etc(Sandbox::with(setting));
    sandbox.container("web", &[]);
    sandbox.ds(&["start", "web"]).succeeds();
    let path = format!("/proc/{}/root/etc/resolv.conf", sandbox.first_process("web").unwrap().pid);
    std::fs::write(etc.join("resolv.conf"), "nameserver 192.0.2.2\n").unwrap();
    // The next command is an event of the supervisor.
    sandbox.ds(&["list"]).succeeds();
    let expected = "nameserver 192.0.2.2\n";
    wait_for("the new server", || (std::fs::read_to_string(&path).unwrap() == expected).then_some(()));
    let log = sandbox.log();
    assert_eq!(log.matches("name servers: ").count(), 1, "{log}");
}

#[test]
fn name_servers_follow_the_machine_unless_the_container_changes_them() {
    let (sandbox, etc) = machine_with_own_etc();
    let file = etc.join("resolv.conf");
    for (name, dns) in [("web", "auto"), ("mine", "auto"), ("fixed", "192.0.2.9")] {
        sandbox.container(name, &[&format!("network.dns={dns}")]);
        sandbox.ds(&["start", name]).succeeds();
    }
    let path =
        |name: &str| format!("/proc/{}/root/etc/resolv.conf", sandbox.first_process(name).unwrap().pid);
    let inside = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    assert_eq!(inside("web"), "nameserver 192.0.2.1\n");
    std::fs::write(path("mine"), "nameserver 192.0.2.7\n").unwrap();
    let replace = |text: &str| {
        std::fs::write(etc.join("new"), text).unwrap();
        std::fs::rename(etc.join("new"), &file).unwrap();
    };
    replace("search lan\nnameserver 192.0.2.2\nnameserver 2001:db8::2\n");
    let expected = "nameserver 192.0.2.2\nnameserver 2001:db8::2\n";
    wait_for("the new servers", || (inside("web") == expected).then_some(()));
    // Without a network, the servers are kept, and the next network replaces them.
    replace("# none\n");
    replace("nameserver 192.0.2.3\n");
    wait_for("the next server", || (inside("web") == "nameserver 192.0.2.3\n").then_some(()));
    assert_eq!(inside("mine"), "nameserver 192.0.2.7\n");
    assert_eq!(inside("fixed"), "nameserver 192.0.2.9\n");
    sandbox.ds(&["restart", "web"]).succeeds();
    replace("nameserver 192.0.2.4\n");
    wait_for("a server after a restart", || (inside("web") == "nameserver 192.0.2.4\n").then_some(()));
}
