//! The remains of a container whose monitor died: control groups, sockets, its mount in shared storage.
//!
//! Owns their removal, and that of the run directory. Never touches a container whose monitor answers.

use anyhow::{Result, ensure};

use super::lock::Lock;
use super::occupied;
use super::status::monitor;
use crate::android::storage;
use crate::cgroup::{self, Cgroup};
use crate::config::value::Name;
use crate::host::Host;
use crate::monitor::firmware;
use crate::network;
use crate::paths::Paths;

/// Removes the control groups and the socket of a container without a monitor. Everything else ended with its
/// namespaces. Returns whether its network could be cleaned up.
pub fn sweep(paths: &Paths, host: &Host, name: &Name) -> bool {
    let _ = std::fs::remove_file(paths.control(name));
    let _ = std::fs::remove_file(paths.notify(name));
    cgroup::sweep(&host.cgroups, &paths.cgroup, name.as_str());
    storage::release(paths, name);
    firmware::take_back(paths, name);
    let network = network::sweep(paths);
    if let Err(error) = &network {
        log::warn!("{name}: its network: {error:#}");
    }
    network.is_ok()
}

/// Removes the remains of a container without a monitor.
///
/// # Errors
/// If its control groups are still in use, or its network cannot be cleaned up.
pub fn sweep_dead(paths: &Paths, host: &Host, name: &Name) -> Result<()> {
    let Some(_lock) = Lock::take_existing(paths, name)? else { return Ok(()) };
    if monitor(paths, name)?.is_some() {
        return Ok(());
    }
    let clean = sweep(paths, host, name);
    cgroup::sweep_bases(&host.cgroups, &paths.cgroup);
    let left = Cgroup::existing(&host.cgroups, &paths.cgroup, name.as_str());
    ensure!(left.directory().is_none(), "its control groups are still in use");
    ensure!(clean, "its network is not cleaned up");
    Ok(())
}

/// Removes the run directory of a deleted or never created container, unless a job is creating it. A process that waits
/// for the lock in it then finds no container.
pub fn forget(paths: &Paths, name: &Name) {
    if paths.container(name).symlink_metadata().is_err() && !occupied::is_occupied(paths, name) {
        // The supervisor may write the last exit at the same time, which fills the directory again. Any other failure
        // leaves a file on a tmpfs.
        let directory = paths.run_container(name);
        let refilled = |error: std::io::Error| error.kind() == std::io::ErrorKind::DirectoryNotEmpty;
        while std::fs::remove_dir_all(&directory).is_err_and(refilled) {}
    }
}
