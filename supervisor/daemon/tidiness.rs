//! What jobs leave half done when they are killed, and the groups of a killed `ds shell`. Owns when that is looked for; a worker removes it.

use std::time::Duration;

use crate::clock::now;
use crate::paths::Paths;
use crate::storage::sweep::{self, Leftovers};

/// How often one looks whether a process that is not our child still has its job in its hands.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Whether there may be something to remove.
#[derive(Debug)]
pub struct Tidiness {
    paths: Paths,
    /// A process has died that may have left something half done.
    is_suspected: bool,
    /// A worker has died, perhaps with groups of its own.
    has_died: bool,
    /// When to look again for what a process of another supervisor has in its hands.
    look_at: Option<Duration>,
}

impl Tidiness {
    /// At the beginning there may be something.
    #[must_use]
    pub fn new(paths: Paths) -> Self {
        Self { paths, is_suspected: true, has_died: false, look_at: None }
    }

    /// A process has died that may have left something half done.
    pub fn suspect(&mut self) {
        (self.is_suspected, self.has_died) = (true, true);
    }

    /// When to look again without any event.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.look_at
    }

    /// Looks, if there is a reason to; whether a worker is to remove something. Not to be called while one does.
    pub fn is_work_due(&mut self) -> bool {
        let is_time = self.look_at.is_some_and(|at| at <= now());
        if !self.is_suspected && !is_time {
            return false;
        }
        (self.is_suspected, self.look_at) = (false, None);
        let has_died = std::mem::take(&mut self.has_died);
        match sweep::look(&self.paths) {
            Leftovers::None => has_died,
            Leftovers::Held => {
                self.look_at = Some(now() + LOOK_AGAIN);
                has_died
            }
            Leftovers::Dead => true,
        }
    }

    /// A worker has removed what it could. What is left now cannot be removed, or some process holds it: one that is
    /// not our child dies unnoticed.
    pub fn is_done(&mut self) {
        if sweep::look(&self.paths) == Leftovers::Held {
            self.look_at = Some(now() + LOOK_AGAIN);
        }
    }
}
