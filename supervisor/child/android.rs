//! The parts of a phone that a container shares: time zone, names of routing tables, shared storage, name servers.
//!
//! Determined at each boot, because they change while the phone runs. Nothing is written into the image: everything is
//! in /run or in a mount and ends with the container. On other systems than Android, only the name servers apply.

use std::path::Path;

use anyhow::Result;
use nix::mount::MsFlags;

use super::name_servers;
use crate::android::{property, storage};
use crate::config::Config;
use crate::config::value::NetworkMode;
use crate::host::Host;
use crate::mount::op::Operation;
use crate::paths::Paths;
use crate::rootfs::root::Root;

/// The mount point of shared storage.
pub const STORAGE: &str = "/mnt/storage";
/// netd's names of routing tables, in the format of iproute2.
const TABLES: &str = "/data/misc/net/rt_tables";
/// The name of the variable, environ(7).
const ZONE: &str = "TZ";

/// Adds the variables of the phone that a configuration does not set itself.
pub fn complete(config: &mut Config, host: &Host) {
    let is_set = config.environment.keys().any(|name| name.as_str() == ZONE);
    if !host.android || !config.android.timezone || is_set {
        return;
    }
    if let (Some(zone), Ok(name)) = (property::timezone(), ZONE.parse()) {
        config.environment.insert(name, zone);
    }
}

/// The steps of one boot, after all others. `config` has passed [`complete`]; `root` is the tree.
///
/// # Errors
/// If shared storage cannot be prepared.
pub fn operations(config: &Config, host: &Host, paths: &Paths, root: &Root) -> Result<Vec<Operation>> {
    let mut list = name_servers::operations(config, host, root);
    if !host.android {
        return Ok(list);
    }
    let zone = config.environment.iter().find(|(name, _)| config.android.timezone && name.as_str() == ZONE);
    if let Some((_, zone)) = zone {
        list.push(file("/run/host/timezone", format!("{zone}\n")));
        // systemd does not pass its own variables to services.
        let manager = format!("[Manager]\nDefaultEnvironment={ZONE}={zone}\n");
        list.push(file("/run/systemd/system.conf.d/50-droidspaces-timezone.conf", manager));
    }
    if config.network.mode == NetworkMode::Host && Path::new(TABLES).exists() {
        list.push(Operation::Bind {
            source: TABLES.into(),
            target: "/etc/iproute2/rt_tables".into(),
            flags: MsFlags::MS_RDONLY,
            required: false,
        });
    }
    if let Some(source) = &config.android.storage {
        let place = storage::prepare(paths, source, &config.name)?;
        list.push(Operation::Follow { source: place.to_string_lossy().into_owned(), target: STORAGE.into() });
    }
    Ok(list)
}

fn file(target: &str, content: String) -> Operation {
    Operation::File { target: target.into(), content }
}
