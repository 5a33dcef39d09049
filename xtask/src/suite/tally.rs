//! Counting what the test runner prints, and what tests say of themselves.
//!
//! Owns the reading of libtest's lines (`test NAME ... ok`) and of the skip log: a test that cannot run on this machine
//! appends `NAME: reason` to the file named by `DS_SKIP_LOG` and returns, which libtest counts as passed. Runs nothing.

use std::collections::{BTreeMap, BTreeSet};

/// The sum over all suites. Tests are named `SUITE::PATH`.
#[derive(Debug, Default)]
pub struct Tally {
    passed: BTreeSet<String>,
    failed: BTreeSet<String>,
    skipped: BTreeMap<String, String>,
    unsteady: BTreeSet<String>,
}

impl Tally {
    /// Takes one line of libtest's output; lines that report no test are passed over.
    pub fn read_line(&mut self, suite: &str, line: &str) {
        let Some((name, outcome)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        else {
            return;
        };
        // `name - should panic` is how libtest marks such a test.
        let name = format!("{suite}::{}", name.trim_end_matches(" - should panic"));
        match outcome {
            "ok" => self.pass(name),
            "FAILED" => self.fail(name),
            _ => {
                if let Some(reason) = outcome.strip_prefix("ignored") {
                    self.skip(name, reason.trim_start_matches([',', ' ']));
                }
            }
        }
    }

    /// Takes the skip log of a suite, after all its lines.
    pub fn read_skip_log(&mut self, suite: &str, log: &str) {
        for line in log.lines().filter(|line| !line.trim().is_empty()) {
            // Paths of tests have `::` but never a colon and a space.
            let (name, reason) = line.split_once(": ").unwrap_or((line, ""));
            self.skip(format!("{suite}::{}", name.trim()), reason);
        }
    }

    /// One more that passed.
    pub fn pass(&mut self, name: String) {
        self.passed.insert(name);
    }

    /// One more that failed.
    pub fn fail(&mut self, name: String) {
        self.failed.insert(name);
    }

    /// One that did not run. A test that failed after it said so has failed.
    pub fn skip(&mut self, name: String, reason: &str) {
        if !self.failed.contains(&name) {
            self.passed.remove(&name);
            self.skipped.insert(name, if reason.is_empty() { "no reason given" } else { reason }.to_owned());
        }
    }

    /// One that failed among others and passed when it ran alone.
    pub fn recover(&mut self, name: &str) {
        if self.failed.remove(name) {
            self.passed.insert(name.to_owned());
            self.unsteady.insert(name.to_owned());
        }
    }

    /// The names of what passed at the second attempt only.
    pub fn unsteady(&self) -> impl Iterator<Item = &str> {
        self.unsteady.iter().map(String::as_str)
    }

    /// Whether nothing failed.
    pub fn is_clean(&self) -> bool {
        self.failed.is_empty()
    }

    /// The names of what failed.
    pub fn failed(&self) -> impl Iterator<Item = &str> {
        self.failed.iter().map(String::as_str)
    }

    /// What was skipped, with the reasons.
    pub fn skipped(&self) -> impl Iterator<Item = (&str, &str)> {
        self.skipped.iter().map(|(name, reason)| (name.as_str(), reason.as_str()))
    }

    /// Where the skipped tests differ from those that are expected to be skipped, one line each. A test that was not
    /// chosen for this run is no difference.
    pub fn surprises(&self, expected: &BTreeSet<String>) -> Vec<String> {
        let unlisted = self.skipped.keys().filter(|name| !expected.contains(*name));
        let ran = expected.iter().filter(|name| self.passed.contains(*name) || self.failed.contains(*name));
        unlisted
            .map(|name| format!("{name} was skipped and is not listed"))
            .chain(ran.map(|name| format!("{name} is listed as skipped and ran")))
            .collect()
    }

    /// The closing line.
    pub fn summary(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed.len(), self.failed.len(), self.skipped.len())
    }
}

/// Reads the list of tests that are expected to be skipped: a name a line, `#` begins a comment.
pub fn expected(list: &str) -> BTreeSet<String> {
    list.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Tally, expected};

    fn tally() -> Tally {
        let mut tally = Tally::default();
        for line in [
            "running 5 tests",
            "test boot::systemd ... ok",
            "test boot::loop_device ... ok",
            "test boot::hostile - should panic ... ok",
            "test limits::memory ... FAILED",
            "test limits::later ... ignored, needs another kernel",
            "test result: FAILED. 3 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            tally.read_line("root", line);
        }
        tally
    }

    #[test]
    fn every_outcome_is_counted_once() {
        let mut tally = tally();
        assert_eq!(tally.summary(), "3 passed, 1 failed, 1 skipped");
        tally.read_skip_log("root", "boot::loop_device: no /dev/loop0\n\nboot::loop_device: no /dev/loop0\n");
        assert_eq!(tally.summary(), "2 passed, 1 failed, 2 skipped");
        assert!(!tally.is_clean());
        assert_eq!(
            tally.skipped().collect::<Vec<_>>(),
            [("root::boot::loop_device", "no /dev/loop0"), ("root::limits::later", "needs another kernel")]
        );
    }

    #[test]
    fn a_failure_cannot_be_talked_into_a_skip() {
        let mut tally = tally();
        tally.read_skip_log("root", "limits::memory: tired\n");
        assert_eq!(tally.failed().collect::<Vec<_>>(), ["root::limits::memory"]);
        assert_eq!(tally.summary(), "3 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn what_passes_alone_is_passed_and_told() {
        let mut tally = tally();
        tally.recover("root::limits::memory");
        tally.recover("root::boot::systemd");
        assert_eq!(tally.summary(), "4 passed, 0 failed, 1 skipped");
        assert_eq!(tally.unsteady().collect::<Vec<_>>(), ["root::limits::memory"]);
    }

    #[test]
    fn both_directions_of_a_changed_skip_set_are_told() {
        let list = expected("# why\nroot::boot::systemd # slow\n\nroot::other::not_chosen\n");
        assert_eq!(
            tally().surprises(&list),
            [
                "root::limits::later was skipped and is not listed",
                "root::boot::systemd is listed as skipped and ran"
            ]
        );
        assert!(tally().surprises(&expected("root::limits::later")).is_empty());
    }
}
