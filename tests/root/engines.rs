//! Container engines of a distribution in a container: Docker and podman run images that are made here, on the network
//! of the container and on bridges, and build others.
//!
//! docs/compatibility.md names the settings that they need. The directories of images are file systems of their own,
//! because the trees of these tests are overlays, and an overlay cannot be the upper layer of another.

use crate::programs::{FIXTURE, documented};
use crate::sandbox::{Sandbox, Setting};
use crate::wait_for;
use crate::world::{World, call, serve};

const STORAGE: &str = "mounts.tmpfs=/var/lib/docker,/var/lib/containers,/home";

/// An image of one static program, a file to build another from, and how to ask a server of it.
const PRELUDE: &str = "set -e; mkdir -p /opt/image/bin; cp /usr/bin/busybox /opt/image/bin; \
     for name in sh cat echo id ip ls; do ln -sf busybox /opt/image/bin/$name; done; \
     printf 'FROM base\\nRUN echo built >/built\\nCMD [\"/bin/cat\", \"/built\"]\\n' >/opt/Dockerfile; \
     serve='while true; do echo served | busybox nc -l -p 80; done'; \
     ask() { for try in {1..50}; do answer=$(timeout 5 bash -c \"exec 3<>/dev/tcp/$1; cat <&3\" 2>/dev/null || true); \
     test -z \"$answer\" || break; sleep 0.2; done; echo \"$answer\"; }; \
     expect() { read -r line || true; [ \"$line\" = \"$1\" ] || { echo \"expected $1: $line\" >&2; exit 1; }; }; \
     shopt -s lastpipe; ";

/// What the nested container tries with every privilege that its engine gives: a disk of the machine.
pub const ATTACK: &str = "busybox mknod /disk b 7 0 && busybox dd if=/disk of=/dev/null count=1 2>&1 | \
     busybox grep -q 'not permitted' && echo refused";

fn start(setting: Setting, settings: &[&str]) -> Sandbox {
    start_on(Sandbox::with(setting), settings)
}

pub fn start_on(mut sandbox: Sandbox, settings: &[&str]) -> Sandbox {
    sandbox.run(&["ip", "link", "set", "lo", "up"]).succeeds();
    let settings = [&[STORAGE], settings].concat();
    sandbox.distribution("web", FIXTURE, &settings);
    sandbox.ds(&["start", "web", "--wait=110"]).succeeds();
    sandbox
}

pub fn run(sandbox: &Sandbox, script: &str) -> String {
    sandbox.ds(&["run", "web", "--", "/bin/bash", "-c", &format!("{PRELUDE}{script}")]).succeeds()
}

/// The machine may lack controllers of version 2, so only version 1 is tried with limits.
const DOCKER: &str = "systemctl start docker; tar -C /opt/image -c . | docker import - base >/dev/null; \
     docker run --rm --network host base /bin/sh -c 'echo host $(id -u)' | expect 'host 0'; \
     docker run --rm base /bin/sh -c 'ip -o -4 addr show eth0 | busybox grep -o 172.17.0.2' | expect 172.17.0.2; \
     docker run -d --name server -p 8080:80 base /bin/sh -c \"$serve\" >/dev/null; \
     ask 127.0.0.1/8080 | expect served; ask 172.17.0.2/80 | expect served; \
     docker run --rm base /bin/sh -c 'until busybox nc 172.17.0.2 80 </dev/null; do busybox sleep 0.2; done' | expect served; \
     docker exec server /bin/echo entered | expect entered; docker restart -t 0 server >/dev/null; \
     ask 127.0.0.1/8080 | expect served; docker rm -f server >/dev/null; \
     docker run --rm --device /dev/fuse base /bin/ls /dev/fuse | expect /dev/fuse; \
     for kit in 0 1; do DOCKER_BUILDKIT=$kit docker build -q -t built - </opt/Dockerfile >/dev/null; \
     docker run --rm built | expect built; docker rmi -f built >/dev/null; done; \
     docker run --rm --network none --cap-add MKNOD --device-cgroup-rule 'b *:* rwm' base /bin/sh -c \"$ATTACK\" | \
     expect refused; docker info -f '{{.Driver}} {{.CgroupVersion}}'";

/// Privileged containers fail without the page's wrapper of runc, since the container lacks capabilities. With it, they
/// can mount and cannot open a disk.
fn privileged() -> String {
    let page = include_str!("../../docs/compatibility.md");
    let wrapper = page.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    format!(
        "; run='docker run --rm --network none --privileged base'; \
         ($run /bin/id 2>&1 || true) | grep -q 'unable to apply caps'; \
         cat >/usr/local/sbin/runc <<'END'\n{wrapper}END\nchmod +x /usr/local/sbin/runc; \
         $run /bin/sh -c \"busybox mkdir /m; busybox mount -t tmpfs m /m && echo mounted; $ATTACK\" | tr '\\n' ' ' | \
         expect 'mounted refused'"
    )
}

#[test]
fn docker_runs_and_builds_images_with_version_2() {
    let sandbox =
        start(Setting { groups: "v2", ..Setting::default() }, &["security.nesting=yes", "network.mode=none"]);
    let said = run(&sandbox, &format!("export ATTACK=\"{ATTACK}\"; {DOCKER}{}", privileged()));
    assert_eq!(said, "overlay2 2\n");
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
}

#[test]
fn docker_runs_and_builds_images_with_version_1() {
    let sandbox = start(Setting::default(), &["security.nesting=yes", "network.mode=none", "cgroup=v1"]);
    let limited =
        "docker run --rm --memory 64m --cpus 0.5 --pids-limit 20 base /bin/echo limited | expect limited";
    let said = run(&sandbox, &format!("export ATTACK=\"{ATTACK}\"; {DOCKER}; {limited}{}", privileged()));
    assert_eq!(said, "overlay2 1\n");
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
}

/// Docker's bridge behind the network of ds: images reach the world, and a port that both publish is reachable from a
/// neighbour of the machine.
#[test]
fn docker_publishes_a_port_in_a_nat_network() {
    let Some(mut world) = World::new("docker_publishes_a_port_in_a_nat_network") else { return };
    let settings = ["security.nesting=yes", "cgroup=v1", "network.mode=nat", "network.ports=8080:8080"];
    world.sandbox.distribution("web", FIXTURE, &[&[STORAGE], &settings[..]].concat());
    world.sandbox.ds(&["start", "web", "--wait=110"]).succeeds();
    serve(world.far.pid, "192.0.2.2:80", "world");
    let script = "systemctl start docker; tar -C /opt/image -c . | docker import - base >/dev/null; \
         docker run -d --name server -p 8080:80 base /bin/sh -c \"$serve\" >/dev/null; \
         docker run --rm base /bin/sh -c 'busybox nc -w 5 192.0.2.2 80 </dev/null'";
    assert_eq!(run(&world.sandbox, script), "world 192.0.2.1");
    wait_for("the published port", || {
        call(world.near.pid, "198.51.100.1:8080").filter(|it| it == "served\n")
    });
    wait_for("the same from the machine", || call(world.machine(), "127.0.0.1:8080"));
    assert_eq!(world.sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
}

/// $options: those of every container. crun raises the limit of locked memory, which takes CAP_SYS_RESOURCE, and podman
/// limits processes; the machine may lack both.
const PODMAN: &str = "tar -C /opt/image -c . | podman import -q - base >/dev/null; \
     podman $engine run $options --rm --network host base /bin/sh -c 'echo host $(id -u)' | expect 'host 0'; \
     podman $engine run $options --rm base /bin/sh -c 'ip -o -4 addr show eth0 | busybox grep -o 10.88.0' | expect 10.88.0; \
     podman $engine run $options -d --name server -p 8081:80 base /bin/sh -c \"$serve\" >/dev/null; \
     ask 127.0.0.1/8081 | expect served; podman $engine exec server /bin/echo entered | expect entered; \
     podman rm -f -t 0 server >/dev/null; \
     podman $engine build -q -t built - </opt/Dockerfile >/dev/null; \
     podman $engine run $options --rm --network none localhost/built | expect built; \
     podman $engine run $options --rm --network none --privileged base /bin/sh -c \"$ATTACK\" | expect refused; ";

/// The same as a user, in a user namespace.
const ROOTLESS: &str = "systemctl start user@1000; install -d -o user -g user /home/user; \
     su - user -c \"set -e; tar -C /opt/image -c . | podman import -q - base >/dev/null; \
     podman $engine run $options --rm base /bin/sh -c 'ip -o -4 addr show tap0 | busybox grep -o 10.0.2' | grep -qx 10.0.2; \
     podman $engine run $options --rm --network host base /bin/id -u | grep -qx 0\"; echo done";

#[test]
fn podman_runs_and_builds_images() {
    let settings = ["security.nesting=yes", "network.mode=none"];
    for (groups, more, engine) in [
        ("v2", "cgroup=auto", "engine='--network-backend netavark --runtime runc' options='--pids-limit 0'"),
        ("all", "cgroup=v1", "engine='--network-backend netavark' options="),
    ] {
        let sandbox = start(Setting { groups, ..Setting::default() }, &[&settings[..], &[more]].concat());
        // With version 1, a service manager of a user does not see the end of podman's pause process.
        let rootless = if groups == "v2" { ROOTLESS } else { "echo done" };
        let said = run(&sandbox, &format!("export ATTACK=\"{ATTACK}\" {engine}; {PODMAN}{rootless}"));
        assert_eq!(said, "done\n", "{groups}");
        assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n", "{groups}");
    }
}

/// Without CAP_NET_ADMIN, Docker cannot even make a container that uses the network as it is; podman can.
#[test]
fn on_the_network_of_the_host_podman_runs_images_and_docker_does_not() {
    let documented = documented();
    for (name, needs) in [
        ("Docker", "security.nesting=yes and network.mode=none or nat"),
        ("podman", "security.nesting=yes and network.mode=none or nat"),
        ("podman with --network host", "nothing"),
        ("rootless podman", "security.nesting=yes"),
    ] {
        assert!(documented.contains(&(name.to_owned(), needs.to_owned())), "{name}: {documented:?}");
    }
    let sandbox = start(Setting::default(), &["cgroup=v1"]);
    let script = "tar -C /opt/image -c . | podman import -q - base >/dev/null; \
         podman run --rm --network host base /bin/echo works | expect works; \
         systemctl is-active docker || true";
    assert_ne!(run(&sandbox, script), "active\n");
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
}
