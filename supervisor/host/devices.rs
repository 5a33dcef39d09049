//! The devices of this machine: the nodes in /dev, and the kernel's events about added and removed ones.
//!
//! Owns the walk through /dev and the parser of uevents (Documentation/admin-guide/devices.rst, kobject_uevent.c of the
//! kernel). Owns facts only: `plan::hardware` selects the devices of a container. It changes nothing.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::socket::{NetlinkAddr, SockProtocol, recvfrom};
use nix::sys::stat::{major, minor};

use crate::mount::op::DeviceKind;
use crate::netlink::Subscription;
use crate::sys::socket::filter;

/// The directory of the nodes.
const DEV: &str = "/dev";
/// Directories below /dev that are file systems of their own, or contain no devices.
const OTHERS: [&str; 4] = ["pts", "shm", "mqueue", "hugepages"];
/// Maximum depth of the walk; bus/usb/001 is the deepest directory of the kernel.
const DEEPEST: usize = 4;
/// Maximum number of nodes; minor numbers alone permit more than any machine has.
const MAX: usize = 8192;
/// `KOBJECT` group of the kernel's own events.
const KERNEL: u32 = 1;
/// UEVENT_BUFFER_SIZE of the kernel is 2048; the header comes in addition.
const LONGEST: usize = 8192;
/// The directory of block devices on Android, whose names are those of the kernel below it (ueventd).
const ANDROID_BLOCK: &str = "block/";

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its path below /dev.
    pub name: String,
    /// Character or block.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits on the host.
    pub mode: u32,
}

/// The current nodes in /dev.
#[must_use]
pub fn scan() -> Vec<Node> {
    let mut found = Vec::new();
    look(Path::new(DEV), "", 0, &mut found);
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The node at a path of the host, if it is one.
#[must_use]
pub fn node_at(path: &Path) -> Option<Node> {
    node(path.to_str()?, &fs::metadata(path).ok()?)
}

fn look(directory: &Path, prefix: &str, depth: usize, found: &mut Vec<Node>) {
    for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if found.len() >= MAX || (depth == 0 && OTHERS.contains(&name.as_str())) {
            continue;
        }
        // Links are not followed, because their targets have names of their own.
        let Ok(about) = entry.metadata() else { continue };
        let name = format!("{prefix}{name}");
        if about.is_dir() && depth < DEEPEST {
            look(&entry.path(), &format!("{name}/"), depth + 1, found);
        }
        found.extend(node(&name, &about));
    }
}

fn node(name: &str, about: &fs::Metadata) -> Option<Node> {
    let kind = match about.file_type() {
        kind if kind.is_char_device() => DeviceKind::Character,
        kind if kind.is_block_device() => DeviceKind::Block,
        _ => return None,
    };
    let number = |part: u64| u32::try_from(part).ok();
    Some(Node {
        name: name.to_owned(),
        kind,
        major: number(major(about.rdev()))?,
        minor: number(minor(about.rdev()))?,
        mode: about.mode() & 0o777,
    })
}

/// A change of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was added.
    Added(Node),
    /// It was removed.
    Removed(Node),
}

/// Receives events about added and removed devices.
#[derive(Debug)]
pub struct Uevents {
    events: Subscription,
    android: bool,
}

impl Uevents {
    /// Begins to listen. Events of other kinds, such as those of a battery, are filtered by the kernel.
    ///
    /// # Errors
    /// If the kernel has no such socket.
    pub fn listen(android: bool) -> Result<Self> {
        let protocol = SockProtocol::NetlinkKObjectUEvent;
        Ok(Self { events: Subscription::new(protocol, KERNEL, &additions_and_removals())?, android })
    }

    /// Readable after an event.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.events.fd()
    }

    /// The events since the last call; `None` if events were lost, so that [`scan`] is necessary.
    #[must_use]
    pub fn take(&self) -> Option<Vec<Change>> {
        let mut buffer = vec![0; LONGEST];
        let (mut changes, mut lost) = (Vec::new(), false);
        loop {
            match recvfrom::<NetlinkAddr>(self.events.fd().as_raw_fd(), &mut buffer) {
                // Only the kernel has the number 0; a process can send to this group as well.
                Ok((length, Some(from))) if from.pid() == 0 => {
                    changes.extend(buffer.get(..length).and_then(|bytes| parse(bytes, self.android)));
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => lost = true,
                Err(_) => break,
            }
        }
        (!lost).then_some(changes)
    }
}

/// A filter for the beginning of a message: `add@` or `remove@`.
fn additions_and_removals() -> [filter::Step; 5] {
    [
        filter::load_word(0),
        filter::jump_if_equal(u32::from_be_bytes(*b"add@"), 1, 0),
        filter::jump_if_equal(u32::from_be_bytes(*b"remo"), 0, 1),
        filter::accept(),
        filter::refuse(),
    ]
}

/// Reads a message of the kernel: `add@/devices/…`, then `KEY=VALUE`, each ended by a NUL. `None` unless a node was
/// added or removed.
#[must_use]
pub fn parse(message: &[u8], android: bool) -> Option<Change> {
    let text = std::str::from_utf8(message).ok()?;
    let mut fields = text.split('\0');
    let (action, _) = fields.next()?.split_once('@')?;
    let (mut numbers, mut name, mut mode, mut kind) = ([None; 2], None, 0o600, DeviceKind::Character);
    for (key, value) in fields.filter_map(|field| field.split_once('=')) {
        match key {
            "MAJOR" => numbers[0] = value.parse().ok(),
            "MINOR" => numbers[1] = value.parse().ok(),
            "DEVNAME" => name = Some(value),
            "DEVMODE" => mode = u32::from_str_radix(value, 8).ok()? & 0o777,
            "SUBSYSTEM" if value == "block" => kind = DeviceKind::Block,
            _ => {}
        }
    }
    let name = name?.strip_prefix("/dev/").unwrap_or(name?);
    if name.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
        return None;
    }
    let prefix = if android && kind == DeviceKind::Block { ANDROID_BLOCK } else { "" };
    let [major, minor] = numbers;
    let node = Node { name: format!("{prefix}{name}"), kind, major: major?, minor: minor?, mode };
    match action {
        "add" => Some(Change::Added(node)),
        "remove" => Some(Change::Removed(node)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_event_names_a_node() {
        let message = b"add@/devices/pci/usb1/tty/ttyUSB0\0ACTION=add\0SUBSYSTEM=tty\0MAJOR=188\0MINOR=0\0DEVNAME=ttyUSB0\0SEQNUM=9\0";
        let tty =
            Node { name: "ttyUSB0".into(), kind: DeviceKind::Character, major: 188, minor: 0, mode: 0o600 };
        assert_eq!(parse(message, true), Some(Change::Added(tty)));
        let disk = b"remove@/devices/x\0SUBSYSTEM=block\0MAJOR=8\0MINOR=0\0DEVNAME=sda\0DEVMODE=0660\0";
        let Some(Change::Removed(node)) = parse(disk, true) else { panic!() };
        assert_eq!((node.name.as_str(), node.kind, node.mode), ("block/sda", DeviceKind::Block, 0o660));
        let Some(Change::Removed(node)) = parse(disk, false) else { panic!() };
        assert_eq!(node.name, "sda");
        for bad in [
            &b"change@/devices/x\0MAJOR=8\0MINOR=0\0DEVNAME=sda\0"[..],
            b"add@/devices/x\0MAJOR=8\0DEVNAME=sda\0",
            b"add@/devices/x\0MAJOR=8\0MINOR=0\0DEVNAME=../sda\0",
            b"add@/devices/x\0MAJOR=8\0MINOR=0\0DEVNAME=\0",
            b"libudev\0\xfe\xed\xca\xfe",
            b"",
        ] {
            assert_eq!(parse(bad, false), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn the_nodes_of_this_machine_have_their_numbers() {
        let nodes = scan();
        let null = nodes.iter().find(|node| node.name == "null").unwrap();
        assert_eq!((null.kind, null.major, null.minor), (DeviceKind::Character, 1, 3));
        assert!(nodes.iter().all(|node| !node.name.starts_with("pts/")));
        assert_eq!(node_at(Path::new("/dev/null")).unwrap().minor, 3);
        assert!(node_at(Path::new("/dev")).is_none());
    }

    proptest! {
        #[test]
        fn any_message_does_not_panic(message in prop::collection::vec(any::<u8>(), 0..200), android: bool) {
            let _ = parse(&message, android);
        }

        #[test]
        fn messages_of_random_fields_do_not_panic(fields in prop::collection::vec("(add@|remove@|MAJOR=|MINOR=|DEVNAME=|DEVMODE=|SUBSYSTEM=)[a-z0-9/.]{0,9}", 0..9)) {
            if let Some(Change::Added(node) | Change::Removed(node)) = parse(fields.join("\0").as_bytes(), false) {
                prop_assert!(!node.name.split('/').any(|part| part.is_empty() || part == ".."));
            }
        }
    }
}
