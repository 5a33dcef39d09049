//! Docker Swarm over two phones, here two network namespaces with a data directory each: nodes reach each other only
//! through published ports, as docs/network.md describes. The kernel may lack IPVS: services have names with several
//! addresses instead of a virtual one.

use crate::done::Done;
use crate::programs::FIXTURE;
use crate::world::World;
use crate::{given, wait_for};

const SETTINGS: &[&str] = &[
    "security.nesting=yes",
    "cgroup=v1",
    "network.mode=nat",
    "network.ports=2377,7946,7946/udp,4789/udp",
    "mounts.tmpfs=/var/lib/docker",
    "network.dns=no",
];
/// `ethtool -K eth0 tx off`: translation of addresses breaks checksums of VXLAN packets that a device would complete.
const CHECKSUMS: &str = "perl -e 'use Socket; socket(S, AF_INET, SOCK_DGRAM, 0); my $off = pack(\"LL\", 0x17, 0); \
    my $request = pack(\"a16 P x16\", \"eth0\", $off); ioctl(S, 0x8946, $request) or die $!'";
/// The image of the service: BusyBox.
const IMAGE: &str = "mkdir -p /opt/image/bin; cp /usr/bin/busybox /opt/image/bin; \
    for name in sh cat echo nc nslookup; do ln -sf busybox /opt/image/bin/$name; done; \
    systemctl start docker; tar -C /opt/image -c . | docker import - base >/dev/null";
const SERVICE: &str = "docker network create -d overlay mesh >/dev/null; \
    docker service create -d --no-resolve-image --name web --mode global --network mesh --endpoint-mode dnsrr base \
    /bin/sh -c 'while true; do echo served by $(cat /etc/hostname) | busybox nc -l -p 80; done' >/dev/null";
/// Asks each address of the service from a container of it.
const ASK: &str = "id=$(docker ps -q | head -n 1); test -z \"$id\" || for at in \
    $(docker exec $id busybox nslookup tasks.web | sed -n '/^Name/{n; s/Address: //p}'); do \
    docker exec $id busybox timeout 5 /bin/sh -c \"busybox nc $at 80 </dev/null\"; done | sort -u | grep -c '^served by'; true";

/// `ds` of the first or the second machine.
fn ds(world: &World, second: bool, words: &[&str]) -> Done {
    if !second {
        return world.sandbox.ds(words);
    }
    let (root, program) = (world.sandbox.path("second"), world.sandbox.binary());
    let root = format!("DS_ROOT={}", root.display());
    let start = ["nsenter", "--target", &world.far.inside, "--net", "env", &root, program.to_str().unwrap()];
    world.sandbox.run(&[&start[..], words].concat())
}

fn run(world: &World, second: bool, script: &str) -> String {
    ds(world, second, &["run", "node", "--", "/bin/bash", "-c", script]).succeeds()
}

/// The node of the second machine.
fn create_second(world: &mut World) {
    let paths = ["tree", "changes", "work"].map(|name| world.sandbox.path(&format!("second.{name}")));
    paths.iter().for_each(|path| std::fs::create_dir_all(path).expect("a directory"));
    let [tree, changes, work] = paths.map(|path| path.display().to_string());
    let fixture = given("DS_FIXTURES").join(FIXTURE);
    let layers = format!("lowerdir={},upperdir={changes},workdir={work}", fixture.display());
    world.sandbox.mount(&["-t", "overlay", "overlay", "-o", &layers, &tree]);
    let rootfs = format!("--rootfs={tree}");
    let set = SETTINGS.iter().flat_map(|setting| ["--set", setting]);
    let words: Vec<&str> = ["create", "node", &rootfs].into_iter().chain(set).collect();
    ds(world, true, &words).succeeds();
    let bridges =
        "for file in /proc/sys/net/bridge/bridge-nf-call-ip*; do test ! -e $file || echo 0 >$file; done";
    world.far.run(&world.sandbox, bridges).succeeds();
}

#[test]
fn docker_swarm_runs_a_service_across_two_machines() {
    let Some(mut world) = World::new("docker_swarm_runs_a_service_across_two_machines") else { return };
    world.sandbox.distribution("node", FIXTURE, SETTINGS);
    create_second(&mut world);
    for second in [false, true] {
        ds(&world, second, &["start", "node", "--wait=110"]).succeeds();
        run(&world, second, &format!("set -e; {CHECKSUMS}; {IMAGE}"));
    }
    run(&world, false, "hostname one; docker swarm init --advertise-addr 192.0.2.1");
    let token = run(&world, false, "docker swarm join-token -q worker");
    let join =
        format!("docker swarm join --advertise-addr 192.0.2.2 --token {} 192.0.2.1:2377", token.trim());
    run(&world, true, &join);
    run(&world, false, SERVICE);
    for second in [false, true] {
        let both = || (run(&world, second, ASK).trim() == "2").then_some(());
        wait_for(&format!("both answers, on the second machine: {second}"), both);
    }
    ds(&world, true, &["stop", "--all", "--kill"]).succeeds();
    ds(&world, true, &["supervisor", "stop"]).succeeds();
    world.sandbox.ds(&["stop", "--all", "--kill"]).succeeds();
}
