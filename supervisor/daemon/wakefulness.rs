//! Which containers keep the machine awake. Owns what each wants, and the wakelocks that follow from it.

use std::collections::{BTreeMap, BTreeSet};

use crate::android::wakelock::Wakelocks;
use crate::config::Config;
use crate::config::value::{Name, WakelockPolicy};
use crate::paths::Paths;

/// The wakelocks of all containers.
#[derive(Debug)]
pub struct Wakefulness {
    locks: Wakelocks,
    /// What the containers that run or wait want.
    wanted: BTreeMap<Name, WakelockPolicy>,
}

impl Wakefulness {
    /// Takes over what the kernel says is held under the name of this control group.
    #[must_use]
    pub fn of(group: &str) -> Self {
        Self { locks: Wakelocks::of(group), wanted: BTreeMap::new() }
    }

    /// Finds out what a container wants that runs or waits.
    pub fn look(&mut self, paths: &Paths, name: &Name) {
        let config = Config::load(&paths.container_ini(name), name);
        let policy = config.map_or(WakelockPolicy::No, |config| config.android.wakelock);
        self.wanted.insert(name.clone(), policy);
    }

    /// Holds the wakelocks of those that run or wait, as each wants, and no other.
    pub fn update(&mut self, runs: impl Fn(&Name) -> bool, waits: impl Fn(&Name) -> bool) {
        let mut held = BTreeSet::new();
        self.wanted.retain(|name, policy| {
            let (runs, waits) = (runs(name), waits(name));
            if (runs && *policy != WakelockPolicy::No) || (waits && *policy == WakelockPolicy::Always) {
                held.insert(name.as_str().to_owned());
            }
            runs || waits
        });
        self.locks.hold(&held);
    }
}
