//! The device nodes of a container's /dev. Owns their table; creates nothing.
//!
//! Numbers are those of Documentation/admin-guide/devices.txt in the kernel sources.

use crate::mount::op::Operation;

/// Name below /dev, major, minor, permission bits.
const NODES: [(&str, u32, u32, u32); 8] = [
    ("null", 1, 3, 0o666),
    ("zero", 1, 5, 0o666),
    ("full", 1, 7, 0o666),
    ("random", 1, 8, 0o666),
    ("urandom", 1, 9, 0o666),
    ("tty", 5, 0, 0o666),
    ("fuse", 10, 229, 0o666),
    ("net/tun", 10, 200, 0o666),
];

/// Links that every Linux /dev has (Linux Standard Base, FHS 6.1.2).
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Steps that fill a fresh /dev.
pub fn operations() -> impl Iterator<Item = Operation> {
    let directory = Operation::Directory { target: "/dev/net".into(), mode: 0o755 };
    let nodes = NODES.into_iter().map(|(name, major, minor, mode)| Operation::Device {
        target: format!("/dev/{name}"),
        major,
        minor,
        mode,
    });
    let links = LINKS
        .into_iter()
        .map(|(name, to)| Operation::Symlink { target: format!("/dev/{name}"), to: to.into() });
    std::iter::once(directory).chain(nodes).chain(links)
}
