//! A machine with an uplink and a neighbour, in network namespaces of the test.
//!
//! The sandbox's network namespace is the machine. Its uplink `wan0` leads to `far`, which simulates the world
//! (192.0.2.2); `lan0` leads to `near`, a neighbour (198.51.100.2). Neither has a route to networks of containers. The
//! test itself creates sockets in each namespace.

use crate::done::Done;
use crate::process::{Process, below};
use crate::root_fs::Tree;
use crate::sandbox::Sandbox;
use crate::{skip, wait_for};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

/// The timeout for a packet, expected or not. The kernel sends a lost first segment again after a second.
const TIMEOUT: Duration = Duration::from_millis(1800);

/// A network namespace, kept by a process that sleeps in it.
pub struct Place {
    keeper: Child,
    /// The process ids of its process, in the sandbox and outside.
    pub inside: String,
    pub pid: i32,
}

impl Place {
    pub fn new(sandbox: &Sandbox, seconds: &str) -> Self {
        let words = ["unshare", "--net", "sleep", seconds];
        let keeper = sandbox.command_within(600, &words).stdout(Stdio::null()).spawn().expect("unshare");
        let parent = i32::try_from(keeper.id()).expect("a number");
        let sleeps = |process: &Process| process.command == ["sleep", seconds];
        let process = wait_for("a namespace", || below(parent).into_iter().find(sleeps));
        let inside = process.inner_pid().expect("a number").to_string();
        Self { keeper, inside, pid: process.pid }
    }

    pub fn run(&self, sandbox: &Sandbox, script: &str) -> Done {
        sandbox.run(&["nsenter", "--target", &self.inside, "--net", "sh", "-c", script])
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// A machine with an uplink and a neighbour.
pub struct World {
    pub far: Place,
    pub near: Place,
    pub sandbox: Sandbox,
}

impl World {
    /// `None` with a reported reason if this machine lacks a requirement. Bridges are not filtered.
    pub fn new(test: &str) -> Option<Self> {
        let sandbox = Sandbox::new();
        let able = sandbox.run(&["sh", "-c", "ip link add ds-try type bridge && ip link del ds-try"]);
        if able.code != 0 {
            skip(test, "no bridges, or no iproute2");
            return None;
        }
        let (far, near) = (Place::new(&sandbox, "601"), Place::new(&sandbox, "602"));
        for (name, place, network) in [("wan0", &far, "192.0.2"), ("lan0", &near, "198.51.100")] {
            let six = if name == "wan0" { "2001:db8:1" } else { "2001:db8:2" };
            let here = format!(
                "ip link add {name} mtu 1400 type veth peer name eth0 netns {} && ip addr add {network}.1/24 dev {name} &&
                 ip addr add {six}::1/64 dev {name} nodad && ip link set {name} up",
                place.inside
            );
            sandbox.run(&["sh", "-c", &here]).succeeds();
            let there = format!(
                "ip addr add {network}.2/24 dev eth0 && ip addr add {six}::2/64 dev eth0 nodad &&
                 ip link set eth0 up && ip link set lo up"
            );
            place.run(&sandbox, &there).succeeds();
        }
        let rest = "for file in /proc/sys/net/bridge/bridge-nf-call-ip*; do test ! -e $file || echo 0 >$file; done;
            ip link set lo up && ip route add default via 192.0.2.2 && ip route add default via 2001:db8:1::2";
        sandbox.run(&["sh", "-c", rest]).succeeds();
        wait_for_links(&sandbox, &["wan0", "lan0"]);
        Some(Self { far, near, sandbox })
    }

    /// A container with the probe and BusyBox.
    pub fn boot(&self, name: &str, settings: &[&str]) -> Tree {
        let settings: Vec<&str> = ["network.mode=nat"].iter().chain(settings).copied().collect();
        let tree = self.sandbox.container(name, &settings);
        self.sandbox.ds(&["start", name]).succeeds();
        wait_for("the report", || tree.report());
        tree
    }

    pub fn inside(&self, name: &str, script: &str) -> Done {
        self.sandbox.ds(&["run", name, "--", "/bin/busybox", "sh", "-c", script])
    }

    /// The addresses of a container: IPv4, then IPv6.
    pub fn addresses(&self, name: &str) -> Vec<String> {
        let info = self.sandbox.info(name);
        let list = info["network"]["addresses"].as_array().expect("addresses");
        list.iter().map(|address| address.as_str().expect("a text").to_owned()).collect()
    }

    pub fn address(&self, name: &str) -> String {
        self.addresses(name)[0].clone()
    }

    /// A process in the namespace of a container, or of the machine.
    pub fn pid(&self, name: &str) -> i32 {
        self.sandbox.first_process(name).expect("a running container").pid
    }

    pub fn machine(&self) -> i32 {
        self.sandbox.init_pid()
    }

    pub fn shell(&self, script: &str) -> String {
        self.sandbox.run(&["sh", "-c", script]).text()
    }

    pub fn state(&self) -> String {
        state(&self.sandbox)
    }

    /// Pings, from inside a container.
    pub fn pings(&self, name: &str, words: &str) -> bool {
        self.inside(name, &format!("busybox ping -c 1 -W 2 {words}")).code == 0
    }
}

/// Waits until links are up: the kernel changes their state some time after their carrier, which is part of [`state`].
pub fn wait_for_links(sandbox: &Sandbox, names: &[&str]) {
    wait_for("the links to be up", || {
        let links = sandbox.run(&["ip", "-o", "link"]).text();
        let is_up = |name: &&str| {
            let line = links.lines().find(|line| line.contains(&format!(": {name}@")));
            line.is_some_and(|line| line.contains(" state UP "))
        };
        names.iter().all(is_up).then_some(())
    });
}

/// The complete state of the machine's network.
pub fn state(sandbox: &Sandbox) -> String {
    let script =
            "ip -o link | sed 's/^[0-9]*: //' | sort; ip -o addr show scope global | sed 's/^[0-9]*: //';
             (ip route show table all; ip -6 route show table all) | grep -v fe80; ip rule; ip -6 rule;
             for all in 4 6; do for what in forwarding accept_ra; do
                 for file in /proc/sys/net/ipv$all/conf/*/$what; do
                     test ! -e $file || echo $file $(cat $file); done; done; done;
             cat /proc/sys/net/ipv4/ip_forward;
             if command -v nft >/dev/null; then nft list ruleset | sed 's/counter packets [0-9]* bytes [0-9]*/counter/'; fi;
             if command -v iptables-legacy-save >/dev/null; then
                 for one in iptables ip6tables; do for table in $(cat /proc/net/${one%tables}_tables_names); do
                     $one-legacy-save -t $table | grep -v '^#' | sed 's/\\[.*//'; done; done; fi";
    sandbox.run(&["sh", "-c", script]).text()
}

/// Two states have the same lines.
#[track_caller]
pub fn same(now: &str, before: &str) {
    let beside = |one: &str, other: &str| {
        one.lines()
            .filter(|line| !other.lines().any(|has| has == *line))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!((beside(now, before), beside(before, now)), (Vec::new(), Vec::new()));
}

/// Runs a function in the network namespace of a process; sockets remain in the namespace of their creation.
pub fn within<T: Send + 'static>(pid: i32, what: impl FnOnce() -> T + Send + 'static) -> T {
    let doing = thread::spawn(move || {
        let namespace = File::open(format!("/proc/{pid}/ns/net")).expect("a namespace");
        setns(namespace, CloneFlags::CLONE_NEWNET).expect("setns");
        what()
    });
    doing.join().expect("the function in the namespace")
}

/// Answers each connection with a word and the address that it came from, until the test ends.
pub fn serve(pid: i32, at: &str, word: &'static str) {
    let at: SocketAddr = at.parse().expect("an address");
    let listener = within(pid, move || TcpListener::bind(at).expect("bind"));
    thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            let _ = write!(stream, "{word} {}", peer.ip());
        }
    });
}

/// The same for datagrams.
pub fn serve_udp(pid: i32, at: &str, word: &'static str) {
    let at: SocketAddr = at.parse().expect("an address");
    let socket = within(pid, move || UdpSocket::bind(at).expect("bind"));
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{word} {}", peer.ip()).as_bytes(), peer);
        }
    });
}

/// The answer of a server to a client in a namespace; `None` without one.
pub fn call(pid: i32, at: &str) -> Option<String> {
    let at: SocketAddr = at.parse().expect("an address");
    within(pid, move || {
        let mut stream = TcpStream::connect_timeout(&at, TIMEOUT).ok()?;
        stream.set_read_timeout(Some(TIMEOUT)).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    })
}

/// The same for datagrams.
pub fn call_udp(pid: i32, at: &str) -> Option<String> {
    let at: SocketAddr = at.parse().expect("an address");
    within(pid, move || {
        let socket = UdpSocket::bind(if at.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).ok()?;
        socket.set_read_timeout(Some(TIMEOUT)).ok()?;
        socket.send_to(b"?", at).ok()?;
        let mut buffer = [0; 64];
        let (length, _) = socket.recv_from(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    })
}
