//! Networks of ds: `network.mode = nat`, with real packets between containers, the machine and its neighbours.

use crate::process;
use crate::root_fs::Tree;
use crate::wait_for;
use crate::world::{World, call, call_udp, serve, serve_udp};
use serde_json::json;

fn said(word: &str, from: &str) -> Option<String> {
    Some(format!("{word} {from}"))
}

/// Asserts that two states of the machine are equal; shows the different lines.
#[track_caller]
/// Lines that only one of the states has.
fn difference(now: &str, before: &str) -> (Vec<String>, Vec<String>) {
    let beside = |one: &str, other: &str| {
        one.lines()
            .filter(|line| !other.lines().any(|has| has == *line))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    (beside(now, before), beside(before, now))
}

fn same(now: &str, before: &str) {
    assert_eq!(difference(now, before), (Vec::new(), Vec::new()));
}

#[test]
fn a_container_reaches_the_world_and_leaves_nothing() {
    let Some(world) = World::new("a_container_reaches_the_world_and_leaves_nothing") else { return };
    serve(world.far.pid, "192.0.2.2:80", "world");
    serve(world.far.pid, "[2001:db8:1::2]:80", "world");
    let before = world.state();
    let tree = world.boot("web", &[]);
    let report = tree.report().unwrap();
    assert_eq!(report["interfaces"], json!(["lo", "eth0"]));
    assert_eq!(report["loopback_up"], true);
    let web = world.pid("web");
    assert_eq!(call(web, "192.0.2.2:80"), said("world", "192.0.2.1"));
    assert_eq!(call(web, "[2001:db8:1::2]:80"), said("world", "2001:db8:1::1"));
    assert!(world.pings("web", "192.0.2.2"));
    let addresses = world.addresses("web");
    let link = world.inside("web", "busybox ip addr show eth0").succeeds();
    assert!(link.contains("mtu 1400") && link.contains(&format!("inet {}/24", addresses[0])), "{link}");
    // The MTU follows that of the uplink.
    for mtu in ["1390", "1400"] {
        world.shell(&format!("ip link set wan0 mtu {mtu}"));
        wait_for("the MTU", || {
            world
                .inside("web", "busybox ip link show eth0")
                .text()
                .contains(&format!("mtu {mtu}"))
                .then_some(())
        });
    }
    // Only answers get in.
    serve(web, "0.0.0.0:80", "web");
    let route = format!("ip route add {} via 192.0.2.1", addresses[0]);
    world.far.run(&world.sandbox, &route).succeeds();
    assert_eq!(call(world.far.pid, &format!("{}:80", addresses[0])), None);
    assert!(call(world.machine(), &format!("{}:80", addresses[0])).is_some());
    world.sandbox.ds(&["stop", "web"]).succeeds();
    same(&world.state(), &before);
    // The same addresses again, also after a restart.
    world.sandbox.ds(&["start", "web"]).succeeds();
    assert_eq!(world.addresses("web"), addresses);
    world.sandbox.ds(&["restart", "web"]).succeeds();
    assert_eq!(world.addresses("web"), addresses);
    assert_eq!(call(world.pid("web"), "192.0.2.2:80"), said("world", "192.0.2.1"));
    world.sandbox.ds(&["stop", "web"]).succeeds();
    same(&world.state(), &before);
}

#[test]
fn ports_are_published_on_every_side_and_nowhere_else() {
    let Some(world) = World::new("ports_are_published_on_every_side_and_nowhere_else") else { return };
    let ports = "network.ports=8080:80, 5000-5010:5000-5010/udp, 127.0.0.1:2222:22, 198.51.100.1:99:80, 7001-7002:8001-8002";
    world.boot("web", &[ports]);
    world.boot("db", &[]);
    let (web, db, machine) = (world.pid("web"), world.pid("db"), world.machine());
    let (far, near) = (world.far.pid, world.near.pid);
    serve(web, "[::]:80", "web");
    serve(web, "0.0.0.0:22", "shell");
    serve(web, "0.0.0.0:8002", "second");
    serve_udp(web, "0.0.0.0:5005", "voice");
    let heard = |at: &str, from| call(from, at).map(|answer| answer.split(' ').next().unwrap().to_owned());
    let web_word = Some("web".to_owned());
    // From the network, with the caller's own address.
    let near_said = call(near, "198.51.100.1:8080").unwrap_or_default();
    assert!(near_said.starts_with("web ") && near_said.ends_with("198.51.100.2"), "{near_said}");
    assert_eq!(heard("192.0.2.1:8080", far), web_word);
    assert_eq!(call(near, "[2001:db8:2::1]:8080"), said("web", "2001:db8:2::2"));
    // From the machine itself, to each of its addresses.
    for at in ["127.0.0.1:8080", "192.0.2.1:8080", "198.51.100.1:8080", "[2001:db8:2::1]:8080"] {
        assert_eq!(heard(at, machine), web_word, "{at}");
    }
    // From another container, and from itself.
    for from in [db, web] {
        assert_eq!(heard("192.0.2.1:8080", from), web_word);
    }
    // Ranges, and ports with different numbers.
    assert_eq!(call_udp(near, "198.51.100.1:5005"), said("voice", "198.51.100.2"));
    assert!(call_udp(machine, "127.0.0.1:5005").is_some());
    assert_eq!(call(near, "198.51.100.1:7002"), said("second", "198.51.100.2"));
    // A port that is bound to an address is not reachable elsewhere.
    assert_eq!(heard("127.0.0.1:2222", machine).as_deref(), Some("shell"));
    assert_eq!(call(near, "198.51.100.1:2222"), None);
    assert_eq!(call(db, "192.0.2.1:2222"), None);
    assert_eq!(heard("198.51.100.1:99", near), web_word);
    assert_eq!(call(far, "192.0.2.1:99"), None);
    // A change takes effect immediately; existing connections continue.
    world.sandbox.ds(&["set", "web", "network.ports=8081:80"]).succeeds();
    assert_eq!(heard("198.51.100.1:8081", near), web_word);
    assert_eq!(call(near, "198.51.100.1:8080"), None);
    assert_eq!(world.sandbox.info("web")["network"]["ports"], json!(["8081:80"]));
}

#[test]
fn a_port_in_use_is_reported_before_the_start() {
    let Some(world) = World::new("a_port_in_use_is_reported_before_the_start") else { return };
    world.boot("web", &["network.ports=8080:80"]);
    serve(world.machine(), "127.0.0.1:9000", "host");
    world.sandbox.container("db", &["network.mode=nat", "network.ports=8000-8100:8000-8100"]);
    let taken = ["ds: start db: network.ports: 8000-8100", "container web publishes 8080:80"];
    world.sandbox.ds(&["start", "db"]).fails(1, &taken);
    world.sandbox.ds(&["set", "db", "network.ports=9000:9000"]).succeeds();
    let taken = ["ds: start db: network.ports: 9000:9000", "a program of the host", "port 9000/tcp"];
    world.sandbox.ds(&["start", "db"]).fails(1, &taken);
    world.sandbox.ds(&["set", "db", "network.ports=9000:9000/udp, 192.0.2.1:9000:9000"]).succeeds();
    world.sandbox.ds(&["start", "db"]).succeeds();
    // A refused change does not modify the file either.
    world.sandbox.ds(&["set", "db", "network.ports=8080:1"]).fails(1, &["ds: set db: ", "container web"]);
    let kept = world.sandbox.ds(&["get", "db", "network.ports"]).succeeds();
    assert_eq!(kept.trim(), "9000:9000/udp,192.0.2.1:9000:9000");
    world.sandbox.container("x", &["network.mode=nat"]);
    let taken = format!("network.address={}", world.address("db"));
    world.sandbox.ds(&["set", "x", &taken]).fails(1, &["network.address", "another container has"]);
    let outside = world.sandbox.ds(&["set", "x", "network.address=10.1.2.3"]);
    outside.fails(1, &["network.address", "10.1.2.3 is not in this network"]);
    let pinned = format!("{}.77", world.address("web").rsplit_once('.').unwrap().0);
    world.sandbox.ds(&["set", "x", &format!("network.address={pinned}")]).succeeds();
    world.sandbox.ds(&["start", "x"]).succeeds();
    assert_eq!(world.address("x"), pinned);
}

#[test]
fn containers_reach_each_other_and_not_the_host() {
    let Some(world) = World::new("containers_reach_each_other_and_not_the_host") else { return };
    for (name, setting) in
        [("web", "network.name=default"), ("db", "network.host-access=yes"), ("lab", "network.name=lab")]
    {
        world.boot(name, &[setting]);
        serve(world.pid(name), "[::]:80", "here");
    }
    world.boot("alone", &["network.isolated=yes"]);
    serve(world.pid("alone"), "[::]:80", "here");
    let at = |name: &str| format!("{}:80", world.address(name));
    let six = |name: &str| format!("[{}]:80", world.addresses(name)[1]);
    let (web, db, lab) = (world.pid("web"), world.pid("db"), world.pid("lab"));
    // With its own address, so that services can identify the client.
    assert!(call(web, &at("db")).unwrap().ends_with(&world.address("web")));
    assert_eq!(call(db, &six("web")), said("here", &world.addresses("db")[1]));
    for from in [lab, world.pid("alone")] {
        assert_eq!((call(from, &at("web")), call(from, &six("web"))), (None, None));
    }
    for to in ["lab", "alone"] {
        assert_eq!((call(web, &at(to)), call(web, &six(to))), (None, None));
    }
    // The change also applies to a running container.
    world.sandbox.ds(&["set", "alone", "network.isolated=no"]).succeeds();
    assert!(call(web, &at("alone")).is_some());
    // Services of the host, at each of its addresses.
    serve(world.machine(), "[::]:7000", "host");
    let gateway = world.address("web").rsplit_once('.').map(|(start, _)| format!("{start}.1:7000")).unwrap();
    for at in [gateway.as_str(), "192.0.2.1:7000", "[2001:db8:2::1]:7000"] {
        assert_eq!(call(web, at), None, "{at}");
        assert!(call(db, at).is_some(), "{at}");
    }
    // The loopback remains unreachable.
    serve(world.machine(), "127.0.0.1:7001", "host");
    world.inside("db", "busybox ip route add 127.0.0.1/32 via ${0%.*}.1 2>/dev/null; true").succeeds();
    // The host reaches them all.
    for name in ["web", "db", "lab"] {
        assert!(call(world.machine(), &at(name)).is_some(), "{name}");
    }
}

#[test]
fn an_isolated_container_reaches_no_other_by_published_ports_either() {
    let Some(world) = World::new("an_isolated_container_reaches_no_other_by_published_ports_either") else {
        return;
    };
    world.boot("web", &["network.ports=8080:80"]);
    world.boot("lab", &["network.name=lab", "network.ports=8081:80"]);
    world.boot("alone", &["network.isolated=yes", "network.ports=8082:80"]);
    for name in ["web", "lab", "alone"] {
        serve(world.pid(name), "[::]:80", name);
    }
    let reached = |from: i32, port: &str| {
        ["192.0.2.1", "[2001:db8:1::1]"].map(|host| call(from, &format!("{host}:{port}")).is_some())
    };
    let (alone, web) = (world.pid("alone"), world.pid("web"));
    for port in ["8080", "8081"] {
        assert_eq!(reached(alone, port), [false, false], "{port}");
    }
    // Its own published ports are reachable for all, including itself; and it reaches the world.
    for from in [alone, web, world.pid("lab"), world.near.pid, world.machine()] {
        assert!(call(from, "198.51.100.1:8082").is_some());
    }
    serve(world.far.pid, "192.0.2.2:80", "world");
    assert_eq!(call(alone, "192.0.2.2:80"), said("world", "192.0.2.1"));
    world.sandbox.ds(&["set", "alone", "network.isolated=no"]).succeeds();
    assert_eq!(reached(alone, "8080"), [true, true]);
}

#[test]
fn a_shell_has_a_network_of_its_own_and_leaves_nothing() {
    let Some(world) = World::new("a_shell_has_a_network_of_its_own_and_leaves_nothing") else { return };
    serve(world.far.pid, "192.0.2.2:80", "world");
    let before = world.state();
    let tree = Tree::with_probe(&world.sandbox.path("tree"));
    let path = tree.0.to_str().unwrap();
    let nat = ["shell", "--set", "network.mode=nat", path];
    let run = |script: &str| {
        let words = [&nat[..], &["/bin/busybox", "sh", "-c", script]].concat();
        world.sandbox.ds(&words).succeeds()
    };
    let said = run(
        "busybox nc -w 2 192.0.2.2 80 </dev/null; busybox ip addr show eth0; cat /etc/resolv.conf; hostname",
    );
    assert!(said.starts_with("world 192.0.2.1"), "{said}");
    assert!(said.contains("/24") && said.contains("nameserver ") && said.ends_with("tree\n"), "{said}");
    same(&world.state(), &before);
    // Two at the same time have different addresses, and the remains of a killed one are removed.
    let spawn = || world.sandbox.spawn_ds(&[&nat[..], &["/bin/probe", "hold"]].concat());
    let mut both = [spawn(), spawn()];
    let links = || world.shell("ip link").matches(": ds-shell").count();
    wait_for("two links", || (links() == 2).then_some(()));
    for client in &mut both {
        client.kill().unwrap();
        client.wait().unwrap();
    }
    wait_for("the previous state of the machine", || {
        (difference(&world.state(), &before) == (Vec::new(), Vec::new())).then_some(())
    });
    let mut client = spawn();
    wait_for("a link", || (links() == 1).then_some(()));
    let worker = wait_for("the program", || world.sandbox.process(&["/bin/probe", "hold"])).pid;
    let parent = |pid: i32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        text.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse::<i32>().unwrap()
    };
    process::kill(parent(parent(worker)));
    client.wait().unwrap();
    wait_for("the previous state of the machine", || {
        (difference(&world.state(), &before) == (Vec::new(), Vec::new())).then_some(())
    });
}

#[test]
fn containers_of_a_network_find_each_other_by_name() {
    let Some(world) = World::new("containers_of_a_network_find_each_other_by_name") else { return };
    let tree = world.sandbox.container("web", &["network.mode=nat"]);
    std::fs::write(tree.path("etc/hosts"), "127.0.0.1 localhost\n192.0.2.9 mine").unwrap();
    world.sandbox.ds(&["start", "web"]).succeeds();
    let hosts = || std::fs::read_to_string(tree.path("etc/hosts")).unwrap();
    let has = |name: &str| {
        hosts().lines().any(|line| {
            line.split_whitespace().skip(1).take_while(|word| *word != "#").any(|word| word == name)
        })
    };
    assert!(has("web.ds"), "{}", hosts());
    let db = world.boot("db", &["hostname=database"]);
    world.boot("lab", &["network.name=lab"]);
    world.boot("alone", &["network.isolated=yes"]);
    wait_for("the name of db", || has("db").then_some(()));
    assert!(has("db.ds") && has("database") && !has("lab") && !has("alone") && has("mine"), "{}", hosts());
    assert!(world.pings("web", "db.ds") && world.pings("web", "database"));
    let inside = std::fs::read_to_string(db.path("etc/hosts")).unwrap();
    assert!(inside.contains("\tweb web.ds\t"), "{inside}");
    assert!(inside.contains(&world.addresses("web")[1]), "{inside}");
    // Lines that were added inside are kept, also when other containers start and stop.
    world.inside("web", "echo 192.0.2.8 added >>/etc/hosts").succeeds();
    world.sandbox.ds(&["set", "alone", "network.isolated=no"]).succeeds();
    wait_for("the name of alone", || has("alone.ds").then_some(()));
    world.sandbox.ds(&["stop", "db"]).succeeds();
    wait_for("the name of db to be gone", || (!has("db")).then_some(()));
    assert!(has("added") && has("alone"), "{}", hosts());
    // No line is left in the tree, even after a killed monitor and a change of the mode.
    world.sandbox.ds(&["restart", "web"]).succeeds();
    assert!(has("alone"), "{}", hosts());
    world.sandbox.ds(&["stop", "web"]).succeeds();
    assert!(!hosts().contains("droidspaces network") && has("added") && has("mine"), "{}", hosts());
    world.sandbox.ds(&["start", "web"]).succeeds();
    assert!(has("alone"), "{}", hosts());
    process::kill(world.sandbox.monitor("web").expect("a monitor").pid);
    world.sandbox.wait_for_state("web", "failed");
    world.sandbox.ds(&["set", "web", "network.mode=none"]).succeeds();
    world.sandbox.ds(&["start", "web"]).succeeds();
    assert!(!has("alone") && has("added"), "{}", hosts());
}

#[test]
fn a_container_cannot_impersonate_others() {
    let Some(world) = World::new("a_container_cannot_impersonate_others") else { return };
    world.boot("web", &[]);
    world.boot("db", &[]);
    serve(world.pid("db"), "0.0.0.0:80", "db");
    let (web, db) = (world.address("web"), world.address("db"));
    let start = web.rsplit_once('.').unwrap().0.to_owned();
    assert!(world.pings("web", "192.0.2.2"));
    // Another address, a neighbour's address, a foreign address.
    for other in [format!("{start}.200"), "203.0.113.9".to_owned()] {
        world.inside("web", &format!("busybox ip addr add {other}/32 dev eth0")).succeeds();
        assert!(!world.pings("web", &format!("-I {other} 192.0.2.2")), "{other}");
        assert!(!world.pings("web", &format!("-I {other} {db}")), "{other}");
    }
    // A neighbour's address in a broadcast announcement: the neighbour keeps it.
    world.inside("web", &format!("busybox ip addr add {db}/32 dev eth0; busybox arping -U -c 2 -I eth0 {db}; busybox arping -A -c 2 -I eth0 {db}; busybox ip addr del {db}/32 dev eth0"));
    let at = format!("{db}:80");
    assert!(call(world.machine(), &at).is_some_and(|answer| answer.starts_with("db")));
    assert!(call(world.pid("web"), &at).is_some_and(|answer| answer.starts_with("db")));
    // Another link-layer address.
    world.inside("web", "busybox ip link set eth0 address 02:00:00:00:00:99").succeeds();
    assert!(!world.pings("web", "192.0.2.2"));
    assert!(call(world.machine(), &at).is_some_and(|answer| answer.starts_with("db")));
}

#[test]
fn remains_of_a_killed_monitor_are_removed() {
    let Some(world) = World::new("remains_of_a_killed_monitor_are_removed") else { return };
    let before = world.state();
    world.boot("web", &["network.ports=8080:80"]);
    world.boot("db", &["network.ports=8081:80"]);
    let kill = |name: &str| process::kill(world.sandbox.monitor(name).expect("a monitor").pid);
    kill("web");
    wait_for("web's ports to be free", || (!world.shell("nft list ruleset").contains("8080")).then_some(()));
    serve(world.pid("db"), "0.0.0.0:80", "db");
    assert!(call(world.near.pid, "198.51.100.1:8081").is_some(), "the other one is unchanged");
    // Together with the supervisor: the next one removes the remains of both.
    world.sandbox.kill_supervisor();
    kill("db");
    world.sandbox.ds(&["list"]).succeeds();
    wait_for("the bridge to be gone", || (!world.shell("ip link").contains("ds-")).then_some(()));
    wait_for("the previous state of the machine", || {
        (difference(&world.state(), &before) == (Vec::new(), Vec::new())).then_some(())
    });
}

#[test]
fn a_lock_that_another_process_holds_keeps_no_container_from_stopping() {
    let Some(world) = World::new("a_lock_that_another_process_holds_keeps_no_container_from_stopping") else {
        return;
    };
    let before = world.state();
    world.boot("web", &["network.ports=8080:80"]);
    let lock = world.sandbox.root().join("run/network/lock");
    let words = ["flock", lock.to_str().unwrap(), "sleep", "607"];
    let mut holder = world.sandbox.command_within(600, &words).spawn().unwrap();
    let parent = i32::try_from(holder.id()).expect("a number");
    let sleeps = |one: &process::Process| one.command == ["sleep", "607"];
    let sleeper = wait_for("the lock", || process::below(parent).into_iter().find(sleeps));
    world.sandbox.ds(&["set", "web", "network.ports=8081:80"]).fails(1, &["has held ", "network/lock"]);
    world.sandbox.ds(&["stop", "web"]).succeeds();
    process::kill(sleeper.pid);
    holder.wait().unwrap();
    wait_for("the previous state of the machine", || {
        (difference(&world.state(), &before) == (Vec::new(), Vec::new())).then_some(())
    });
}

#[test]
fn packet_filters_of_others_are_unchanged() {
    const TEST: &str = "packet_filters_of_others_are_unchanged";
    let Some(world) = World::new(TEST) else { return };
    for kind in ["legacy", "nft"] {
        let script = format!(
            "for one in iptables ip6tables; do for table in nat mangle; do $one-{kind} -t $table -S >/dev/null || exit 1; done;
             $one-{kind} -P FORWARD DROP && $one-{kind} -A INPUT -p tcp --dport 1 -j DROP &&
             $one-{kind} -t nat -N ds-not-ours && $one-{kind} -t nat -A POSTROUTING -j ds-not-ours || exit 1; done"
        );
        if world.sandbox.run(&["sh", "-c", &script]).code != 0 {
            crate::skip(TEST, "no iptables");
            return;
        }
        let rules = || {
            let script = format!(
                "for one in iptables ip6tables; do $one-{kind}-save | grep -v '^#' | sed 's/\\[.*//'; done"
            );
            world.shell(&script)
        };
        let before = (rules(), world.state());
        let ports = "network.ports=8080:80,9000-9001:90-91/udp";
        let web = format!("web-{kind}");
        world.boot(&web, &[ports]);
        serve(world.pid(&web), "0.0.0.0:80", "web");
        // Despite the machine's policy, which is that of Docker.
        assert!(world.pings(&web, "192.0.2.2"), "{kind}");
        assert_eq!(call(world.near.pid, "198.51.100.1:8080"), said("web", "198.51.100.2"), "{kind}");
        assert!(call(world.machine(), "127.0.0.1:8080").is_some(), "{kind}");
        let during = rules();
        assert!(during.contains("-A PREROUTING -j ds-"), "{during}");
        world.sandbox.ds(&["set", &web, ports]).succeeds();
        assert_eq!(rules(), during, "no rule is duplicated");
        world.sandbox.ds(&["stop", &web]).succeeds();
        same(&rules(), &before.0);
        same(&world.state(), &before.1);
        // For the next kind, the machine uses only that one.
        world.shell(&format!("for one in iptables ip6tables; do $one-{kind} -P FORWARD ACCEPT; $one-{kind} -F; $one-{kind} -t nat -F; $one-{kind} -t nat -X; done; nft flush ruleset"));
    }
}

#[test]
fn without_bridges_links_are_routed() {
    let Some(world) = World::new("without_bridges_links_are_routed") else { return };
    if world.sandbox.run(&["sh", "-c", "echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables"]).code != 0 {
        crate::skip("without_bridges_links_are_routed", "the kernel has no br_netfilter");
        return;
    }
    let before = world.state();
    world.boot("web", &["network.ports=8080:80"]);
    world.boot("db", &[]);
    assert!(!world.shell("ip link").contains("ds-br"));
    serve(world.pid("web"), "[::]:80", "web");
    assert!(world.pings("web", "192.0.2.2"));
    assert!(
        call(world.pid("db"), &format!("{}:80", world.address("web")))
            .unwrap()
            .ends_with(&world.address("db"))
    );
    assert_eq!(call(world.near.pid, "198.51.100.1:8080").map(|answer| answer.starts_with("web")), Some(true));
    for from in [world.machine(), world.pid("db"), world.pid("web")] {
        assert!(call(from, "192.0.2.1:8080").is_some());
    }
    let other = world.address("web").rsplit_once('.').map(|(start, _)| format!("{start}.200")).unwrap();
    world.inside("web", &format!("busybox ip addr add {other}/32 dev eth0")).succeeds();
    assert!(!world.pings("web", &format!("-I {other} 192.0.2.2")));
    world.sandbox.ds(&["stop", "--all"]).succeeds();
    same(&world.state(), &before);
}

#[test]
fn debian_with_networkd_keeps_its_address() {
    let Some(mut world) = World::new("debian_with_networkd_keeps_its_address") else { return };
    let changes = world.sandbox.distribution("deb", "bookworm", &["network.mode=nat"]);
    changes.write("etc/systemd/network/eth0.network", "[Match]\nName=eth0\n\n[Network]\nDHCP=yes\n");
    let wants = changes.path("etc/systemd/system/multi-user.target.wants");
    std::fs::create_dir_all(&wants).unwrap();
    let unit = "/lib/systemd/system/systemd-networkd.service";
    std::os::unix::fs::symlink(unit, wants.join("systemd-networkd.service")).unwrap();
    world.sandbox.ds(&["start", "deb", "--wait"]).succeeds();
    let run = |words: &[&str]| world.sandbox.ds(&[&["run", "deb", "--"], words].concat()).succeeds();
    assert_eq!(run(&["systemctl", "is-active", "systemd-networkd"]).trim(), "active");
    serve(world.far.pid, "192.0.2.2:80", "world");
    assert_eq!(call(world.pid("deb"), "192.0.2.2:80"), said("world", "192.0.2.1"));
    // Also after a reconfiguration by its manager.
    run(&["systemctl", "restart", "systemd-networkd"]);
    assert_eq!(call(world.pid("deb"), "192.0.2.2:80"), said("world", "192.0.2.1"));
    world.sandbox.ds(&["stop", "deb"]).succeeds();
}

#[test]
fn dhcp_clients_receive_the_existing_settings() {
    let Some(world) = World::new("dhcp_clients_receive_the_existing_settings") else { return };
    let tree = world.boot("web", &["network.dns=9.9.9.9,149.112.112.112", "hostname=web.example.org"]);
    tree.write("said", "#!/bin/busybox sh\necho \"$1 $ip $subnet $router $dns $hostname $mtu\" >>/answers\n");
    world.boot("db", &[]);
    // BusyBox' client first removes the address.
    let script = "busybox chmod 755 /said; busybox ip addr flush dev eth0; busybox udhcpc -i eth0 -n -q -f -t 5 -T 1 -s /said";
    world.inside("web", script).succeeds();
    let address = world.address("web");
    let gateway = address.rsplit_once('.').map(|(start, _)| format!("{start}.1")).unwrap();
    let answers = std::fs::read_to_string(tree.path("answers")).unwrap();
    let expected =
        format!("bound {address} 255.255.255.0 {gateway} 9.9.9.9 149.112.112.112 web.example.org 1400");
    assert!(answers.lines().any(|line| line == expected), "{answers}");
    // A client that requests another address gets its own.
    let other = world.address("db");
    world
        .inside(
            "web",
            &format!("busybox rm /answers; busybox udhcpc -i eth0 -n -q -f -t 5 -T 1 -r {other} -s /said"),
        )
        .succeeds();
    let answers = std::fs::read_to_string(tree.path("answers")).unwrap();
    assert!(answers.contains(&expected) && !answers.contains(&other), "{answers}");
}
