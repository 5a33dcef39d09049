//! Network modes: the host's own, and none at all; `nat` has a file of its own.

use crate::sandbox::Sandbox;
use crate::wait_for;
use serde_json::{Value, json};

fn boot(sandbox: &Sandbox, settings: &[&str]) -> Value {
    let tree = sandbox.container("web", settings);
    sandbox.ds(&["start", "web"]).succeeds();
    wait_for("the report", || tree.report())
}

/// The network namespace that `ds` itself is in.
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
    // Its own settings are its own business, the rest is not.
    assert_eq!(report["files"]["/proc/sys/net/ipv4/ip_forward"]["write"], "yes");
    assert_eq!(report["files"]["/proc/sys/kernel/core_pattern"]["write"], "EROFS");
}

#[test]
fn host_is_the_hosts() {
    let sandbox = Sandbox::new();
    let report = boot(&sandbox, &[]);
    assert_eq!(report["namespaces"]["net"], host_network(&sandbox));
    assert_eq!(report["loopback_up"], false, "as it is on this host; nobody touched it");
    assert!(!rules_its_network(&report), "the host's network is the host's");
    assert_eq!(report["files"]["/proc/sys/net/ipv4/ip_forward"]["write"], "EROFS");
}
