//! What a container's configuration says, as types: one struct for each section of container.ini.
//!
//! Owns the structs; `container` reads them from a file, and `edit` writes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::value::{
    Bind, CgroupLayout, ContainerPath, Cpus, DeadlockShield, DeviceRequest, DisplayProfile, EnvironmentName,
    Fsck, GlProfile, HardwareAccess, HostPath, Hostname, ImageLabel, Name, NameServers, NetworkMode,
    PidNamespace, PortList, Priority, Privileged, RestartPolicy, Seconds, Seed, Size, SoundProfile,
    StartAfter, Tmpfs, Uplink, UserNamespaces, Uuid, VpnPolicy, WakelockPolicy,
};

/// One container as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The container's name; the name of its directory, not a key of the file.
    pub name: Name,
    /// Section `container`.
    pub container: Container,
    /// Section `mounts`.
    pub mounts: Mounts,
    /// Section `network`.
    pub network: Network,
    /// Section `hardware`.
    pub hardware: Hardware,
    /// Section `security`.
    pub security: Security,
    /// Section `android`: what of the phone it takes part in; without a meaning elsewhere.
    pub android: Android,
    /// Section `limits`.
    pub limits: Limits,
    /// Section `environment`: variables of the container's init and of every session; values have no control characters.
    pub environment: BTreeMap<EnvironmentName, String>,
}

/// What the container is and how its life goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its host name, if one is configured; [`Config::hostname`] is the one to use.
    pub hostname: Option<Hostname>,
    /// Where its root file system comes from.
    pub root: RootSource,
    /// Whether every change is kept in memory and lost at the stop.
    pub volatile: bool,
    /// How much memory those changes may take; half of the machine's when `None`.
    pub volatile_size: Option<Size>,
    /// When an image is checked before it is mounted.
    pub fsck: Fsck,
    /// The partition that holds the root file system, when the image is that of a disk.
    pub image_partition: Option<u32>,
    /// The SELinux label that an image gets before it is used.
    pub image_label: ImageLabel,
    /// Whether the supervisor starts it when it starts itself.
    pub autostart: bool,
    /// What that waits for.
    pub start_after: StartAfter,
    /// Its place among those.
    pub priority: Priority,
    /// Whether it is started again when it ended by itself.
    pub restart: RestartPolicy,
    /// The program that becomes PID 1.
    pub init: ContainerPath,
    /// How long a clean shutdown may take before PID 1 is killed.
    pub stop_timeout: Seconds,
    /// Which cgroup hierarchies it sees.
    pub cgroup: CgroupLayout,
    /// Whether it boots on a kernel without PID namespaces.
    pub pid_namespace: PidNamespace,
    /// Its identity, the same for life.
    pub uuid: Uuid,
    /// What is put into its root file system and its /run, so that the distribution is at home.
    pub seed: Seed,
    /// The `oom_score_adj` of its processes, −1000 to 1000 (proc_pid_oom_score_adj(5)).
    pub oom_score: i32,
}

/// Where a root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootSource {
    /// A directory of the host.
    Directory(HostPath),
    /// A file system image, or a block device.
    Image(HostPath),
}

/// What else of the host appears in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounts {
    /// Bind mounts in the order written: at most 16, no two with the same target.
    pub bind: Vec<Bind>,
    /// Memory file systems: at most 16, on targets that no bind mount has.
    pub tmpfs: Vec<Tmpfs>,
}

/// The container's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// What kind it is.
    pub mode: NetworkMode,
    /// The container's name servers.
    pub dns: NameServers,
    /// The address that it gets; any when `None`.
    pub address: Option<Ipv4Addr>,
    /// The network that it is in, if it has one of its own.
    pub name: Name,
    /// It and other containers of its network do not reach each other.
    pub isolated: bool,
    /// What is published on the host.
    pub ports: PortList,
    /// May reach services of the host.
    pub host_access: bool,
    /// Its way out of the machine.
    pub uplink: Uplink,
    /// What it does about virtual private networks.
    pub vpn: VpnPolicy,
}

/// The hardware the container sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hardware {
    /// How much of it.
    pub access: HardwareAccess,
    /// Devices by kind or name.
    pub devices: Vec<DeviceRequest>,
    /// The user knows what full access can do.
    pub acknowledged: bool,
    /// Whose display its programs use.
    pub display: DisplayProfile,
    /// Whose sound its programs use.
    pub sound: SoundProfile,
    /// Who renders for its programs.
    pub gl: GlProfile,
}

/// What protects the host from the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Security {
    /// The protections it goes without.
    pub privileged: Privileged,
    /// Whether container engines work inside.
    pub nesting: bool,
    /// Whether processes inside may create user namespaces (browsers, Flatpak, rootless containers).
    pub user_namespaces: UserNamespaces,
    /// Whether processes inside are kept from creating any namespace.
    pub deadlock_shield: DeadlockShield,
}

/// What of a phone the container takes part in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Android {
    /// The directory of the host that is shared storage, if it is shown.
    pub storage: Option<HostPath>,
    /// When the phone is kept from suspending.
    pub wakelock: WakelockPolicy,
    /// Whether the container gets the phone's time zone.
    pub timezone: bool,
}

/// What the container may use at most; no limit where `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory, at least 4 MiB.
    pub memory: Option<Size>,
    /// Processor time.
    pub cpus: Option<Cpus>,
    /// Processes and threads, 1 to 4194304 (`PID_MAX_LIMIT`).
    pub pids: Option<u32>,
}

impl Config {
    /// The host name the container gets: the configured one, or one made from its name.
    pub fn hostname(&self) -> Hostname {
        self.container.hostname.clone().unwrap_or_else(|| Hostname::from(&self.name))
    }
}

impl RootSource {
    /// The directory, image or device on the host.
    pub fn path(&self) -> &HostPath {
        match self {
            Self::Directory(path) | Self::Image(path) => path,
        }
    }
}
