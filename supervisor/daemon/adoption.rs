//! Adoption: a new supervisor connects to all monitors that answer, and processes the exits of those that ended without
//! a supervisor.
//!
//! Owns the question whether this is the first supervisor since the machine booted. Starts nothing.

use super::monitors::{MonitorEvent, Monitors};
use crate::config::value::Name;
use crate::durable;
use crate::paths::{Paths, names_in};

/// Reconnects to the monitors of the previous program.
#[must_use]
pub fn resume(monitors: &mut Monitors, known: &[Name]) -> Vec<MonitorEvent> {
    known
        .iter()
        .map(|name| match monitors.watch(name) {
            Some(_) => MonitorEvent::Resumed(name.clone()),
            None => monitors.gone(name, None),
        })
        .collect()
}

/// Connects to the monitors of all existing control sockets.
#[must_use]
pub fn find(monitors: &mut Monitors, paths: &Paths) -> Vec<MonitorEvent> {
    let mut events = Vec::new();
    for name in names_in(&paths.run_containers()) {
        if paths.control(&name).exists() && !monitors.has(&name) {
            events.push(monitors.watch(&name).unwrap_or_else(|| monitors.gone(&name, None)));
        }
    }
    events
}

/// True once after each boot of the kernel: a later supervisor must not start containers that were stopped since.
#[must_use]
pub fn is_first_of_this_boot(paths: &Paths) -> bool {
    let Ok(boot) = std::fs::read("/proc/sys/kernel/random/boot_id") else { return false };
    let record = paths.autostarted();
    if std::fs::read(&record).is_ok_and(|recorded| recorded == boot) {
        return false;
    }
    if let Err(error) = durable::replace(&record, &boot, 0o600) {
        log::error!("write {}: {error}; autostart is off in this boot", record.display());
        return false;
    }
    true
}
