//! The boot-loop guard: a container whose start at boot took the machine down twice in a row starts by itself no more.
//!
//! Before such a start a record is written beside the configuration, durably; once the machine has survived it for a
//! while the record is removed. One that is found in a later boot of the machine tells of a start that was not
//! survived. The decision is a function of the record and the boot; the rest is files and times. random(4), boot_id.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::value::Name;
use crate::durable;
use crate::paths::Paths;

/// So many starts in a row that were not survived, and autostart is off.
pub const MOST_LOST: u32 = 2;
/// Largest record that is read, bytes.
const LARGEST: u64 = 4 << 10;
/// The identity of this boot of the machine, random(4).
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// What is remembered of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The boot of the machine in which it was started last.
    pub boot: String,
    /// How many starts in a row were not survived.
    #[serde(default)]
    pub lost: u32,
}

impl Record {
    /// Whether autostart is off because of it.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.lost >= MOST_LOST
    }
}

/// Why a container does not start by itself, for people.
pub const REASON: &str = "autostart is off: the machine went down twice in a row soon after its start";

/// What the record has to be before a start by autostart, and thereby whether there is to be one. `orderly`: the user
/// ended the last boot, so nothing is to be learned from it.
#[must_use]
pub fn judge(record: Option<Record>, boot: &str, orderly: bool) -> Record {
    let boot = boot.to_owned();
    match record {
        None => Record { boot, lost: 0 },
        Some(record) if record.is_off() || record.boot == boot => record,
        Some(record) => Record { boot, lost: record.lost + u32::from(!orderly) },
    }
}

/// The identity of this boot of the machine; empty where the kernel does not tell.
#[must_use]
pub fn this_boot() -> String {
    fs::read_to_string(BOOT).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// What is remembered of a container.
#[must_use]
pub fn recall(paths: &Paths, name: &Name) -> Option<Record> {
    let bytes = durable::read(&paths.boot_attempts(name), LARGEST).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Forgets what is remembered of a container: it starts by itself again.
pub fn forgive(paths: &Paths, name: &Name) {
    match fs::remove_file(paths.boot_attempts(name)) {
        Err(error) if error.kind() != ErrorKind::NotFound && error.kind() != ErrorKind::NotADirectory => {
            log::error!("{name}: forget the attempts to boot: {error}");
        }
        _ => {}
    }
}

/// The starts of this boot that have not been survived yet; as it is handed over to another program, too.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Guard {
    /// Records to be written when their containers start.
    due: BTreeMap<Name, Record>,
    /// When a start counts as survived.
    survived: BTreeMap<Name, Duration>,
}

impl Guard {
    /// Whether a container may start by itself, once its turn comes.
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

    /// A container is about to start; if by autostart, that is written down, and survived at `deadline`.
    pub fn starts(&mut self, paths: &Paths, name: &Name, deadline: Duration) {
        if let Some(record) = self.due.remove(name) {
            write(paths, name, &record);
            self.survived.insert(name.clone(), deadline);
        }
    }

    /// A container runs, or was about to when the supervisor went: if something is remembered of it, it may prove
    /// itself until `deadline`.
    pub fn watch(&mut self, paths: &Paths, name: &Name, deadline: Duration) {
        if !self.survived.contains_key(name) && recall(paths, name).is_some() {
            self.survived.insert(name.clone(), deadline);
        }
    }

    /// A container was stopped, or ended in good order: that is no crash of the machine. One whose autostart is off has
    /// yet to prove itself.
    pub fn ended_well(&mut self, paths: &Paths, name: &Name) {
        self.due.remove(name);
        if self.survived.remove(name).is_some() && !recall(paths, name).is_some_and(|record| record.is_off())
        {
            forgive(paths, name);
        }
    }

    /// A container that has to prove itself has ended in bad order; the machine has still to survive it.
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

    /// Forgets the starts that are survived by now.
    pub fn tick(&mut self, paths: &Paths, now: Duration) {
        self.survived.retain(|name, at| {
            let waits = *at > now;
            if !waits {
                forgive(paths, name);
            }
            waits
        });
    }

    /// The supervisor ends in good order, and nobody will see how long the machine lives on: nothing speaks against
    /// the starts so far.
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
        log::error!("write {}: {error}; the boot-loop guard does not know of this start", path.display());
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
            // This boot's own attempt: the supervisor was killed, not the machine.
            (Some(record("b", 0)), false, record("b", 0)),
            (Some(record("b", 1)), false, record("b", 1)),
            (Some(record("a", 0)), false, record("b", 1)),
            (Some(record("a", 1)), false, record("b", 2)),
            // The user rebooted.
            (Some(record("a", 0)), true, record("b", 0)),
            (Some(record("a", 1)), true, record("b", 1)),
            // Off stays off.
            (Some(record("a", 2)), false, record("a", 2)),
            (Some(record("a", 2)), true, record("a", 2)),
        ] {
            assert_eq!(judge(before.clone(), "b", orderly), after, "{before:?} {orderly}");
        }
    }

    /// What becomes of one boot of the machine with the container's start in it.
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
                prop_assert_eq!(found.is_off(), row >= MOST_LOST, "{} lost in a row", row);
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
        // By hand, and stopped at once: it has not proved anything.
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
