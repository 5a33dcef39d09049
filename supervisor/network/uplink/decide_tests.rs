use super::*;
use crate::config::value::Uuid;

const OWN: u32 = 0x6401_0000;

fn member(name: &str, uplink: &str, vpn: &str) -> Member {
    let json = serde_json::json!({
        "name": name, "hostname": name, "network": "default", "subnet": "10.89.40.0/24",
        "address": "10.89.40.2", "address6": null, "mac": [2, 0, 0, 0, 0, 1], "interface": "ds-web-0001",
        "bridge": "ds-br0", "ports": [], "isolated": false, "host_access": false, "monitor": [1, 1],
        "uplink": uplink, "vpn": vpn,
    });
    let _ = Uuid::derived_from(name);
    serde_json::from_value(json).unwrap()
}

fn link(index: u32, name: &str, kind: &str) -> Link {
    Link { index, name: name.into(), mtu: 1500, kind: kind.into(), is_up: true, ..Link::default() }
}

fn way(table: u32, out: u32, length: u8) -> Way {
    Way { table, out, length, kind: 1, scope: 0, attributes: Vec::new() }
}

fn rule(priority: u32, mark: u32, mask: u32, input: &str, table: u32) -> Rule {
    Rule { priority, action: 1, mark, mask, input: input.into(), table, ..Rule::default() }
}

/// A phone with Wi-Fi (2, table 1002), which is the default network, mobile data (3, 1003), and a VPN (4, 1004).
fn phone(vpn: Option<(u32, u32)>) -> View {
    let links =
        vec![link(1, "lo", ""), link(2, "wlan0", ""), link(3, "rmnet_data0", ""), link(4, "tun0", "tun")];
    let mut rules = vec![
        rule(0, 0, 0, "", 255),
        rule(10000, 0xc_0000, 0xd_0000, "", 99),
        rule(16000, 0x1_0064, 0x1_ffff, "lo", 1002),
        rule(18000, 0, 0x1_0000, "", 99),
        rule(20000, 0, 0x1_0000, "", 97),
        rule(23000, 0x64, 0x1_ffff, "lo", 1002),
        rule(31000, 0, 0xffff, "lo", 1002),
        Rule { priority: 32000, action: 7, ..Rule::default() },
    ];
    if let Some(users) = vpn {
        rules.insert(2, Rule { users: Some(users), ..rule(13000, 0, 0x2_0000, "lo", 1004) });
    }
    let ways = [(1002, 2), (1003, 3), (1004, 4)].map(|(table, out)| way(table, out, 0)).into();
    View { links, four: super::super::view::Family { rules, ways }, ..View::default() }
}

fn desktop() -> View {
    let links =
        vec![link(1, "lo", ""), link(2, "eth0", ""), link(3, "eth1", ""), link(4, "wg0", "wireguard")];
    let rules = vec![rule(0, 0, 0, "", 255), rule(32766, 0, 0, "", MAIN), rule(32767, 0, 0, "", 253)];
    let ways = vec![way(MAIN, 2, 0), way(MAIN, 2, 24), way(MAIN, 3, 24), way(MAIN, 4, 1)];
    View { links, four: super::super::view::Family { rules, ways }, ..View::default() }
}

/// The tables in which a container's packets are looked up, and whether the rest is refused.
fn tables(view: &View, uplink: &str, vpn: &str) -> (Vec<u32>, bool) {
    let decision = decide(view, &[member("web", uplink, vpn)], OWN);
    let of_it = || decision.rules.iter().filter(|rule| rule.from.is_some());
    (of_it().filter_map(|rule| rule.table).collect(), of_it().any(|rule| rule.table.is_none()))
}

#[test]
fn the_default_network_is_found_by_the_form_of_its_rule() {
    assert_eq!(tables(&phone(None), "auto", "follow"), (vec![97, 1002], false));
    let mut other = phone(None);
    other.four.rules[6] = rule(22000, 0, 0xffff, "lo", 1003);
    assert_eq!(tables(&other, "auto", "follow"), (vec![97, 1003], false));
    // CLAT has two interfaces.
    other.four.rules.push(rule(22000, 0, 0xffff, "lo", 1005));
    assert_eq!(tables(&other, "auto", "follow"), (vec![97, 1003, 1005], false));
    other.four.rules.clear();
    assert_eq!(tables(&other, "auto", "follow"), (vec![], false));
}

#[test]
fn a_vpn_is_followed_if_it_is_for_the_superuser() {
    let all = phone(Some((0, 99_999)));
    assert_eq!(tables(&all, "auto", "follow"), (vec![97, 1004, 1002], false));
    assert_eq!(tables(&phone(Some((10_123, 10_123))), "auto", "follow"), (vec![97, 1002], false));
    assert_eq!(tables(&all, "auto", "bypass"), (vec![97, 1002], true));
    for (uplink, vpn) in [("auto", "only"), ("vpn", "follow"), ("vpn", "bypass"), ("tun*", "only")] {
        assert_eq!(tables(&all, uplink, vpn), (vec![1004], true));
    }
    assert_eq!(tables(&all, "wlan0", "only"), (vec![], true));
    let mut locked = all.clone();
    let refusal = Rule { action: PROHIBIT, users: Some((0, 99_999)), ..rule(14000, 0, 0x2_0000, "lo", 0) };
    locked.four.rules.push(refusal);
    assert_eq!(tables(&locked, "auto", "follow"), (vec![97, 1004], true));
}

#[test]
fn pinned_containers_have_their_uplinks_in_order_and_no_other() {
    assert_eq!(tables(&phone(None), "rmnet*,wlan0", "follow"), (vec![1003, 1002], true));
    assert_eq!(tables(&phone(None), "eth7", "follow"), (vec![], true));
    let mut down = phone(None);
    down.links[2].is_up = false;
    assert_eq!(tables(&down, "rmnet*", "follow"), (vec![], true));
    let decision = decide(&phone(None), &[member("web", "rmnet*", "follow")], OWN);
    assert_eq!(decision.ways[&"web".parse().unwrap()], ["rmnet_data0"]);
    assert!(decision.rules.iter().any(|rule| rule.to.is_some() && rule.table == Some(MAIN)));
}

#[test]
fn without_netd_the_machines_own_rules_hold_unless_asked_otherwise() {
    let plain = decide(&desktop(), &[member("web", "auto", "follow")], OWN);
    assert_eq!(plain, Decision::default());
    assert_eq!(tables(&desktop(), "eth1", "follow"), (vec![OWN | 3], true));
    assert_eq!(tables(&desktop(), "auto", "bypass"), (vec![OWN], true));
    assert_eq!(tables(&desktop(), "vpn", "follow"), (vec![OWN | 4], true));
    let bypass = decide(&desktop(), &[member("web", "auto", "bypass")], OWN);
    assert_eq!(bypass.ways[&"web".parse().unwrap()], ["eth0", "eth1"]);
}
