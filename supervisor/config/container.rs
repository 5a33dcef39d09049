//! The conversion between the text of `container.ini` and [`Config`].
//!
//! [`KEYS`] has the names, defaults and descriptions of the keys.

use std::collections::BTreeMap;

use super::error::{Error, Kind};
use super::ini::Document;
use super::keys::KEYS;
use super::schema::{Renamed, Schema, value_error};
use super::sections::{Android, Config, Container, Hardware, Limits, Mounts, Network, RootSource, Security};
use super::value::{
    BindList, DeviceList, EnvironmentName, EnvironmentValue, HostPath, Invalid, Name, NetworkAddress,
    NetworkMode, SharedStorage, Size, Switch, TmpfsList, Uuid, Whole,
};

/// The minimum memory limit; no init system starts with less.
const MIN_MEMORY: u64 = 4 << 20;
/// The minimum memory for the changes of a volatile container; 0 means "no limit" to tmpfs(5).
const MIN_VOLATILE: u64 = 1 << 20;

/// The network of a gateway, if none is named: the gateway itself usually is in the network `default`.
const LAN: &str = "lan";

/// The keys of `container.ini`.
pub const SCHEMA: Schema =
    Schema { main: "container", keys: KEYS, environment: Some("environment"), old: OLD };

/// Keys that were in another section.
const OLD: &[Renamed] = &[Renamed { old: ("android", "dns"), new: ("network", "dns") }];

/// The configuration of the container `name` from `document`.
///
/// # Errors
/// The first error, with its position.
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
        network: read_network(document)?,
        hardware: Hardware {
            access: SCHEMA.read(document, "hardware", "access")?,
            devices: SCHEMA.read::<DeviceList>(document, "hardware", "devices")?.into_vec(),
            acknowledged: SCHEMA.read::<Switch>(document, "hardware", "acknowledged")?.0,
            display: SCHEMA.read(document, "hardware", "display")?,
            sound: SCHEMA.read(document, "hardware", "sound")?,
            gl: SCHEMA.read(document, "hardware", "gl")?,
        },
        security,
        android: Android {
            storage: SCHEMA.read::<SharedStorage>(document, "android", "storage")?.into(),
            wakelock: SCHEMA.read(document, "android", "wakelock")?,
            timezone: SCHEMA.read::<Switch>(document, "android", "timezone")?.0,
        },
        limits: Limits {
            memory: read_size(document, "limits", "memory", MIN_MEMORY)?,
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
        volatile_size: read_size(document, SECTION, "volatile-size", MIN_VOLATILE)?,
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

fn read_network(document: &Document) -> Result<Network, Error> {
    const SECTION: &str = "network";
    let mode = SCHEMA.read(document, SECTION, "mode")?;
    let is_named = document.entry(SECTION, "name").is_some_and(|entry| !entry.value.is_empty());
    Ok(Network {
        mode,
        dns: SCHEMA.read(document, SECTION, "dns")?,
        address: SCHEMA
            .read_optional::<NetworkAddress>(document, SECTION, "address")?
            .map(|address| address.0),
        name: match mode {
            NetworkMode::Gateway if !is_named => {
                LAN.parse().map_err(|fault| value_error(document, None, SECTION, "name", &fault))?
            }
            _ => SCHEMA.read(document, SECTION, "name")?,
        },
        gateway: SCHEMA.read_optional(document, SECTION, "gateway")?,
        gateway_interface: SCHEMA.read(document, SECTION, "gateway-interface")?,
        isolated: SCHEMA.read::<Switch>(document, SECTION, "isolated")?.0,
        ports: SCHEMA.read(document, SECTION, "ports")?,
        host_access: SCHEMA.read::<Switch>(document, SECTION, "host-access")?.0,
        uplink: SCHEMA.read(document, SECTION, "uplink")?,
        vpn: SCHEMA.read(document, SECTION, "vpn")?,
    })
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

fn list(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The value of a key of section `hardware`.
fn hardware_text(hardware: &Hardware, name: &str) -> Option<String> {
    Some(match name {
        "access" => hardware.access.to_string(),
        "devices" => list(&hardware.devices),
        "acknowledged" => Switch(hardware.acknowledged).to_string(),
        "display" => hardware.display.to_string(),
        "sound" => hardware.sound.to_string(),
        "gl" => hardware.gl.to_string(),
        _ => return None,
    })
}

impl Config {
    /// The value of `section.name` or its default, in the shortest exact form; empty if it has none. `None`
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
            ("mounts", "bind") => list(&self.mounts.bind),
            ("network", "mode") => self.network.mode.to_string(),
            ("network", "dns") => self.network.dns.to_string(),
            ("network", "address") => shown(self.network.address),
            ("network", "name") => self.network.name.to_string(),
            ("network", "gateway") => shown(self.network.gateway.as_ref()),
            ("network", "gateway-interface") => self.network.gateway_interface.to_string(),
            ("network", "isolated") => switch(self.network.isolated),
            ("network", "ports") => self.network.ports.to_string(),
            ("network", "host-access") => switch(self.network.host_access),
            ("network", "uplink") => self.network.uplink.to_string(),
            ("network", "vpn") => self.network.vpn.to_string(),
            ("hardware", name) => return hardware_text(&self.hardware, name),
            ("mounts", "tmpfs") => list(&self.mounts.tmpfs),
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
