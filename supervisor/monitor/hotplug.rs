//! Devices that appear and disappear while a container runs: their nodes in its /dev, and its device policy.
//!
//! Owns the kernel's socket for device events, for a container with devices of the host; does nothing without an event.
//! The nodes are in the /dev that ds created for the container. If root in the container has mounted another file
//! system there, such as the devtmpfs of the host, it is not changed.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, SFlag, fstat, fstatat, makedev, mknodat, umask};
use nix::unistd::{Gid, Pid, UnlinkatFlags, fchownat, unlinkat};

use super::part::{Part, Ready};
use crate::call;
use crate::cgroup::Cgroup;
use crate::config::Config;
use crate::host::Host;
use crate::host::devices::{Change, Uevents, scan};
use crate::mount::op::DeviceKind;
use crate::plan::Plan;
use crate::plan::devices::Policy;
use crate::plan::hardware::{Given, is_wanted};
use crate::poll::PollSet;
use crate::rootfs::deadline::within;
use crate::rootfs::root::{Root, file_type};

/// The timeout for changes of a /dev.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Receives device events.
#[derive(Debug)]
pub(super) struct Hotplug {
    uevents: Uevents,
    /// The device number of the file system that ds mounted on /dev.
    dev: Option<libc::dev_t>,
}

impl Hotplug {
    /// Begins to listen before /dev is inspected, so that no event is missed; `None` for a container without devices of
    /// the host.
    pub(super) fn begin(config: &Config, host: &Host) -> Option<Self> {
        if !is_wanted(config) {
            return None;
        }
        let uevents = Uevents::listen(host.android)
            .map_err(|error| {
                log::warn!("{}: devices that are plugged in later will not appear: {error:#}", config.name);
            })
            .ok()?;
        Some(Self { uevents, dev: None })
    }

    /// A boot has completed: records its /dev.
    pub(super) fn booted(&mut self, init: Pid) {
        self.dev = dev_of(init).and_then(|dev| Ok(fstat(&dev)?.st_dev)).ok();
    }

    /// Devices may have appeared or disappeared: updates the policy, and then the nodes. Returns whether something has
    /// changed.
    ///
    /// # Errors
    /// If the policy or the container's /dev cannot be changed.
    pub(super) fn follow(
        &self,
        config: &Config,
        plan: &mut Plan,
        cgroup: &mut Cgroup,
        init: Option<Pid>,
    ) -> Result<bool> {
        let given = match self.uevents.take() {
            Some(changes) => after(plan, changes),
            None => scan().iter().filter_map(|node| plan.selection.give(node)).collect(),
        };
        if given == plan.given {
            return Ok(false);
        }
        let policy = Policy::new(config, given.iter().map(|device| device.rule));
        if policy != plan.devices {
            cgroup.change_devices(&plan.devices, &policy)?;
            plan.devices = policy;
        }
        let (added, removed) = (missing(&given, &plan.given), missing(&plan.given, &given));
        plan.given = given;
        let name = &config.name;
        for device in &removed {
            log::info!("{name}: /dev/{} has disappeared", device.name);
        }
        for device in &added {
            log::info!("{name}: /dev/{} has appeared ({})", device.name, device.rule);
        }
        if let (Some(init), Some(expected)) = (init, self.dev) {
            for line in change(init, expected, &added, &removed)?.lines() {
                log::warn!("{name}: {line}");
            }
        }
        Ok(true)
    }
}

impl Part for Hotplug {
    fn watch<'a>(&'a self, set: &mut PollSet<'a, Ready>) {
        set.input(Ready::Devices, self.uevents.fd());
    }
}

/// The nodes of `other` that are missing in `given`.
fn missing(given: &[Given], other: &[Given]) -> Vec<Given> {
    given.iter().filter(|device| !other.contains(device)).cloned().collect()
}

/// Changes the nodes in the /dev of a container; a line for each that cannot be changed.
fn change(init: Pid, expected: libc::dev_t, added: &[Given], removed: &[Given]) -> Result<String> {
    let faults = within(TIMEOUT, || {
        umask(Mode::empty());
        let dev = dev_of(init)?;
        ensure_same(&dev, expected)?;
        let dev = Root::new(dev);
        let removals = removed.iter().map(|device| (device, remove(&dev, device, expected)));
        let additions = added.iter().map(|device| (device, add(&dev, device, expected)));
        let faults: Vec<String> = removals
            .chain(additions)
            .filter_map(|(device, done)| Some(format!("/dev/{}: {:#}", device.name, done.err()?)))
            .collect();
        Ok(faults.join("\n").into_bytes())
    })?;
    Ok(String::from_utf8_lossy(&faults).into_owned())
}

/// The devices of the container after these changes.
fn after(plan: &Plan, changes: Vec<Change>) -> Vec<Given> {
    let mut given = plan.given.clone();
    for change in changes {
        match change {
            Change::Added(node) => {
                if let Some(device) = plan.selection.give(&node) {
                    given.retain(|earlier| earlier.name != device.name);
                    given.push(device);
                }
            }
            Change::Removed(node) => {
                let number = (node.major, node.minor);
                given.retain(|device| {
                    device.name != node.name || device.rule.kind != node.kind || device.number != number
                });
            }
        }
    }
    // As after an inspection of /dev.
    given.sort_by(|a, b| a.name.cmp(&b.name));
    given
}

fn dev_of(init: Pid) -> Result<OwnedFd> {
    Root::open(Path::new(&format!("/proc/{init}/root/")))?.real_directory("dev")
}

fn ensure_same(directory: &OwnedFd, expected: libc::dev_t) -> Result<()> {
    if call!(fstat(directory), "fstat")?.st_dev != expected {
        bail!("another file system has been mounted there in the container");
    }
    Ok(())
}

/// The directory of a node, and its name in it.
fn place<'a>(dev: &Root, device: &'a Given, expected: libc::dev_t) -> Result<(OwnedFd, &'a str)> {
    let (parent, name) = device.name.rsplit_once('/').unwrap_or(("", &device.name));
    let parent = dev.make_directories(Path::new(&format!("/{parent}")))?;
    ensure_same(&parent, expected)?;
    Ok((parent, name))
}

fn kind_and_number(device: &Given) -> (SFlag, libc::dev_t) {
    let kind = match device.rule.kind {
        DeviceKind::Character => SFlag::S_IFCHR,
        DeviceKind::Block => SFlag::S_IFBLK,
    };
    (kind, makedev(u64::from(device.number.0), u64::from(device.number.1)))
}

/// Whether the node at a path is that of the device; `None` if it does not exist.
fn is_there(parent: &OwnedFd, name: &str, device: &Given) -> Result<Option<bool>> {
    match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(status) => Ok(Some((file_type(&status), status.st_rdev) == kind_and_number(device))),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno).context("fstatat"),
    }
}

fn add(dev: &Root, device: &Given, expected: libc::dev_t) -> Result<()> {
    let (parent, name) = place(dev, device, expected)?;
    match is_there(&parent, name, device)? {
        Some(true) => return Ok(()),
        Some(false) => bail!("the container has another file of that name"),
        None => {}
    }
    let (kind, number) = kind_and_number(device);
    call!(mknodat(&parent, name, kind, Mode::from_bits_truncate(device.mode), number), "mknod")?;
    let (flags, group) = (AtFlags::AT_SYMLINK_NOFOLLOW, Some(Gid::from_raw(device.group)));
    Ok(call!(fchownat(&parent, name, None, group, flags), "chown")?)
}

fn remove(dev: &Root, device: &Given, expected: libc::dev_t) -> Result<()> {
    let (parent, name) = place(dev, device, expected)?;
    if is_there(&parent, name, device)? == Some(true) {
        call!(unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir), "unlink")?;
    }
    Ok(())
}
