//! Wakelocks: while one is held, the phone does not suspend (Documentation/power/wakelocks of the kernel).
//!
//! Owns the wakelocks whose names begin with the control group of ds and contain the container, so that those of a
//! killed process can be identified. The kernel's list is the only record of held wakelocks.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;

const LOCK: &str = "/sys/power/wake_lock";
const UNLOCK: &str = "/sys/power/wake_unlock";

/// The wakelocks of one supervisor.
#[derive(Debug)]
pub struct Wakelocks {
    prefix: String,
    held: BTreeSet<String>,
    /// The kernel has no wakelocks, and the warning was printed.
    missing: bool,
}

impl Wakelocks {
    /// Takes over the wakelocks in the kernel's list that have the prefix of ds.
    #[must_use]
    pub fn of(group: &str) -> Self {
        let prefix = format!("{group}.");
        // Without the file, none is held.
        let list = fs::read_to_string(LOCK).unwrap_or_default();
        let held = list.split_whitespace().filter_map(|name| name.strip_prefix(&prefix));
        let held = held.map(str::to_owned).collect();
        Self { prefix, held, missing: false }
    }

    /// Holds exactly one for each of these containers.
    pub fn hold(&mut self, wanted: &BTreeSet<String>) {
        for name in self.held.difference(wanted).cloned().collect::<Vec<_>>() {
            release(&self.prefix, &name);
            self.held.remove(&name);
        }
        for name in wanted.difference(&self.held).cloned().collect::<Vec<_>>() {
            match fs::write(LOCK, format!("{}{name}", self.prefix)) {
                Ok(()) => {
                    self.held.insert(name);
                }
                Err(error)
                    if error.kind() == ErrorKind::NotFound || error.kind() == ErrorKind::PermissionDenied =>
                {
                    if !std::mem::replace(&mut self.missing, true) {
                        log::warn!("kernel has no wakelocks ({LOCK}); android.wakelock has no effect");
                    }
                    return;
                }
                Err(error) => log::warn!("{name}: wakelock: {error}"),
            }
        }
    }
}

/// Releases the wakelock of a container that has ended, if there is one.
pub fn released(group: &str, container: &str) {
    release(&format!("{group}."), container);
}

fn release(prefix: &str, name: &str) {
    // The kernel does not list it if it was never held or is already released.
    if let Err(error) = fs::write(UNLOCK, format!("{prefix}{name}"))
        && ![ErrorKind::NotFound, ErrorKind::InvalidInput, ErrorKind::PermissionDenied]
            .contains(&error.kind())
    {
        log::warn!("{name}: release its wakelock: {error}");
    }
}
