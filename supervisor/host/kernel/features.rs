//! The table of features, from which `UPDATE_DOCS=1 cargo test` generates docs/kernel-features.md.
//!
//! Versions are from the man pages and the kernel's history, options from its Kconfig files.

use std::path::Path;

use nix::unistd::geteuid;

use super::feature::{Feature, Ground};
use super::{link, trial};
use crate::host::namespace::NEW_TIME;
use crate::host::notification::answers_calls;
use crate::tool::Tool;

/// A required feature.
const fn required(
    name: &'static str,
    since: &'static str,
    option: &'static str,
    purpose: &'static str,
    without: &'static str,
    probe: fn(&Ground<'_>) -> bool,
) -> Feature {
    Feature { name, required: true, since, option, purpose, without, probe }
}

/// A feature with a fallback.
const fn optional(
    name: &'static str,
    since: &'static str,
    option: &'static str,
    purpose: &'static str,
    without: &'static str,
    probe: fn(&Ground<'_>) -> bool,
) -> Feature {
    Feature { name, required: false, since, option, purpose, without, probe }
}

/// All features, the required ones first.
pub const FEATURES: &[Feature] = &[
    required("root", "", "", "mounts, namespaces and devices", "nothing works; use su or sudo", |_| {
        geteuid().is_root()
    }),
    required(
        "mount namespaces",
        "2.4.19",
        "CONFIG_NAMESPACES",
        "a separate file tree for each container",
        "no container starts",
        |ground| ground.host.namespaces.has(libc::CLONE_NEWNS),
    ),
    required(
        "PID namespaces",
        "2.6.24",
        "CONFIG_PID_NS",
        "an init system as PID 1",
        "with system call notification, the monitor answers in its place; else 'ds start' fails and 'ds shell' works",
        |ground| ground.host.namespaces.has(libc::CLONE_NEWPID),
    ),
    required("proc", "1.0", "CONFIG_PROC_FS", "/proc", "no container starts", |_| trial::mounts("proc", "")),
    required("sysfs", "2.6.0", "CONFIG_SYSFS", "/sys", "no container starts", |_| trial::mounts("sysfs", "")),
    required("tmpfs", "2.4.0", "CONFIG_TMPFS", "/dev, /run and /dev/shm", "no container starts", |_| {
        trial::mounts("tmpfs", "mode=755")
    }),
    required(
        "devpts instances",
        "2.6.29",
        "CONFIG_UNIX98_PTYS",
        "separate terminals for each container",
        "no container starts (before 4.7: CONFIG_DEVPTS_MULTIPLE_INSTANCES)",
        |_| trial::mounts("devpts", "newinstance,ptmxmode=0666"),
    ),
    required(
        "system call filters",
        "3.5",
        "CONFIG_SECCOMP CONFIG_SECCOMP_FILTER",
        "blocking system calls that would harm the machine",
        "starts only with security.privileged = noseccomp",
        |_| trial::filter(),
    ),
    optional(
        "UTS namespaces",
        "2.6.19",
        "CONFIG_UTS_NS",
        "a separate host name for each container",
        "a warning; the container shares the host's name",
        |ground| ground.host.namespaces.has(libc::CLONE_NEWUTS),
    ),
    optional(
        "system call notification",
        "5.5",
        "CONFIG_SECCOMP_FILTER",
        "containers on kernels without PID namespaces",
        "nothing where there are PID namespaces",
        |_| answers_calls(),
    ),
    optional(
        "IPC namespaces",
        "2.6.19",
        "CONFIG_IPC_NS",
        "separate System V IPC and message queues",
        "nothing without CONFIG_SYSVIPC and CONFIG_POSIX_MQUEUE, else a warning; the container shares the host's",
        |ground| ground.host.namespaces.has(libc::CLONE_NEWIPC),
    ),
    optional(
        "cgroup namespaces",
        "4.6",
        "CONFIG_CGROUPS",
        "hiding the host's control groups",
        "a warning; the container sees the names of the host's groups",
        |ground| ground.host.namespaces.has(libc::CLONE_NEWCGROUP),
    ),
    optional(
        "network namespaces",
        "2.6.29",
        "CONFIG_NET_NS",
        "network.mode = none, nat and gateway",
        "only network.mode = host",
        |ground| ground.host.namespaces.has(libc::CLONE_NEWNET),
    ),
    optional(
        "time namespaces",
        "5.6",
        "CONFIG_TIME_NS",
        "uptime and monotonic clocks that begin with the container",
        "the container has those of the host",
        |ground| ground.host.namespaces.has(NEW_TIME),
    ),
    optional(
        "user namespaces",
        "3.8",
        "CONFIG_USER_NS",
        "PrivateUsers= of services, sandboxes of browsers and Flatpak inside",
        "services run without it; browsers and Flatpak do not work",
        |ground| ground.host.namespaces.has(libc::CLONE_NEWUSER),
    ),
    optional(
        "pivot_root",
        "2.3.41",
        "",
        "leaving the host's file tree",
        "on an initramfs: MS_MOVE and chroot, which root in the container can undo",
        |_| trial::pivot(),
    ),
    optional(
        "cgroup v2",
        "4.5",
        "CONFIG_CGROUPS",
        "systemd; required by version 258 and later",
        "cgroup v1, else no control groups",
        |ground| ground.host.cgroups.version2.is_some(),
    ),
    optional("cgroup v1", "2.6.24", "CONFIG_CGROUPS", "systemd before 233", "cgroup v2", |ground| {
        !ground.host.cgroups.version1.is_empty()
    }),
    optional(
        "cpu controller",
        "2.6.24",
        "CONFIG_CGROUP_SCHED CONFIG_FAIR_GROUP_SCHED CONFIG_CFS_BANDWIDTH",
        "limits.cpus",
        "a warning; the limit has no effect",
        |ground| ground.has_controller("cpu"),
    ),
    optional(
        "memory controller",
        "2.6.25",
        "CONFIG_MEMCG",
        "limits.memory",
        "a warning; the limit has no effect",
        |ground| ground.has_controller("memory"),
    ),
    optional(
        "pids controller",
        "4.3",
        "CONFIG_CGROUP_PIDS",
        "limits.pids",
        "a warning; the limit has no effect",
        |ground| ground.has_controller("pids"),
    ),
    optional(
        "device programs",
        "4.15",
        "CONFIG_CGROUP_BPF",
        "restricting the devices that a container can open, on cgroup v2",
        "the devices controller",
        |ground| ground.host.cgroups.version2.is_some() && trial::device_program(),
    ),
    optional(
        "devices controller",
        "2.6.26",
        "CONFIG_CGROUP_DEVICE",
        "the same, on cgroup v1",
        "device programs; without both, mknod is refused, and root inside has other ways to the host's devices",
        |ground| ground.host.cgroups.version1_with("devices").is_some(),
    ),
    optional(
        "cgroup.kill",
        "5.14",
        "CONFIG_CGROUPS",
        "killing all processes of a container at once",
        "they are killed one by one",
        |ground| trial::group_kill(ground.host),
    ),
    optional(
        "clone3 into a cgroup",
        "5.7",
        "CONFIG_CGROUPS",
        "creating processes directly in their group",
        "clone; the process joins its group first",
        |ground| trial::into_group(ground.host),
    ),
    optional(
        "message queues",
        "2.6.6",
        "CONFIG_POSIX_MQUEUE",
        "/dev/mqueue",
        "a warning; the container has none",
        |_| trial::mounts("mqueue", ""),
    ),
    optional(
        "System V IPC",
        "1.0",
        "CONFIG_SYSVIPC",
        "databases such as PostgreSQL",
        "they do not start",
        |_| Path::new("/proc/sysvipc").is_dir(),
    ),
    optional(
        "overlayfs",
        "3.18",
        "CONFIG_OVERLAY_FS",
        "volatile = yes",
        "no volatile containers",
        |ground| ground.has_filesystem("overlay") && trial::overlay(),
    ),
    optional("loop devices", "2.4", "CONFIG_BLK_DEV_LOOP", "images", "directories only", |ground| {
        ground.has_device("loop-control", "loop")
    }),
    optional("ext4", "2.6.28", "CONFIG_EXT4_FS", "images made by ds", "directories only", |ground| {
        ground.has_filesystem("ext4")
    }),
    optional(
        "e2fsck",
        "",
        "",
        "checking images before they are mounted",
        "a warning; they are not checked",
        |_| Tool::find("e2fsck").is_some(),
    ),
    optional("mke2fs", "", "", "creating images", "only existing images", |_| Tool::find("mke2fs").is_some()),
    optional("erofs", "5.4", "CONFIG_EROFS_FS", "images of this kind", "not mounted", |ground| {
        ground.has_filesystem("erofs")
    }),
    optional("squashfs", "2.6.29", "CONFIG_SQUASHFS", "images of this kind", "not mounted", |ground| {
        ground.has_filesystem("squashfs")
    }),
    optional("btrfs", "2.6.29", "CONFIG_BTRFS_FS", "images of this kind", "not mounted", |ground| {
        ground.has_filesystem("btrfs")
    }),
    optional(
        "FUSE",
        "2.6.14",
        "CONFIG_FUSE_FS",
        "sshfs, AppImages and the like inside",
        "they do not work",
        |ground| ground.has_device("fuse", "fuse"),
    ),
    optional("TUN", "2.4", "CONFIG_TUN", "virtual private networks inside", "they do not work", |ground| {
        ground.has_device("tun", "tun")
    }),
    optional("veth", "2.6.24", "CONFIG_VETH", "network.mode = nat and gateway", "only host and none", |_| {
        trial::network(|| link::create("veth"))
    }),
    optional(
        "bridge",
        "2.4",
        "CONFIG_BRIDGE",
        "network.mode = nat",
        "a routed link for each container",
        |_| trial::network(|| link::create("bridge")),
    ),
    optional(
        "routing rules",
        "2.2",
        "CONFIG_IP_MULTIPLE_TABLES CONFIG_IPV6_MULTIPLE_TABLES",
        "network.uplink, and nat on Android",
        "the main table alone",
        |_| trial::network(link::rules),
    ),
    optional(
        "nftables",
        "3.13",
        "CONFIG_NF_TABLES CONFIG_NFT_MASQ CONFIG_NF_NAT",
        "network.mode = nat",
        "iptables",
        |_| trial::network(link::nftables),
    ),
    optional(
        "iptables",
        "2.4",
        "CONFIG_IP_NF_IPTABLES CONFIG_IP_NF_NAT CONFIG_NETFILTER_XT_TARGET_MASQUERADE",
        "network.mode = nat",
        "nftables",
        |ground| {
            link::iptables() || ground.has_module("xt_MASQUERADE") || ground.has_module("ipt_MASQUERADE")
        },
    ),
    optional(
        "IPv6 address translation",
        "3.7",
        "CONFIG_IP6_NF_NAT",
        "IPv6 with network.mode = nat",
        "a warning; only IPv4",
        |ground| trial::network(link::nftables) || ground.has_module("ip6table_nat"),
    ),
    optional(
        "openat2",
        "5.6",
        "",
        "resolving paths in an untrusted root file system",
        "resolution one component at a time",
        |_| trial::confined_open(),
    ),
    optional(
        "pidfd_open",
        "5.3",
        "",
        "unambiguous references to processes",
        "process id and start time",
        |_| trial::pidfd(),
    ),
    optional(
        "setns with a pidfd",
        "5.8",
        "",
        "joining all namespaces in one call",
        "one after the other, through /proc/PID/ns",
        |_| trial::joins_by_pidfd(),
    ),
    optional(
        "close_range",
        "5.11",
        "",
        "keeping the descriptors of ds out of containers",
        "a walk over /proc/self/fd",
        |_| trial::close_range(),
    ),
    optional(
        "mount_setattr",
        "5.12",
        "",
        "read-only bind mounts including their submounts",
        "one mount at a time, then verification",
        |_| trial::mount_attributes(),
    ),
    optional(
        "executable memfd",
        "3.17",
        "CONFIG_MEMFD_CREATE",
        "a copy of ds that no container can change, where the data directory takes none",
        "an unlinked copy in the run directory",
        |_| trial::sealed_program(),
    ),
    optional(
        "TIOCGPTPEER",
        "4.13",
        "",
        "opening a terminal without its path",
        "by its path, then verification",
        |_| trial::terminal_peer(),
    ),
];
