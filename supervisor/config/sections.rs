//! The types of a container's configuration: one struct for each section of container.ini.
//!
//! Owns the structs; `container` reads them from a file, and `edit` writes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::value::{
    Bind, CgroupLayout, ContainerPath, Cpus, DeadlockShield, DeviceRequest, DisplayProfile, EnvironmentName,
    Fsck, GlProfile, HardwareAccess, HostPath, Hostname, ImageLabel, InterfaceName, Name, NameServers,
    NetworkMode, PidNamespace, PortList, Priority, Privileged, RestartPolicy, Seconds, Seed, Size,
    SoundProfile, StartAfter, Tmpfs, Uplink, UserNamespaces, Uuid, VpnPolicy, WakelockPolicy,
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
    /// Section `android`: integration with the phone; without effect elsewhere.
    pub android: Android,
    /// Section `limits`.
    pub limits: Limits,
    /// Section `environment`: variables of the container's init and of every session; values have no control
    /// characters.
    pub environment: BTreeMap<EnvironmentName, String>,
}

/// The root file system, PID 1, and when the container starts and stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its host name, if one is configured; [`Config::hostname`] is the one to use.
    pub hostname: Option<Hostname>,
    /// Its root file system.
    pub root: RootSource,
    /// Whether all changes are kept in memory and discarded at the stop.
    pub volatile: bool,
    /// The memory limit of those changes; half of the machine's memory if `None`.
    pub volatile_size: Option<Size>,
    /// When an image is checked before it is mounted.
    pub fsck: Fsck,
    /// The partition with the root file system, if the image is that of a disk.
    pub image_partition: Option<u32>,
    /// The SELinux label to set on an image before it is used.
    pub image_label: ImageLabel,
    /// Whether the supervisor starts it at boot.
    pub autostart: bool,
    /// The condition of autostart.
    pub start_after: StartAfter,
    /// Its position in the order of autostart.
    pub priority: Priority,
    /// Whether it is restarted if it ends without being stopped.
    pub restart: RestartPolicy,
    /// The program to run as PID 1.
    pub init: ContainerPath,
    /// The time for a clean shutdown before PID 1 is killed.
    pub stop_timeout: Seconds,
    /// The cgroup hierarchies that it sees.
    pub cgroup: CgroupLayout,
    /// Whether it boots on a kernel without PID namespaces.
    pub pid_namespace: PidNamespace,
    /// Its permanent identity.
    pub uuid: Uuid,
    /// The adaptations of its root file system and its /run.
    pub seed: Seed,
    /// The `oom_score_adj` of its processes, −1000 to 1000 (proc_pid_oom_score_adj(5)).
    pub oom_score: i32,
}

/// A root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootSource {
    /// A directory of the host.
    Directory(HostPath),
    /// A file system image, or a block device.
    Image(HostPath),
}

/// Further mounts in the container.
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
    /// Its kind.
    pub mode: NetworkMode,
    /// The container's name servers.
    pub dns: NameServers,
    /// Its address; a free one if `None`.
    pub address: Option<Ipv4Addr>,
    /// The network that it joins.
    pub name: Name,
    /// The container that is its router; set if the mode is `gateway`.
    pub gateway: Option<Name>,
    /// The interface of that container in this network.
    pub gateway_interface: InterfaceName,
    /// Whether traffic between it and others of its network is blocked.
    pub isolated: bool,
    /// Its published ports.
    pub ports: PortList,
    /// Whether it may reach services of the host.
    pub host_access: bool,
    /// Its uplink.
    pub uplink: Uplink,
    /// Its policy for virtual private networks.
    pub vpn: VpnPolicy,
}

/// The hardware in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hardware {
    /// The device nodes in its /dev.
    pub access: HardwareAccess,
    /// Devices of the host, by kind or name.
    pub devices: Vec<DeviceRequest>,
    /// Whether the user has acknowledged the risk of full access.
    pub acknowledged: bool,
    /// The display of its programs.
    pub display: DisplayProfile,
    /// The sound server of its programs.
    pub sound: SoundProfile,
    /// The rendering server of its programs.
    pub gl: GlProfile,
}

/// The protection of the host from the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Security {
    /// The disabled protections.
    pub privileged: Privileged,
    /// Whether container engines work in the container.
    pub nesting: bool,
    /// Whether processes in the container may create user namespaces (browsers, Flatpak, rootless containers).
    pub user_namespaces: UserNamespaces,
    /// Whether processes in the container are prevented from creating any namespace.
    pub deadlock_shield: DeadlockShield,
}

/// The integration with a phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Android {
    /// The directory of the host with the shared storage, if it is mounted.
    pub storage: Option<HostPath>,
    /// When the phone is prevented from suspending.
    pub wakelock: WakelockPolicy,
    /// Whether TZ is set to the phone's time zone.
    pub timezone: bool,
}

/// The resource limits; no limit if `None`.
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
    /// The host name: the configured one, or one derived from the container's name.
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
