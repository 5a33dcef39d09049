//! The wakelocks of containers. Owns the setting of each container, and the wakelocks that result.

use std::collections::{BTreeMap, BTreeSet};

use crate::android::wakelock::Wakelocks;
use crate::config::Config;
use crate::config::value::{Name, WakelockPolicy};
use crate::paths::Paths;

/// The wakelocks of all containers.
#[derive(Debug)]
pub struct ContainerWakelocks {
    locks: Wakelocks,
    /// The settings of running and waiting containers.
    wanted: BTreeMap<Name, WakelockPolicy>,
}

impl ContainerWakelocks {
    /// Takes over the wakelocks that the kernel lists under the name of this control group.
    #[must_use]
    pub fn of(group: &str) -> Self {
        Self { locks: Wakelocks::of(group), wanted: BTreeMap::new() }
    }

    /// Reads the setting of a running or waiting container.
    pub fn look(&mut self, paths: &Paths, name: &Name) {
        let config = Config::load(&paths.container_ini(name), name);
        let policy = config.map_or(WakelockPolicy::No, |config| config.android.wakelock);
        self.wanted.insert(name.clone(), policy);
    }

    /// Holds exactly the wakelocks of the running and waiting containers.
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
