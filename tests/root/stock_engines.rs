//! Docker and Podman in a container on a kernel without PID and IPC namespaces, with the wrapper of runc that
//! docs/stock-kernels.md describes.

use crate::engines::{ATTACK, run, start_on};
use crate::stock::{Bystanders, stock};

/// A block of commands of the page, after a line that begins with this text.
fn block(beginning: &str) -> String {
    let page = include_str!("../../docs/stock-kernels.md");
    let (_, after) = page.split_once(&format!("\n{beginning}")).expect("the line");
    let (_, after) = after.split_once("\n```sh\n").expect("a block");
    after.split_once("```").expect("its end").0.to_owned()
}

const DOCKER: &str = "systemctl start docker; tar -C /opt/image -c . | docker import - base >/dev/null; \
     docker run --rm --network host base /bin/sh -c 'echo host $(id -u)' | expect 'host 0'; \
     docker run --rm base /bin/sh -c 'grep -c mqueue /proc/mounts || true' | expect 0; \
     docker run -d --name server base /bin/sh -c \"$serve\" >/dev/null; \
     ask 172.17.0.2/80 | expect served; docker exec server /bin/echo entered | expect entered; \
     docker stop -t 1 server >/dev/null; docker ps -q | wc -l | expect 0; \
     for kit in 0 1; do DOCKER_BUILDKIT=$kit docker build -q -t built - </opt/Dockerfile >/dev/null; \
     docker run --rm built | expect built; docker rmi -f built >/dev/null; done; \
     docker run --rm --cap-add MKNOD --device-cgroup-rule 'b *:* rwm' base /bin/sh -c \"$ATTACK\" | expect refused; ";

const PODMAN: &str = "tar -C /opt/image -c . | podman import -q - base >/dev/null; \
     options='--rm --pids-limit 0'; \
     podman --runtime /usr/local/sbin/runc run $options base /bin/sh -c 'ip -o -4 addr show eth0 | busybox grep -o 10.88.0' | expect 10.88.0; \
     podman --runtime /usr/local/sbin/runc build -q -t built - </opt/Dockerfile >/dev/null; \
     podman --runtime /usr/local/sbin/runc run $options --network none localhost/built | expect built; ";

/// What a nested container tries: signals for processes outside of the outer one.
fn outsiders(numbers: &str) -> String {
    format!(
        "docker run --rm --privileged=false base /bin/sh -c 'for pid in {numbers}; do kill -9 $pid 2>/dev/null && \
         echo $pid; done; echo done' | expect done; "
    )
}

#[test]
fn docker_and_podman_run_and_build_images_on_a_stock_kernel() {
    let sandbox = stock();
    let bystanders = Bystanders::new(&sandbox);
    let sandbox = start_on(sandbox, &["security.nesting=yes", "network.mode=none"]);
    let wrapper = block("Docker and Podman");
    let setup = format!("cat >/usr/local/sbin/runc <<'END'\n{wrapper}END\nchmod +x /usr/local/sbin/runc\n");
    let script = [setup.as_str(), DOCKER, &outsiders(&bystanders.numbers()), PODMAN, "echo done"].concat();
    assert_eq!(run(&sandbox, &format!("export ATTACK=\"{ATTACK}\"; {script}")), "done\n");
    bystanders.check();
    assert_eq!(sandbox.ds(&["stop", "web"]).succeeds(), "web stopped\n");
    bystanders.check();
}
