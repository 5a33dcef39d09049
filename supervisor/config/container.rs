//! `container.ini`: its keys, and the way from its text to [`Config`] and back.
//!
//! [`KEYS`] is the one source of names, defaults and descriptions: reading, listing, completion and
//! docs/configuration.md follow it.

use std::collections::BTreeMap;

use super::error::{Error, Kind};
use super::ini::Document;
use super::schema::{Form, Key, Renamed, Schema, value_error};
use super::sections::{Android, Config, Container, Hardware, Limits, Mounts, Network, RootSource, Security};
use super::value::{
    Bind, BindList, CgroupLayout, DeadlockShield, EnvironmentName, EnvironmentValue, Fsck, HardwareAccess,
    HostPath, Invalid, Name, NetworkAddress, NetworkMode, PidNamespace, Privileged, RestartPolicy, Seed,
    SharedStorage, Size, StartAfter, Switch, Tmpfs, TmpfsList, UserNamespaces, Uuid, WakelockPolicy, Whole,
};

/// The least memory limit: below it not even an init system starts.
const LEAST_MEMORY: u64 = 4 << 20;
/// The least memory for the changes of a volatile container: tmpfs(5) takes 0 for "no limit".
const LEAST_VOLATILE: u64 = 1 << 20;

/// The keys of `container.ini`.
pub const SCHEMA: Schema =
    Schema { main: "container", keys: KEYS, environment: Some("environment"), old: OLD };

/// Keys that had another section.
const OLD: &[Renamed] = &[Renamed { old: ("android", "dns"), new: ("network", "dns") }];

const SWITCH: Form = Form::OneOf(Switch::WORDS);

/// Every key of `container.ini` but the free ones of section `environment`.
pub const KEYS: &[Key] = &[
    Key::new(
        "container",
        "hostname",
        "",
        Form::Text("HOSTNAME"),
        "host name; derived from the container's name if unset",
        "web.example.org",
    ),
    Key::new(
        "container",
        "rootfs",
        "",
        Form::Text("DIRECTORY"),
        "directory with the root file system; this or `image` is required",
        "/data/debian",
    ),
    Key::new(
        "container",
        "image",
        "",
        Form::Text("FILE"),
        "file system image or block device with the root file system",
        "/data/debian.img",
    ),
    Key::new(
        "container",
        "image-partition",
        "",
        Form::Text("NUMBER"),
        "partition of a disk image to use; if unset, the only one with a Linux file system",
        "2",
    ),
    Key::new(
        "container",
        "volatile",
        "no",
        SWITCH,
        "keep all changes in memory and discard them when the container stops",
        "yes",
    ),
    Key::new(
        "container",
        "volatile-size",
        "",
        Form::Text("SIZE"),
        "memory limit for these changes, at least 1M; half of the machine's memory if unset",
        "512M",
    ),
    Key::new(
        "container",
        "fsck",
        "always",
        Form::OneOf(Fsck::WORDS),
        "check an image before it is mounted: always, if it was not unmounted cleanly, or never",
        "auto",
    ),
    Key::new(
        "container",
        "image-label",
        "u:object_r:vold_data_file:s0",
        Form::Text("LABEL"),
        "SELinux label to set on an image file before use, if SELinux is enabled; `no` keeps the existing label",
        "no",
    ),
    Key::new("container", "autostart", "no", SWITCH, "start with the supervisor", "yes"),
    Key::new(
        "container",
        "start-after",
        "auto",
        Form::OneOf(StartAfter::WORDS),
        "what autostart waits for; `auto` is `boot` with `network.mode = none`, else `network`",
        "unlock",
    ),
    Key::new(
        "container",
        "priority",
        "0",
        Form::Text("NUMBER"),
        "order of autostart: lower numbers first, equal numbers at the same time",
        "-10",
    ),
    Key::new(
        "container",
        "restart",
        "no",
        Form::OneOf(RestartPolicy::WORDS),
        "restart the container if it ends without being stopped",
        "on-failure",
    ),
    Key::new(
        "container",
        "init",
        "/sbin/init",
        Form::Text("PATH"),
        "program to run as PID 1, as seen in the container",
        "/lib/systemd/systemd",
    ),
    Key::new(
        "container",
        "stop-timeout",
        "15",
        Form::Text("SECONDS"),
        "time for a clean shutdown before PID 1 is killed",
        "90s",
    ),
    Key::new(
        "container",
        "cgroup",
        "auto",
        Form::OneOf(CgroupLayout::WORDS),
        "cgroup version to use; `auto` selects one that the host has and the init system supports",
        "v2",
    ),
    Key::new(
        "container",
        "pid-namespace",
        "auto",
        Form::OneOf(PidNamespace::WORDS),
        "`auto` boots on kernels without PID namespaces as well, see [stock-kernels.md](stock-kernels.md); `required` refuses",
        "required",
    ),
    Key::new(
        "container",
        "oom-score",
        "0",
        Form::Text("NUMBER"),
        "adjustment of the out-of-memory killer, -1000 (never kill) to 1000 (kill first)",
        "200",
    ),
    Key::new(
        "container",
        "uuid",
        "",
        Form::Text("UUID"),
        "permanent identity, generated by `ds create`",
        "3f2b8c1d9a7e4f60b5c2d1e0f9a8b7c6",
    ),
    Key::new(
        "container",
        "seed",
        "yes",
        Form::SomeOf(Seed::WORDS),
        "adaptations of the distribution to apply at the start: all, none, or the listed ones",
        "udev,hosts",
    ),
    Key::new(
        "mounts",
        "bind",
        "",
        Form::Text("SOURCE:TARGET[:OPTION…][,…]"),
        "directories and files of the host to mount in the container, at most 16; options, which also apply to mounts below: `ro`, `nosuid`, `nodev`, `noexec`",
        "/sdcard:/mnt/sdcard,/etc/hosts:/etc/hosts:ro:noexec",
    ),
    Key::new(
        "mounts",
        "tmpfs",
        "",
        Form::Text("TARGET[:OPTION…][,…]"),
        "memory file systems to mount in the container, at most 16; options: `size=SIZE`, `mode=OCTAL` (1777), `noexec`",
        "/tmp:size=256M,/var/cache/apt:mode=755",
    ),
    Key::new(
        "network",
        "mode",
        "host",
        Form::OneOf(NetworkMode::WORDS),
        "network: the host's, only `lo`, or one behind address translation",
        "none",
    ),
    Key::new(
        "network",
        "dns",
        "auto",
        Form::Text("auto, no or ADDRESS[,…]"),
        "name servers in /etc/resolv.conf: those of the machine's network, also when they change, none, or this list",
        "9.9.9.9,2620:fe::fe",
    ),
    Key::new(
        "network",
        "address",
        "",
        Form::Text("ADDRESS"),
        "IPv4 address in a `nat` network; if unset, a free one that the container keeps",
        "10.89.40.10",
    ),
    Key::new(
        "network",
        "name",
        "default",
        Form::Text("NAME"),
        "`nat` network to join; containers of different networks do not reach each other",
        "lab",
    ),
    Key::new(
        "network",
        "isolated",
        "no",
        SWITCH,
        "block traffic between this container and others of its `nat` network",
        "yes",
    ),
    Key::new(
        "network",
        "ports",
        "",
        Form::Text("[ADDRESS:]PORTS:PORTS[/udp][,…]"),
        "ports of the host that lead to ports of a container with `network.mode = nat`",
        "8080:80,127.0.0.1:2222:22",
    ),
    Key::new(
        "network",
        "host-access",
        "no",
        SWITCH,
        "let a container with `network.mode = nat` reach services of the host, beside name resolution",
        "yes",
    ),
    Key::new(
        "hardware",
        "access",
        "none",
        Form::OneOf(HardwareAccess::WORDS),
        "device nodes: the standard ones, also graphics processors, or all (can harm the host)",
        "gpu",
    ),
    Key::new(
        "security",
        "privileged",
        "no",
        Form::SomeOf(Privileged::WORDS),
        "protections to disable",
        "nomask,noseccomp",
    ),
    Key::new("security", "nesting", "no", SWITCH, "support Docker, podman and ds in the container", "yes"),
    Key::new(
        "security",
        "user-namespaces",
        "auto",
        Form::OneOf(UserNamespaces::WORDS),
        "allow processes in the container to create user namespaces, as services, browsers and Flatpak do; `auto` allows it on kernel 5.0 and later",
        "no",
    ),
    Key::new(
        "security",
        "deadlock-shield",
        "auto",
        Form::OneOf(DeadlockShield::WORDS),
        "prevent processes in the container from creating namespaces; `auto` prevents it on kernels before 5.0, which can deadlock",
        "no",
    ),
    Key::new(
        "android",
        "storage",
        "no",
        Form::Text("no, yes or DIRECTORY"),
        "mount the phone's shared storage at /mnt/storage: /data/media/0, or another directory such as the FUSE view",
        "/storage/emulated/0",
    ),
    Key::new(
        "android",
        "wakelock",
        "no",
        Form::OneOf(WakelockPolicy::WORDS),
        "prevent the phone from suspending while the container runs, or also while it waits for its start",
        "running",
    ),
    Key::new("android", "timezone", "yes", SWITCH, "set TZ in the container to the phone's time zone", "no"),
    Key::new("limits", "memory", "", Form::Text("SIZE"), "memory limit, at least 4M", "2G"),
    Key::new(
        "limits",
        "cpus",
        "",
        Form::Text("DECIMAL"),
        "limit of processor time, in processors, at least 0.01",
        "1.5",
    ),
    Key::new(
        "limits",
        "pids",
        "",
        Form::Text("NUMBER"),
        "limit of processes and threads, 1 to 4194304",
        "4096",
    ),
];

/// The configuration of the container `name` that `document` describes.
///
/// # Errors
/// The first fault, with its place.
pub(super) fn read(document: &Document, name: &Name) -> Result<Config, Error> {
    SCHEMA.check(document)?;
    let security = Security {
        privileged: SCHEMA.read(document, "security", "privileged")?,
        nesting: SCHEMA.read::<Switch>(document, "security", "nesting")?.0,
        user_namespaces: SCHEMA.read(document, "security", "user-namespaces")?,
        deadlock_shield: SCHEMA.read(document, "security", "deadlock-shield")?,
    };
    let pids = SCHEMA.read_optional::<Whole<1, 4_194_304>>(document, "limits", "pids")?;
    Ok(Config {
        name: name.clone(),
        container: read_container(document, name)?,
        mounts: read_mounts(document)?,
        network: Network {
            mode: SCHEMA.read(document, "network", "mode")?,
            dns: SCHEMA.read(document, "network", "dns")?,
            address: SCHEMA
                .read_optional::<NetworkAddress>(document, "network", "address")?
                .map(|address| address.0),
            name: SCHEMA.read(document, "network", "name")?,
            isolated: SCHEMA.read::<Switch>(document, "network", "isolated")?.0,
            ports: SCHEMA.read(document, "network", "ports")?,
            host_access: SCHEMA.read::<Switch>(document, "network", "host-access")?.0,
        },
        hardware: Hardware { access: SCHEMA.read(document, "hardware", "access")? },
        security,
        android: Android {
            storage: SCHEMA.read::<SharedStorage>(document, "android", "storage")?.into(),
            wakelock: SCHEMA.read(document, "android", "wakelock")?,
            timezone: SCHEMA.read::<Switch>(document, "android", "timezone")?.0,
        },
        limits: Limits {
            memory: read_size(document, "limits", "memory", LEAST_MEMORY)?,
            cpus: SCHEMA.read_optional(document, "limits", "cpus")?,
            pids: pids.map(Whole::magnitude),
        },
        environment: read_environment(document)?,
    })
}

fn read_container(document: &Document, name: &Name) -> Result<Container, Error> {
    const SECTION: &str = "container";
    let partition = SCHEMA.read_optional::<Whole<1, 255>>(document, SECTION, "image-partition")?;
    let derived = || Uuid::derived_from(&format!("{}\0{name}", document.file().display()));
    Ok(Container {
        hostname: SCHEMA.read_optional(document, SECTION, "hostname")?,
        root: read_root(document)?,
        volatile: SCHEMA.read::<Switch>(document, SECTION, "volatile")?.0,
        volatile_size: read_size(document, SECTION, "volatile-size", LEAST_VOLATILE)?,
        fsck: SCHEMA.read(document, SECTION, "fsck")?,
        image_partition: partition.map(Whole::magnitude),
        image_label: SCHEMA.read(document, SECTION, "image-label")?,
        autostart: SCHEMA.read::<Switch>(document, SECTION, "autostart")?.0,
        start_after: SCHEMA.read(document, SECTION, "start-after")?,
        priority: SCHEMA.read(document, SECTION, "priority")?,
        restart: SCHEMA.read(document, SECTION, "restart")?,
        init: SCHEMA.read(document, SECTION, "init")?,
        stop_timeout: SCHEMA.read(document, SECTION, "stop-timeout")?,
        cgroup: SCHEMA.read(document, SECTION, "cgroup")?,
        pid_namespace: SCHEMA.read(document, SECTION, "pid-namespace")?,
        uuid: SCHEMA.read_optional(document, SECTION, "uuid")?.unwrap_or_else(derived),
        seed: SCHEMA.read(document, SECTION, "seed")?,
        oom_score: SCHEMA.read::<Whole<-1000, 1000>>(document, SECTION, "oom-score")?.get(),
    })
}

fn read_root(document: &Document) -> Result<RootSource, Error> {
    let source = |name: &str| -> Result<Option<HostPath>, Error> {
        let path = SCHEMA.read_optional::<HostPath>(document, "container", name)?;
        if path.as_ref().is_some_and(HostPath::is_root) {
            let fault = Invalid::new("'/' is the host's own root", "name a directory or an image below it");
            return Err(value_error(document, document.entry("container", name), "container", name, &fault));
        }
        Ok(path)
    };
    match (source("rootfs")?, source("image")?) {
        (Some(directory), None) => Ok(RootSource::Directory(directory)),
        (None, Some(image)) => Ok(RootSource::Image(image)),
        (Some(_), Some(_)) => {
            let fault = Invalid::new("rootfs is set as well", "keep one of the two and empty the other");
            Err(value_error(document, document.entry("container", "image"), "container", "image", &fault))
        }
        (None, None) => {
            let fault = Invalid::new("neither rootfs nor image is set", "set one of the two");
            Err(Error::new(Kind::Missing, "", &fault).of_file(document.file()))
        }
    }
}

fn read_mounts(document: &Document) -> Result<Mounts, Error> {
    let bind = SCHEMA.read::<BindList>(document, "mounts", "bind")?.into_vec();
    let tmpfs = SCHEMA.read::<TmpfsList>(document, "mounts", "tmpfs")?.into_vec();
    if let Some(both) = tmpfs.iter().find(|tmpfs| bind.iter().any(|bind| bind.target == tmpfs.target)) {
        let fault = Invalid::new(format!("'{}' is a bind mount, too", both.target), "remove one of them");
        return Err(value_error(document, document.entry("mounts", "tmpfs"), "mounts", "tmpfs", &fault));
    }
    Ok(Mounts { bind, tmpfs })
}

fn read_size(document: &Document, section: &str, name: &str, least: u64) -> Result<Option<Size>, Error> {
    let size = SCHEMA.read_optional::<Size>(document, section, name)?;
    match (size, Size::from_bytes(least)) {
        (Some(size), Some(least)) if size < least => {
            let fault = Invalid::new(format!("{size} is less than {least}"), format!("use {least} or more"));
            Err(value_error(document, document.entry(section, name), section, name, &fault))
        }
        (size, _) => Ok(size),
    }
}

fn read_environment(document: &Document) -> Result<BTreeMap<EnvironmentName, String>, Error> {
    let mut environment = BTreeMap::new();
    for entry in document.entries().filter(|entry| Some(entry.section) == SCHEMA.environment) {
        let error = |fault: Invalid| value_error(document, Some(entry), entry.section, entry.key, &fault);
        let name: EnvironmentName = entry.key.parse().map_err(error)?;
        let value: EnvironmentValue = entry.value.parse().map_err(error)?;
        environment.insert(name, value.into_string());
    }
    Ok(environment)
}

impl Config {
    /// What `section.name` is now, in its shortest exact form, defaults included; empty when there is no value. `None`
    /// for keys that do not exist.
    pub(super) fn text_of(&self, section: &str, name: &str) -> Option<String> {
        fn shown(value: Option<impl ToString>) -> String {
            value.map(|value| value.to_string()).unwrap_or_default()
        }
        let (container, security, limits) = (&self.container, &self.security, &self.limits);
        let switch = |on: bool| Switch(on).to_string();
        Some(match (section, name) {
            ("container", "hostname") => self.hostname().to_string(),
            ("container", "rootfs" | "image") => match (&container.root, name) {
                (RootSource::Directory(path), "rootfs") | (RootSource::Image(path), "image") => {
                    path.to_string()
                }
                _ => String::new(),
            },
            ("container", "volatile") => switch(container.volatile),
            ("container", "volatile-size") => shown(container.volatile_size),
            ("container", "fsck") => container.fsck.to_string(),
            ("container", "image-partition") => shown(container.image_partition),
            ("container", "image-label") => container.image_label.to_string(),
            ("container", "autostart") => switch(container.autostart),
            ("container", "start-after") => container.start_after.to_string(),
            ("container", "priority") => container.priority.to_string(),
            ("container", "restart") => container.restart.to_string(),
            ("container", "init") => container.init.to_string(),
            ("container", "stop-timeout") => container.stop_timeout.to_string(),
            ("container", "cgroup") => container.cgroup.to_string(),
            ("container", "pid-namespace") => container.pid_namespace.to_string(),
            ("container", "oom-score") => container.oom_score.to_string(),
            ("container", "seed") => container.seed.to_string(),
            ("container", "uuid") => container.uuid.to_string(),
            ("mounts", "bind") => self.mounts.bind.iter().map(Bind::to_string).collect::<Vec<_>>().join(","),
            ("network", "mode") => self.network.mode.to_string(),
            ("network", "dns") => self.network.dns.to_string(),
            ("network", "address") => shown(self.network.address),
            ("network", "name") => self.network.name.to_string(),
            ("network", "isolated") => switch(self.network.isolated),
            ("network", "ports") => self.network.ports.to_string(),
            ("network", "host-access") => switch(self.network.host_access),
            ("hardware", "access") => self.hardware.access.to_string(),
            ("mounts", "tmpfs") => {
                self.mounts.tmpfs.iter().map(Tmpfs::to_string).collect::<Vec<_>>().join(",")
            }
            ("security", "nesting") => switch(security.nesting),
            ("security", "privileged") => security.privileged.to_string(),
            ("security", "user-namespaces") => security.user_namespaces.to_string(),
            ("security", "deadlock-shield") => security.deadlock_shield.to_string(),
            ("android", "storage") => SharedStorage::from(self.android.storage.clone()).to_string(),
            ("android", "wakelock") => self.android.wakelock.to_string(),
            ("android", "timezone") => switch(self.android.timezone),
            ("limits", "memory") => shown(limits.memory),
            ("limits", "cpus") => shown(limits.cpus),
            ("limits", "pids") => shown(limits.pids),
            ("environment", name) => {
                self.environment.iter().find(|(variable, _)| variable.as_str() == name)?.1.clone()
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
#[path = "container_tests.rs"]
mod tests;
