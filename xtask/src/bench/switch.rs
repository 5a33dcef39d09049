//! Switch-over: the time from the end of an uplink until a container's connection goes through the next one.
//!
//! Owns a network namespace for the world, which two links connect to the machine, and the routes through them. The
//! addresses are reserved for benchmarks (RFC 2544). Needs `ip`.

use super::setup::{Bench, Rounds};
use super::stopwatch::Samples;
use super::table::Row;
use super::wires::{Place, TIMEOUT, connect, listen, shell};
use anyhow::{Result, bail};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// The world's address and port, and the begin of the networks of the two links.
const WORLD: &str = "198.19.254.1";
const PORT: u16 = 81;
const NETWORK: &str = "198.18.3";
const CLEAN: &str = "for link in dsb-u0 dsb-u1; do ip link del $link 2>/dev/null || :; done";
/// The time for one attempt to connect.
const ATTEMPT: Duration = Duration::from_millis(20);

/// The links to the world, removed when this is dropped.
struct Uplinks(Place);

impl Drop for Uplinks {
    fn drop(&mut self) {
        let _ = shell(CLEAN);
    }
}

impl Uplinks {
    fn new() -> Result<Self> {
        shell(CLEAN)?;
        let uplinks = Self(Place::new()?);
        let pid = uplinks.0.pid();
        for index in 0..2 {
            shell(&format!(
                "ip link add dsb-u{index} type veth peer name eth{index} netns {pid}
                 ip addr add {NETWORK}{index}.1/24 dev dsb-u{index}
                 nsenter --net=/proc/{pid}/ns/net sh -ec 'ip link set lo up; ip addr replace {WORLD}/32 dev lo
                     ip addr add {NETWORK}{index}.2/24 dev eth{index}; ip link set eth{index} up'"
            ))?;
            bring_up(index)?;
        }
        Ok(uplinks)
    }
}

/// Brings an uplink up. Its route is added each time, because the kernel removes it when the link goes down.
fn bring_up(index: usize) -> Result<()> {
    shell(&format!(
        "ip link set dsb-u{index} up
         ip route replace {WORLD} via {NETWORK}{index}.2 dev dsb-u{index} metric {}",
        10 + index
    ))
}

/// Waits until a connection of the container goes through an uplink.
fn wait_for(listener: &TcpListener, container: u32, index: usize) -> Result<()> {
    let begun = Instant::now();
    let to = SocketAddr::new(WORLD.parse()?, PORT);
    let expected: IpAddr = format!("{NETWORK}{index}.1").parse()?;
    while begun.elapsed() < TIMEOUT {
        // An uplink that goes down can lose the end of the handshake, and then there is no connection to accept.
        if connect(container, to, ATTEMPT).is_ok()
            && listener.accept().is_ok_and(|(_, peer)| peer.ip() == expected)
        {
            return Ok(());
        }
    }
    bail!("no connection went through the uplink dsb-u{index}")
}

/// Measures and returns the row.
///
/// # Errors
/// If `ds` or `ip` fails, or the container does not follow.
pub fn measure(bench: &Bench, rounds: &Rounds) -> Result<Vec<Row>> {
    let uplinks = Uplinks::new()?;
    let listener = listen(uplinks.0.pid(), PORT)?;
    listener.set_nonblocking(true)?;
    let rootfs = bench.rootfs("busybox", "switch")?;
    let set = ["--set", "network.mode=nat", "--set", "network.uplink=dsb-u0, dsb-u1"];
    bench.ds.quiet(&[&["create", "switch", "--rootfs", &rootfs], &set[..]].concat())?;
    bench.ds.quiet(&["start", "switch"])?;
    let container = u32::try_from(bench.ds.pid("switch")?)?;
    let mut samples = Samples::default();
    let measured = rounds.each("switch", |_| {
        wait_for(&listener, container, 0)?;
        let started = Instant::now();
        shell("ip link set dsb-u0 down")?;
        wait_for(&listener, container, 1)?;
        samples.push(started.elapsed());
        bring_up(0)
    });
    bench.ds.quiet(&["stop", "--kill", "switch"])?;
    bench.ds.quiet(&["rm", "switch"])?;
    measured?;
    let median = samples.median().unwrap_or_default() * 1e3;
    Ok(vec![Row::limit("switch-over after the end of an uplink", median, 50.0, "ms")])
}
