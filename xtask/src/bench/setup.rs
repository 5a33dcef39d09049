//! The input of every measurement: the tested `ds` with its folder, and the number of rounds. Measures nothing.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::droidspaces::Droidspaces;
use crate::fixture;
use crate::interrupt::Interrupt;

/// The `ds` under test, and the folder of the bench.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) ds: Droidspaces,
    pub(super) fixtures: PathBuf,
    /// The program of the tests that denies system calls, if a chosen measurement needs it.
    pub(super) probe: Option<PathBuf>,
}

impl Bench {
    /// A path below `target/bench/`.
    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.ds.root().join("bench").join(name)
    }

    /// The path of a new copy of a fixture, as text for command lines.
    pub(super) fn rootfs(&self, fixture: &str, name: &str) -> Result<String> {
        let path = self.folder(&format!("{name}.rootfs"));
        fixture::copy(&self.fixtures.join(fixture), &path)?;
        path.into_os_string().into_string().ok().context("the path of the source tree is not UTF-8")
    }
}

/// The number of rounds of each measurement.
#[derive(Debug)]
pub(super) struct Rounds {
    pub(super) number: u32,
    pub(super) interrupt: Interrupt,
}

impl Rounds {
    /// Calls `round` this number of times. The first round has cold caches and counts like the others, because it
    /// hardly affects the median.
    pub(super) fn each(&self, what: &str, mut round: impl FnMut(u32) -> Result<()>) -> Result<()> {
        for number in 0..self.number {
            self.interrupt.check()?;
            round(number).with_context(|| format!("{what}, round {}", number + 1))?;
        }
        Ok(())
    }
}
