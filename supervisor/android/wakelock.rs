//! Wakelocks: while one is held, the phone does not suspend (Documentation/power/wakelocks of the kernel).
//!
//! Ours are named after our control group and the container, so those that a killed process left can be told from
//! other people's. The kernel's own list is the record of what is held.

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
    /// The kernel has none, which was said.
    missing: bool,
}

impl Wakelocks {
    /// Takes over what the kernel says is held under our names.
    #[must_use]
    pub fn of(group: &str) -> Self {
        let prefix = format!("{group}.");
        // Without the file nothing is held.
        let list = fs::read_to_string(LOCK).unwrap_or_default();
        let held = list.split_whitespace().filter_map(|name| name.strip_prefix(&prefix));
        let held = held.map(str::to_owned).collect();
        Self { prefix, held, missing: false }
    }

    /// Holds one for each of these containers, and no other.
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
    // The kernel does not know one that was never held, or is released already.
    if let Err(error) = fs::write(UNLOCK, format!("{prefix}{name}"))
        && ![ErrorKind::NotFound, ErrorKind::InvalidInput, ErrorKind::PermissionDenied]
            .contains(&error.kind())
    {
        log::warn!("{name}: release its wakelock: {error}");
    }
}
