//! The hardware of a container: its devices of the host and their permissions.
//!
//! Owns the decision, which determines the nodes in /dev, the rules of the device policy, and the reaction to devices
//! that appear or disappear while the container runs. [`kinds`] has the names of each kind.

mod gpu;
pub mod kinds;
mod row;

use std::collections::BTreeMap;

use super::devices::{Access, Rule, is_own};
use crate::config::Config;
use crate::config::value::{DeviceKind as Kind, DevicePattern, DeviceRequest, HardwareAccess, Selector};
use crate::host::devices::Node;
use crate::mount::op::{DeviceKind, Operation};

/// Facts about the host and the tree that a plan depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The devices of the host now; empty for a container without devices of the host.
    pub nodes: Vec<Node>,
    /// The groups in the container's tree, with their numbers.
    pub groups: BTreeMap<String, u32>,
    /// Devices that `mounts.bind` binds, with the path on the host as name.
    pub bound: Vec<Node>,
}

/// Selects the devices of a container, whenever they exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    requests: Vec<DeviceRequest>,
    everything: bool,
    groups: BTreeMap<String, u32>,
}

/// A device of the host in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Its path below /dev.
    pub name: String,
    /// Permission bits of the node.
    pub mode: u32,
    /// Group of the node, by its number in the container.
    pub group: u32,
    /// The operations that the device policy permits.
    pub rule: Rule,
    /// Its numbers.
    pub number: (u32, u32),
}

/// Whether a container has any devices in addition to the standard ones.
#[must_use]
pub fn is_wanted(config: &Config) -> bool {
    !requests(config).is_empty() || config.hardware.access == HardwareAccess::Full
}

fn requests(config: &Config) -> Vec<DeviceRequest> {
    let gpu = DeviceRequest { selector: Selector::Kind(Kind::Gpu), read_only: false };
    let gpu = (config.hardware.access == HardwareAccess::Gpu).then_some(gpu);
    config.hardware.devices.iter().cloned().chain(gpu).collect()
}

impl Selection {
    /// The selection of a configuration. `groups` are those of the tree.
    #[must_use]
    pub fn new(config: &Config, groups: &BTreeMap<String, u32>) -> Self {
        let everything = config.hardware.access == HardwareAccess::Full;
        Self { requests: requests(config), everything, groups: groups.clone() }
    }

    /// Whether it never selects a device.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && !self.everything
    }

    /// The device in the container; `None` if it is not selected, or if every container has it.
    #[must_use]
    pub fn give(&self, node: &Node) -> Option<Given> {
        if is_own(&node.name) {
            return None;
        }
        let mut meant = self.requests.iter().filter(|request| selects(&request.selector, node)).peekable();
        if meant.peek().is_none() && !self.everything {
            return None;
        }
        let read_only = !self.everything && meant.all(|request| request.read_only);
        let row = kinds::row_of(&node.name);
        let group = row.and_then(|row| row.groups.iter().find_map(|group| self.groups.get(*group)));
        let mode = row.map_or(node.mode & 0o666, |row| row.mode);
        Some(Given {
            name: node.name.clone(),
            mode: if read_only { mode & 0o444 } else { mode },
            group: group.copied().unwrap_or(0),
            rule: Rule {
                kind: node.kind,
                major: Some(node.major),
                minor: Some(node.minor),
                access: if read_only { Access::READ_ONLY } else { Access::ALL },
            },
            number: (node.major, node.minor),
        })
    }

    /// The requests without a device on the host now, except patterns, which wait for devices.
    fn unanswered<'a>(&'a self, nodes: &'a [Node]) -> impl Iterator<Item = &'a DeviceRequest> {
        self.requests.iter().filter(move |request| {
            let waits = matches!(&request.selector, Selector::Name(pattern) if is_wild(pattern));
            !waits && !nodes.iter().any(|node| selects(&request.selector, node))
        })
    }

    /// The requests as text, for a plan.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let everything = self.everything.then(|| "/dev/*".to_owned());
        self.requests.iter().map(ToString::to_string).chain(everything)
    }
}

fn is_wild(pattern: &DevicePattern) -> bool {
    pattern.as_str().contains(['*', '?'])
}

fn selects(selector: &Selector, node: &Node) -> bool {
    match selector {
        Selector::Kind(kind) => kinds::rows(*kind).iter().any(|row| row.names(&node.name)),
        Selector::Name(pattern) => pattern.matches(&node.name),
    }
}

/// Steps that create the nodes, after those that create /dev.
#[must_use]
pub fn operations(given: &[Given]) -> Vec<Operation> {
    let mut list: Vec<Operation> = Vec::new();
    for device in given {
        for (at, _) in device.name.match_indices('/') {
            let directory =
                Operation::Directory { target: format!("/dev/{}", &device.name[..at]), mode: 0o755 };
            if !list.contains(&directory) {
                list.push(directory);
            }
        }
        list.push(Operation::Device {
            target: format!("/dev/{}", device.name),
            kind: device.rule.kind,
            major: device.number.0,
            minor: device.number.1,
            mode: device.mode,
            group: device.group,
        });
    }
    list
}

/// Warnings about the devices, one line each.
#[must_use]
pub fn warnings(config: &Config, selection: &Selection, nodes: &[Node], given: &[Given]) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    for request in selection.unanswered(nodes) {
        let gpu = request.selector == Selector::Kind(Kind::Gpu);
        list.push(if gpu && config.hardware.access == HardwareAccess::Gpu {
            "hardware.access = gpu: the host has no device of a graphics processor that ds knows; \
             name it in hardware.devices"
                .to_owned()
        } else {
            format!("hardware.devices: the host has no {request} now; it appears in the container when it is added")
        });
    }
    let disks: Vec<String> = given
        .iter()
        .filter(|device| !selection.everything && is_disk(device))
        .map(|device| format!("/dev/{}", device.name))
        .collect();
    if !disks.is_empty() {
        let disks = disks.join(", ");
        list.push(format!("hardware.devices: root in the container can destroy all data on {disks}"));
    }
    list
}

/// Whether it may contain data of the host.
fn is_disk(device: &Given) -> bool {
    let memory = ["loop", "ram", "zram", "nullb"].iter().any(|prefix| device.name.starts_with(prefix));
    device.rule.kind == DeviceKind::Block && device.rule.access == Access::ALL && !memory
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, major: u32, minor: u32) -> Node {
        let kind = if name.starts_with("sd") { DeviceKind::Block } else { DeviceKind::Character };
        Node { name: name.into(), kind, major, minor, mode: 0o640 }
    }

    fn config(set: &[(&str, &str)]) -> Config {
        let name = "web".parse().unwrap();
        Config::transient(&name, &[&[("rootfs", "/srv/web")], set].concat()).unwrap()
    }

    fn select(set: &[(&str, &str)]) -> Selection {
        let groups = [("render", 105), ("video", 44), ("dialout", 20)];
        Selection::new(&config(set), &groups.map(|(name, id)| (name.to_owned(), id)).into())
    }

    #[test]
    fn requests_select_devices_with_modes_and_groups_of_the_table() {
        let selection = select(&[("hardware.devices", "/dev/ttyUSB*,/dev/sda:r,gpu,/dev/bus/usb")]);
        let given = |name, major, minor| selection.give(&node(name, major, minor));
        let serial = given("ttyUSB3", 188, 3).unwrap();
        assert_eq!((serial.mode, serial.group), (0o660, 20));
        assert_eq!(serial.rule.to_string(), "c 188:3 rwm");
        let disk = given("sda", 8, 0).unwrap();
        assert_eq!((disk.mode, disk.group), (0o440, 0));
        assert_eq!(disk.rule.to_string(), "b 8:0 rm");
        let render = given("dri/renderD128", 226, 128).unwrap();
        assert_eq!((render.mode, render.group), (0o666, 105), "an ordinary user can use it");
        assert!(given("dri/card0", 226, 0).is_none(), "no screen");
        assert!(given("bus/usb/001/002", 189, 1).is_some());
        assert!(given("kvm", 10, 232).is_none());
    }

    #[test]
    fn what_a_container_has_anyway_is_never_replaced() {
        let selection = select(&[("hardware.access", "full")]);
        for name in ["null", "console", "ptmx", "pts/0", "shm/x", "tty", "fd", "net/tun"] {
            assert!(selection.give(&node(name, 1, 3)).is_none(), "{name}");
        }
        let disk = selection.give(&node("sda", 8, 0)).unwrap();
        assert_eq!(disk.rule.to_string(), "b 8:0 rwm");
        assert!(selection.give(&node("tty1", 4, 1)).is_some());
    }

    #[test]
    fn one_request_to_write_is_enough() {
        let selection = select(&[("hardware.devices", "/dev/ttyUSB*:r,/dev/ttyUSB0")]);
        assert_eq!(selection.give(&node("ttyUSB0", 188, 0)).unwrap().rule.access, Access::ALL);
        assert_eq!(selection.give(&node("ttyUSB1", 188, 1)).unwrap().rule.access, Access::READ_ONLY);
    }

    #[test]
    fn directories_come_before_nodes() {
        let selection = select(&[("hardware.devices", "usb")]);
        let nodes = [node("bus/usb/001/001", 189, 0), node("bus/usb/001/002", 189, 1)];
        let given: Vec<Given> = nodes.iter().filter_map(|node| selection.give(node)).collect();
        let lines: Vec<String> = operations(&given).iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[0], "none /dev/bus directory mode=0755");
        assert_eq!(lines[3], "none /dev/bus/usb/001/001 device c=189:0,mode=0664");
    }

    #[test]
    fn missing_and_dangerous_devices_cause_warnings() {
        let config = config(&[("hardware.access", "gpu"), ("hardware.devices", "kvm,/dev/sd?,/dev/x*")]);
        let selection = Selection::new(&config, &BTreeMap::new());
        let nodes = [node("sda", 8, 0)];
        let given: Vec<Given> = nodes.iter().filter_map(|node| selection.give(node)).collect();
        let said = warnings(&config, &selection, &nodes, &given).join("\n");
        for part in ["no kvm now", "hardware.access = gpu", "destroy all data on /dev/sda"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("/dev/x*"), "a pattern waits: {said}");
    }
}
