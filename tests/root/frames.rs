//! Frames that no program of the system would send: written and seen by the test itself on a link.

use crate::world::within;
use ds::sys::packet;
use nix::sys::socket::{MsgFlags, recv, send};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

/// An interface in the network namespace of a process.
pub struct Tap {
    socket: OwnedFd,
}

impl Tap {
    /// Sees all frames that come in.
    pub fn new(pid: i32, interface: &str) -> Self {
        // The number of the interface, which is in groups while it is on.
        let text = fs::read_to_string(format!("/proc/{pid}/net/dev_mcast")).unwrap();
        let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let index = lines.filter(|words| words[1] == interface).map(|words| words[0].parse().unwrap()).next();
        let index = index.expect("an interface in groups");
        let all = [(0x06, 0, 0, 0xffff)];
        Self { socket: within(pid, move || packet::listen(index, &all).unwrap()) }
    }

    pub fn send(&self, frame: &[u8]) {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).unwrap();
    }

    /// What has come in since, and comes in for so long.
    pub fn frames(&self, patience: Duration) -> Vec<Vec<u8>> {
        let (end, mut found) = (Instant::now() + patience, Vec::new());
        let mut buffer = [0; 4096];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => found.push(buffer[..length].to_vec()),
                Err(_) if Instant::now() < end => thread::sleep(Duration::from_millis(20)),
                Err(_) => return found,
            }
        }
    }
}

/// An Ethernet frame.
pub fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, content: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), content].concat()
}

/// RFC 1071.
pub fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()
}

/// A UDP datagram over IPv4, without a checksum of its own.
pub fn udp(from: ([u8; 4], u16), to: ([u8; 4], u16), content: &[u8]) -> Vec<u8> {
    let short = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
    let mut header =
        [&[0x45, 0][..], &short(28 + content.len()), &[0, 0, 0, 0, 64, 17, 0, 0], &from.0, &to.0].concat();
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let ports = [from.1.to_be_bytes(), to.1.to_be_bytes(), short(8 + content.len()), [0, 0]].concat();
    [&header[..], &ports, content].concat()
}

/// An ICMPv6 message.
pub fn icmp6(from: [u8; 16], to: [u8; 16], message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    let mut message = message.to_vec();
    let pseudo = [&from[..], &to, &[0, 0], &length, &[0, 0, 0, 58], &message].concat();
    let sum = checksum(&pseudo);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    [&[0x60, 0, 0, 0][..], &length, &[58, 255], &from, &to, &message].concat()
}
