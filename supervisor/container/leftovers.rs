//! The remains of a container whose monitor died: control groups, sockets, its mount in shared storage.
//!
//! Owns their removal. Never touches a container whose monitor answers.

use anyhow::{Result, ensure};

use super::lock::Lock;
use super::status::monitor;
use crate::android::storage;
use crate::cgroup::{self, Cgroup};
use crate::config::value::Name;
use crate::host::Host;
use crate::monitor::firmware;
use crate::network;
use crate::paths::Paths;

/// Removes the control groups and the socket of a container without a monitor. Everything else ended with its
/// namespaces.
pub fn sweep(paths: &Paths, host: &Host, name: &Name) {
    let _ = std::fs::remove_file(paths.control(name));
    let _ = std::fs::remove_file(paths.notify(name));
    cgroup::sweep(&host.cgroups, &paths.cgroup, name.as_str());
    storage::release(paths, name);
    firmware::take_back(paths, name);
    if let Err(error) = network::sweep(paths) {
        log::warn!("{name}: its network: {error:#}");
    }
}

/// Removes the remains of a container without a monitor.
///
/// # Errors
/// If its control groups are still in use.
pub fn sweep_dead(paths: &Paths, host: &Host, name: &Name) -> Result<()> {
    if !paths.run_container(name).exists() {
        return Ok(());
    }
    let _lock = Lock::take(paths, name)?;
    if monitor(paths, name)?.is_some() {
        return Ok(());
    }
    sweep(paths, host, name);
    let left = Cgroup::existing(&host.cgroups, &paths.cgroup, name.as_str());
    ensure!(left.directory().is_none(), "its control groups are still in use");
    Ok(())
}
