//! The boot-loop guard: turns autostart off for a container whose start at boot crashed the machine twice in a row.
//!
//! Owns the records. Before such a start, a record is written durably beside the configuration. Once the machine has
//! survived the start for a while, the record is removed. A record from an earlier boot means that the machine did not
//! survive the start. The decision is a pure function of the record and the boot; the rest handles files and times.
//! random(4), boot_id.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::value::Name;
use crate::durable;
use crate::paths::Paths;

/// The number of consecutive failed boots after which autostart is turned off.
pub const MAX_LOST: u32 = 2;
/// Maximum size of a record, in bytes.
const LARGEST: u64 = 4 << 10;
/// The identity of this boot of the machine, random(4).
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The record of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The boot in which the container was last started.
    pub boot: String,
    /// The number of consecutive starts that the machine did not survive.
    #[serde(default)]
    pub lost: u32,
}

impl Record {
    /// Whether the guard has turned autostart off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.lost >= MAX_LOST
    }
}

/// Why autostart is off, for messages.
pub const REASON: &str = "autostart is off: the machine crashed twice in a row soon after its start";

/// The new record before a start by autostart, which also decides whether to start. `orderly`: the user ended the last
/// boot, so it counts neither for nor against the container.
#[must_use]
pub fn judge(record: Option<Record>, boot: &str, orderly: bool) -> Record {
    let boot = boot.to_owned();
    match record {
        None => Record { boot, lost: 0 },
        Some(record) if record.is_off() || record.boot == boot => record,
        Some(record) => Record { boot, lost: record.lost + u32::from(!orderly) },
    }
}

/// The identity of this boot of the machine; empty if the kernel does not provide it.
#[must_use]
pub fn this_boot() -> String {
    fs::read_to_string(BOOT).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Reads the record of a container.
#[must_use]
pub fn recall(paths: &Paths, name: &Name) -> Option<Record> {
    let bytes = durable::read(&paths.boot_attempts(name), LARGEST).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Removes the record of a container, which turns autostart on again.
pub fn forgive(paths: &Paths, name: &Name) {
    match fs::remove_file(paths.boot_attempts(name)) {
        Err(error) if error.kind() != ErrorKind::NotFound && error.kind() != ErrorKind::NotADirectory => {
            log::error!("{name}: remove the boot-loop guard's record: {error}");
        }
        _ => {}
    }
}

/// The starts in this boot that the machine has yet to survive; in the form for another program.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Guard {
    /// Records to be written when their containers start.
    due: BTreeMap<Name, Record>,
    /// When a start counts as survived.
    survived: BTreeMap<Name, Duration>,
}

impl Guard {
    /// Whether autostart is on for a container.
    pub fn admits(&mut self, paths: &Paths, name: &Name, orderly: bool) -> bool {
        let record = judge(recall(paths, name), &this_boot(), orderly);
        if record.is_off() {
            log::warn!("{name}: {REASON}; see 'ds info {name}'");
            write(paths, name, &record);
            return false;
        }
        self.due.insert(name.clone(), record);
        true
    }

    /// Reports the start of a container. If autostart starts it, writes the record; it is survived at `deadline`.
    pub fn starts(&mut self, paths: &Paths, name: &Name, deadline: Duration) {
        if let Some(record) = self.due.remove(name) {
            write(paths, name, &record);
            self.survived.insert(name.clone(), deadline);
        }
    }

    /// A container runs, or was starting when the supervisor ended: if it has a record, it counts as survived at
    /// `deadline`.
    pub fn watch(&mut self, paths: &Paths, name: &Name, deadline: Duration) {
        if !self.survived.contains_key(name) && recall(paths, name).is_some() {
            self.survived.insert(name.clone(), deadline);
        }
    }

    /// A container was stopped or ended cleanly, which is not a crash of the machine. If its autostart is off, it must
    /// still survive a start.
    pub fn ended_well(&mut self, paths: &Paths, name: &Name) {
        self.due.remove(name);
        if self.survived.remove(name).is_some() && !recall(paths, name).is_some_and(|record| record.is_off())
        {
            forgive(paths, name);
        }
    }

    /// A container with a record has failed; the machine has yet to survive it.
    pub fn ended(&mut self, paths: &Paths, name: &Name) {
        if recall(paths, name).is_some_and(|record| record.is_off()) {
            self.survived.remove(name);
        }
    }

    /// When the next start counts as survived.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.survived.values().min().copied()
    }

    /// Removes the records of starts that the machine has survived.
    pub fn tick(&mut self, paths: &Paths, now: Duration) {
        self.survived.retain(|name, at| {
            let waits = *at > now;
            if !waits {
                forgive(paths, name);
            }
            waits
        });
    }

    /// The supervisor ends cleanly and cannot observe any longer: the starts so far count as survived.
    pub fn end(&mut self, paths: &Paths) {
        for name in std::mem::take(&mut self.survived).into_keys() {
            if recall(paths, &name).is_some_and(|record| !record.is_off()) {
                forgive(paths, &name);
            }
        }
    }
}

fn write(paths: &Paths, name: &Name, record: &Record) {
    let path = paths.boot_attempts(name);
    let text = serde_json::to_vec(record).map_err(std::io::Error::from);
    if let Err(error) = text.and_then(|text| durable::write(&path, &text, 0o600)) {
        log::error!("write {}: {error}; the boot-loop guard ignores this start", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(boot: &str, lost: u32) -> Record {
        Record { boot: boot.to_owned(), lost }
    }

    #[test]
    fn the_decision_table() {
        for (before, orderly, after) in [
            (None, false, record("b", 0)),
            (None, true, record("b", 0)),
            // This boot's own record: the supervisor was killed, not the machine.
            (Some(record("b", 0)), false, record("b", 0)),
            (Some(record("b", 1)), false, record("b", 1)),
            (Some(record("a", 0)), false, record("b", 1)),
            (Some(record("a", 1)), false, record("b", 2)),
            // The user rebooted.
            (Some(record("a", 0)), true, record("b", 0)),
            (Some(record("a", 1)), true, record("b", 1)),
            // Autostart stays off.
            (Some(record("a", 2)), false, record("a", 2)),
            (Some(record("a", 2)), true, record("a", 2)),
        ] {
            assert_eq!(judge(before.clone(), "b", orderly), after, "{before:?} {orderly}");
        }
    }

    /// One boot of the machine with a start of the container.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Boot {
        Lost,
        Survived,
        Stopped,
        SupervisorEnded,
        Rebooted,
    }

    fn any_boot() -> impl Strategy<Value = Boot> {
        prop_oneof![
            4 => Just(Boot::Lost),
            1 => Just(Boot::Survived),
            1 => Just(Boot::Stopped),
            1 => Just(Boot::SupervisorEnded),
            1 => Just(Boot::Rebooted),
        ]
    }

    proptest! {
        #[test]
        fn autostart_is_off_exactly_after_two_lost_boots_in_a_row(boots in prop::collection::vec(any_boot(), 1..12)) {
            let (mut kept, mut row, mut orderly) = (None, 0, false);
            for (number, boot) in boots.into_iter().enumerate() {
                let found = judge(kept.clone(), &number.to_string(), orderly);
                prop_assert_eq!(found.is_off(), row >= MAX_LOST, "{} lost in a row", row);
                kept = Some(found.clone());
                orderly = boot == Boot::Rebooted;
                if found.is_off() {
                    continue;
                }
                match boot {
                    Boot::Lost => row += 1,
                    Boot::Rebooted => {}
                    Boot::Survived | Boot::Stopped | Boot::SupervisorEnded => (kept, row) = (None, 0),
                }
            }
        }
    }

    #[test]
    fn what_is_remembered_comes_and_goes_with_files() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::below(directory.path());
        let name: Name = "web".parse().unwrap();
        fs::create_dir_all(paths.container(&name)).unwrap();
        let at = Duration::from_secs;
        let mut guard = Guard::default();
        assert!(guard.admits(&paths, &name, false));
        assert_eq!(recall(&paths, &name), None, "nothing is written before its turn");
        guard.starts(&paths, &name, at(120));
        assert_eq!(recall(&paths, &name), Some(record(&this_boot(), 0)));
        guard.tick(&paths, at(119));
        assert_eq!(guard.deadline(), Some(at(120)));
        guard.ended(&paths, &name);
        guard.tick(&paths, at(120));
        assert_eq!((recall(&paths, &name), guard.deadline()), (None, None));

        write(&paths, &name, &record("another boot", 1));
        assert!(!guard.admits(&paths, &name, false));
        assert!(recall(&paths, &name).unwrap().is_off());
        // Started by hand and stopped immediately, which proves nothing.
        guard.watch(&paths, &name, at(300));
        guard.ended_well(&paths, &name);
        guard.end(&paths);
        assert!(recall(&paths, &name).unwrap().is_off());
        guard.watch(&paths, &name, at(300));
        guard.tick(&paths, at(300));
        assert_eq!(recall(&paths, &name), None);

        assert!(guard.admits(&paths, &name, false));
        guard.starts(&paths, &name, at(500));
        guard.end(&paths);
        assert_eq!(recall(&paths, &name), None);
    }
}
