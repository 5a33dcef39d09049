//! The file tree of a container, as a list of steps.
//!
//! Owns the steps and their order. /dev, /proc, /sys and /run are new file systems; nothing of the image is used for
//! them. The order matters: a writable exception in a read-only tree comes after that tree.

use nix::mount::MsFlags;

use super::cgroups::Layout;
use super::hardware::{self, Given};
use super::{devices, profiles, seed};
use crate::config::value::{BindOptions, HardwareAccess, NetworkMode};
use crate::config::{Config, Seeding};
use crate::host::Host;
use crate::mount::op::Operation;
use crate::rootfs::guest::{FirstProcess, Guest};

/// The socket for systemd's readiness notification in the container (sd_notify(3)).
pub const NOTIFY_SOCKET: &str = "/run/host/notify";

/// The location of /proc and /sys without masks, for container engines in the container.
const NESTING: &str = "/run/host/nesting";

/// Files in /proc that can harm the host or that reveal information about it, in any network mode.
const PROC_MASKED: [&str; 4] = ["/proc/kcore", "/proc/keys", "/proc/sched_debug", "/proc/timer_list"];
/// Such files on which programs block: the kernel log, which rsyslogd and klogd read.
const PROC_SILENT: [&str; 1] = ["/proc/kmsg"];
/// Read-only parts of /proc.
const PROC_READ_ONLY: [&str; 7] = [
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
    "/proc/latency_stats",
    "/proc/acpi",
];
/// Hidden parts of /sys: firmware and power states of the host.
const SYS_MASKED: [&str; 2] = ["/sys/firmware", "/sys/power"];

/// Flags of kernel file systems.
const INERT: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// All steps for a container that boots.
#[must_use]
pub fn operations(
    config: &Config,
    host: &Host,
    guest: &Guest,
    layout: Layout,
    (seeding, given): (&Seeding, &[Given]),
) -> Vec<Operation> {
    let own_network = config.network.mode != NetworkMode::Host;
    let mut list = base(config.security.privileged.nomask(), own_network);
    list.extend(hardware::operations(given));
    if config.hardware.access == HardwareAccess::Full {
        // If /sys is writable, systemd from 258 on assumes a physical machine and waits for terminals that do not
        // exist. Parts below it are writable.
        list.retain(
            |step| !matches!(step, Operation::Mask { target } if SYS_MASKED.contains(&target.as_str())),
        );
        list.push(Operation::Punch { target: "/sys".into() });
    }
    list.extend(cgroups(host, layout));
    list.push(Operation::mount("tmpfs", "/run", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=755"));
    list.extend(seed::operations(config, host, guest, seeding));
    list.extend(profiles::operations(config, guest.first == FirstProcess::Systemd));
    if config.security.nesting {
        list.extend(nesting());
    }
    list.push(Operation::Seal { target: "/sys".into() });
    list.extend(binds(config));
    list
}

/// Lets a user namespace in the container mount /proc and /sys: the kernel permits that only if both are mounted
/// somewhere without other mounts over them (mount_namespaces(7), "Restrictions on mount namespaces"). Only root can
/// reach them, and root could mount them anyway.
fn nesting() -> [Operation; 5] {
    let directory = |name: &str, mode| Operation::Directory { target: format!("{NESTING}{name}"), mode };
    let mount = |kind, name: &str| Operation::mount(kind, &format!("{NESTING}{name}"), INERT, "");
    [
        directory("", 0o700),
        directory("/proc", 0o700),
        mount("proc", "/proc"),
        directory("/sys", 0o700),
        mount("sysfs", "/sys"),
    ]
}

/// /proc, /sys and /dev of a container that boots.
#[must_use]
pub fn base(unmasked: bool, own_network: bool) -> Vec<Operation> {
    let mut list = kernel_file_systems(MsFlags::empty(), "mode=755,size=4m");
    list.extend(
        ["/dev/shm", "/dev/mqueue"].map(|target| Operation::Directory { target: target.into(), mode: 0o755 }),
    );
    let nosuid_nodev = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    list.push(Operation::mount("tmpfs", "/dev/shm", nosuid_nodev, "mode=1777"));
    list.push(Operation::Mount {
        kind: "mqueue",
        target: "/dev/mqueue".into(),
        flags: INERT,
        data: String::new(),
        required: false,
    });
    if !unmasked {
        list.extend(masks(own_network));
        list.extend(SYS_MASKED.map(|target| Operation::Mask { target: target.into() }));
    }
    list
}

/// All steps for a temporary container without an init system. Every mount takes time, so there are only the mounts
/// that programs need and those that protect the host from accidents. /sys is read-only as a whole, so it needs no
/// masks, and /dev/shm is a directory.
#[must_use]
pub fn shell(config: &Config) -> Vec<Operation> {
    let nosuid_nodev = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let mut list = kernel_file_systems(MsFlags::MS_RDONLY, "mode=755");
    list.push(Operation::Directory { target: "/dev/shm".into(), mode: 0o1777 });
    list.push(Operation::mount("tmpfs", "/run", nosuid_nodev, "mode=755"));
    list.push(Operation::mount("tmpfs", "/tmp", nosuid_nodev, "mode=1777"));
    if !config.security.privileged.nomask() {
        list.extend(masks(config.network.mode != NetworkMode::Host));
    }
    list.extend(binds(config));
    list
}

/// /proc, /sys, and a /dev with its devices and terminals.
fn kernel_file_systems(sys: MsFlags, dev: &str) -> Vec<Operation> {
    let nosuid_noexec = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let mut list = vec![
        Operation::mount("proc", "/proc", INERT, ""),
        Operation::mount("sysfs", "/sys", INERT | sys, ""),
        Operation::mount("tmpfs", "/dev", nosuid_noexec | MsFlags::MS_STRICTATIME, dev),
    ];
    list.extend(devices::operations());
    list.push(Operation::Directory { target: "/dev/pts".into(), mode: 0o755 });
    let devpts = "newinstance,ptmxmode=0666,mode=0620,gid=5";
    list.push(Operation::mount("devpts", "/dev/pts", nosuid_noexec, devpts));
    list
}

fn masks(own_network: bool) -> impl Iterator<Item = Operation> {
    let read_only = PROC_READ_ONLY.map(|target| Operation::ReadOnly { target: target.into() });
    // A network namespace has its own /proc/sys/net; that of the host is protected.
    let hole = own_network.then(|| Operation::Writable { target: "/proc/sys/net".into() });
    let masked = PROC_MASKED.map(|target| Operation::Mask { target: target.into() });
    let silent = PROC_SILENT.map(|target| Operation::Silence { target: target.into() });
    read_only.into_iter().chain(hole).chain(masked).chain(silent)
}

fn cgroups(host: &Host, layout: Layout) -> Vec<Operation> {
    const DIRECTORY: &str = "/sys/fs/cgroup";
    match layout {
        Layout::None => Vec::new(),
        Layout::Version2 => vec![Operation::mount("cgroup2", DIRECTORY, INERT, "")],
        Layout::Version1 => {
            let mut list = vec![Operation::mount("tmpfs", DIRECTORY, INERT, "mode=755,size=1m")];
            for hierarchy in &host.cgroups.version1 {
                let label = hierarchy.label();
                let target = format!("{DIRECTORY}/{label}");
                list.push(Operation::Directory { target: target.clone(), mode: 0o755 });
                let mut data = match &hierarchy.name {
                    Some(name) => format!("none,name={name}"),
                    None => label.clone(),
                };
                if hierarchy.noprefix {
                    data.push_str(",noprefix");
                }
                list.push(Operation::Mount { kind: "cgroup", target, flags: INERT, data, required: false });
                // Programs look for each controller under its own name.
                if hierarchy.controllers.len() > 1 {
                    list.extend(hierarchy.controllers.iter().map(|controller| Operation::Symlink {
                        target: format!("{DIRECTORY}/{controller}"),
                        to: label.clone(),
                    }));
                }
            }
            if !host.cgroups.version1.iter().any(|hierarchy| hierarchy.name.as_deref() == Some("systemd")) {
                let target = format!("{DIRECTORY}/systemd");
                list.push(Operation::Directory { target: target.clone(), mode: 0o755 });
                let data = "none,name=systemd".into();
                list.push(Operation::Mount { kind: "cgroup", target, flags: INERT, data, required: false });
            }
            list.push(Operation::Seal { target: DIRECTORY.into() });
            list
        }
    }
}

/// The mounts of the configuration.
fn binds(config: &Config) -> Vec<Operation> {
    let binds = config.mounts.bind.iter().map(|bind| Operation::Bind {
        source: bind.source.as_str().to_owned(),
        target: bind.target.as_str().to_owned(),
        flags: flags(bind.options),
        required: false,
    });
    let memory = config.mounts.tmpfs.iter().map(|tmpfs| {
        let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        flags.set(MsFlags::MS_NOEXEC, tmpfs.noexec);
        let size = tmpfs.size.map(|size| format!(",size={}", size.bytes())).unwrap_or_default();
        let data = format!("mode={:o}{size}", tmpfs.mode);
        Operation::Memory { target: tmpfs.target.as_str().to_owned(), flags, data }
    });
    let mut list: Vec<Operation> = binds.chain(memory).collect();
    // Parents before their children.
    list.sort_by_key(|operation| match operation {
        Operation::Bind { target, .. } | Operation::Memory { target, .. } => target.clone(),
        _ => String::new(),
    });
    list
}

fn flags(options: BindOptions) -> MsFlags {
    [
        (options.read_only, MsFlags::MS_RDONLY),
        (options.nosuid, MsFlags::MS_NOSUID),
        (options.nodev, MsFlags::MS_NODEV),
        (options.noexec, MsFlags::MS_NOEXEC),
    ]
    .into_iter()
    .filter(|(is_set, _)| *is_set)
    .fold(MsFlags::empty(), |flags, (_, flag)| flags | flag)
}
