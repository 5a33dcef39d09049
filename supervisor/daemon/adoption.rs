//! What a new supervisor does with monitors that live: it connects to every one that answers, and takes the end of
//! those that ended unwatched.
//!
//! Owns the question whether this is the first supervisor since the machine booted. Starts nothing.

use super::monitors::{MonitorEvent, Monitors};
use crate::config::value::Name;
use crate::durable;
use crate::paths::{Paths, names_in};

/// Connects again to the monitors that the program before this one was connected to.
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

/// Connects to the monitor behind every control socket that it finds.
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

/// True once after each boot of the kernel: a supervisor that comes back later starts nothing that was stopped since.
#[must_use]
pub fn is_first_of_this_boot(paths: &Paths) -> bool {
    let Ok(boot) = std::fs::read("/proc/sys/kernel/random/boot_id") else { return false };
    let record = paths.autostarted();
    if std::fs::read(&record).is_ok_and(|recorded| recorded == boot) {
        return false;
    }
    if let Err(error) = durable::write(&record, &boot, 0o600) {
        log::error!("write {}: {error}; no container starts by itself", record.display());
        return false;
    }
    true
}
