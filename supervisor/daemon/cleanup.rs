//! Decides when to search for the remains of killed jobs, and for the control groups of a killed `ds shell`. A worker
//! removes them.

use std::time::Duration;

use crate::clock::now;
use crate::paths::Paths;
use crate::storage::sweep::{self, Leftovers};

/// The interval at which a job of another supervisor's process is checked.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Whether there may be remains.
#[derive(Debug)]
pub struct Cleanup {
    paths: Paths,
    /// A process that may leave remains has died.
    is_suspected: bool,
    /// A worker has died that may leave control groups.
    has_died: bool,
    /// When to check a job of another supervisor's process again.
    look_at: Option<Duration>,
}

impl Cleanup {
    /// At the start, there may be remains.
    #[must_use]
    pub fn new(paths: Paths) -> Self {
        Self { paths, is_suspected: true, has_died: false, look_at: None }
    }

    /// A process that may leave remains has died.
    pub fn suspect(&mut self) {
        (self.is_suspected, self.has_died) = (true, true);
    }

    /// A monitor was killed, or a worker ended with its client, perhaps while it wrote a file.
    pub fn suspect_files(&mut self) {
        self.is_suspected = true;
    }

    /// When the next check is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.look_at
    }

    /// Performs the check if there is a reason; returns whether a worker must remove remains. Must not be called while
    /// one does.
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

    /// A worker has removed what it could. The rest cannot be removed, or a process holds it that is not a child of
    /// this supervisor, so that its end is not reported.
    pub fn is_done(&mut self) {
        if sweep::look(&self.paths) == Leftovers::Held {
            self.look_at = Some(now() + LOOK_AGAIN);
        }
    }
}
