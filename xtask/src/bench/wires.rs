//! Traffic of containers: throughput and requests through address translation and through a published port.
//!
//! Owns network namespaces for the world and for two rivals, with links and rules as
//! systemd-nspawn (`--network-veth`, with systemd-networkd) and LXC (lxc-net) set them up. All addresses are reserved
//! for benchmarks (RFC 2544). Needs `ip` and `nft`.

use super::setup::{Bench, Rounds};
use super::stopwatch::Samples;
use super::table::Row;
use crate::process;
use anyhow::{Error, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of one transfer, and the size of one write.
const BYTES: usize = 512 << 20;
const CHUNK: usize = 256 << 10;
/// Requests of one sample, each with its own connection.
const REQUESTS: usize = 1000;
/// The timeout of a connection.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// The world's address for everyone, and the machine's address for the world.
const WORLD: &str = "198.19.255.1";
const HERE: &str = "198.18.7.1";
/// The names of what is measured; the first is the container of ds.
const NAMES: [&str; 3] = ["ds", "systemd-nspawn's veth", "LXC's veth"];
/// Everything that this module adds to the machine, besides its namespaces.
const CLEAN: &str = "for link in dsb-w0 dsb-ve dsb-lxc; do ip link del $link 2>/dev/null || :; done;
    for table in dsb_nspawn dsb_lxc; do nft delete table ip $table 2>/dev/null || :; done";

/// A network namespace, kept by a process that sleeps in it.
pub(super) struct Place(Child);

impl Place {
    pub(super) fn new() -> Result<Self> {
        let mut command = Command::new("unshare");
        let place = Self(command.args(["--net", "sleep", "3600"]).stdin(Stdio::null()).spawn()?);
        // Until then, the process is still in the namespace of this one.
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let path = format!("/proc/{}/ns/net", place.0.id());
        let begun = Instant::now();
        while std::fs::read_link(&path)? == own {
            if begun.elapsed() > TIMEOUT {
                return Err(anyhow!("unshare does not work"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(place)
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The changes of the machine, undone when this is dropped.
struct Machine {
    world: Place,
    nspawn: Place,
    lxc: Place,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = shell(CLEAN);
    }
}

pub(super) fn shell(script: &str) -> Result<()> {
    process::run_quietly(Command::new("sh").args(["-ec", script])).map(drop)
}

impl Machine {
    fn new() -> Result<Self> {
        shell(CLEAN)?;
        let place = Place::new;
        let machine = Self { world: place()?, nspawn: place()?, lxc: place()? };
        shell(&format!(
            "ip link add dsb-w0 type veth peer name eth0 netns {pid}
             ip addr add {HERE}/24 dev dsb-w0; ip link set dsb-w0 up
             nsenter --net=/proc/{pid}/ns/net sh -ec 'ip link set lo up; ip addr add {WORLD}/32 dev lo
                 ip addr add 198.18.7.2/24 dev eth0; ip link set eth0 up'
             ip route replace {WORLD} via 198.18.7.2 dev dsb-w0",
            pid = machine.world.pid()
        ))?;
        // What systemd-networkd does for `IPMasquerade=ipv4` and for ports of systemd-nspawn.
        shell(&format!(
            "ip link add dsb-ve type veth peer name host0 netns {pid}
             ip addr add 198.18.21.1/28 dev dsb-ve; ip link set dsb-ve up
             nsenter --net=/proc/{pid}/ns/net sh -ec 'ip addr add 198.18.21.2/28 dev host0; ip link set host0 up
                 ip route add default via 198.18.21.1'
             nft 'table ip dsb_nspawn {{
                 set saddr {{ type ipv4_addr; flags interval; elements = {{ 198.18.21.0/28 }}; }}
                 map port {{ type inet_proto . inet_service : ipv4_addr . inet_service
                     elements = {{ tcp . 7012 : 198.18.21.2 . 80 }}; }}
                 chain before {{ type nat hook prerouting priority dstnat + 1;
                     fib daddr type local dnat ip to meta l4proto . th dport map @port; }}
                 chain after {{ type nat hook postrouting priority srcnat + 1; ip saddr @saddr masquerade; }}; }}'",
            pid = machine.nspawn.pid()
        ))?;
        // What lxc-net does; LXC publishes no ports.
        shell(&format!(
            "ip link add dsb-lxc type bridge; ip addr add 198.18.22.1/24 dev dsb-lxc; ip link set dsb-lxc up
             ip link add dsb-lxc0 type veth peer name eth0 netns {pid}; ip link set dsb-lxc0 master dsb-lxc up
             nsenter --net=/proc/{pid}/ns/net sh -ec 'ip addr add 198.18.22.2/24 dev eth0; ip link set eth0 up
                 ip route add default via 198.18.22.1'
             nft 'table ip dsb_lxc {{
                 chain before {{ type nat hook prerouting priority dstnat;
                     fib daddr type local tcp dport 7013 dnat to 198.18.22.2:80; }}
                 chain after {{ type nat hook postrouting priority srcnat;
                     ip saddr 198.18.22.0/24 ip daddr != 198.18.22.0/24 counter masquerade; }}; }}'",
            pid = machine.lxc.pid()
        ))?;
        Ok(machine)
    }
}

/// Runs a function in the network namespace of a process. Sockets remain in the namespace of their creation.
fn within<T: Send>(pid: u32, what: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let doing = scope.spawn(move || {
            let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            what()
        });
        doing.join().map_err(|_| anyhow!("a thread has panicked"))?
    })
}

pub(super) fn listen(pid: u32, port: u16) -> Result<TcpListener> {
    within(pid, || Ok(TcpListener::bind(("0.0.0.0", port))?))
}

pub(super) fn connect(pid: u32, to: SocketAddr, timeout: Duration) -> Result<TcpStream> {
    within(pid, move || Ok(TcpStream::connect_timeout(&to, timeout)?))
}

/// The time of one transfer to a listener that is reached at `to`.
fn transfer(listener: &TcpListener, client: u32, to: SocketAddr) -> Result<Duration> {
    thread::scope(|scope| {
        let receiving = scope.spawn(|| -> Result<Instant> {
            let (mut stream, _) = listener.accept()?;
            let mut buffer = vec![0; CHUNK];
            while stream.read(&mut buffer)? > 0 {}
            Ok(Instant::now())
        });
        let mut stream = connect(client, to, TIMEOUT)?;
        let started = Instant::now();
        let chunk = vec![0; CHUNK];
        for _ in 0..BYTES / CHUNK {
            stream.write_all(&chunk)?;
        }
        stream.shutdown(Shutdown::Write)?;
        let ended = receiving.join().map_err(|_| anyhow!("the receiver has panicked"))??;
        Ok(ended.duration_since(started))
    })
}

/// The time of requests, one after the other.
fn ask(listener: &TcpListener, client: u32, to: SocketAddr) -> Result<Duration> {
    thread::scope(|scope| {
        let answering = scope.spawn(|| -> Result<()> {
            for _ in 0..REQUESTS {
                let (mut stream, _) = listener.accept()?;
                stream.read_exact(&mut [0])?;
                stream.write_all(b"y")?;
            }
            Ok(())
        });
        let took = within(client, move || {
            let started = Instant::now();
            for _ in 0..REQUESTS {
                let mut stream = TcpStream::connect_timeout(&to, TIMEOUT)?;
                stream.write_all(b"x")?;
                stream.read_exact(&mut [0])?;
            }
            Ok(started.elapsed())
        })?;
        answering.join().map_err(|_| anyhow!("the server has panicked"))??;
        Ok(took)
    })
}

/// Measures and returns the rows.
///
/// # Errors
/// If `ds`, `ip` or `nft` fails.
pub fn measure(bench: &Bench, rounds: &Rounds) -> Result<Vec<Row>> {
    let machine = Machine::new()?;
    let rootfs = bench.rootfs("busybox", "wires")?;
    let set = ["--set", "network.mode=nat", "--set", "network.ports=7011:80"];
    bench.ds.quiet(&[&["create", "wires", "--rootfs", &rootfs], &set[..]].concat())?;
    let measured = bench.ds.quiet(&["start", "wires"]).and_then(|_| {
        let own = u32::try_from(bench.ds.pid("wires")?)?;
        traffic(&machine, own, rounds)
    });
    bench.ds.quiet(&["stop", "--kill", "wires"])?;
    bench.ds.quiet(&["rm", "wires"])?;
    measured
}

fn traffic(machine: &Machine, own: u32, rounds: &Rounds) -> Result<Vec<Row>> {
    let places = [own, machine.nspawn.pid(), machine.lxc.pid()];
    let world = machine.world.pid();
    let outside = listen(world, 81)?;
    let inside = places.iter().map(|place| listen(*place, 80)).collect::<Result<Vec<_>>>()?;
    let out: SocketAddr = format!("{WORLD}:81").parse()?;
    let mut samples: [[Samples; 3]; 4] = Default::default();
    rounds.each("wires", |_| {
        for (index, (place, listener)) in places.iter().zip(&inside).enumerate() {
            let published: SocketAddr = format!("{HERE}:{}", 7011 + index).parse()?;
            samples[0][index].push(transfer(&outside, *place, out)?);
            samples[1][index].push(transfer(listener, world, published)?);
            samples[2][index].push(ask(&outside, *place, out)?);
            samples[3][index].push(ask(listener, world, published)?);
        }
        Ok(())
    })?;
    let whats = [
        format!("sending {} MiB through nat", BYTES >> 20),
        format!("receiving {} MiB through a published port", BYTES >> 20),
        format!("{REQUESTS} requests through nat"),
        format!("{REQUESTS} requests through a published port"),
    ];
    let rows = whats.iter().zip(samples).flat_map(|(what, [ours, nspawn, lxc])| {
        let row =
            |theirs, index: usize| Row::ratio(what, &ours, NAMES[index], &Ok::<_, Error>(theirs), Some(1.0));
        [row(nspawn, 1), row(lxc, 2)]
    });
    Ok(rows.collect())
}
