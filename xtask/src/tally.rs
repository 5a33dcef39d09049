//! Counts the results of the test runner, and the skipped tests.
//!
//! Owns the parser of libtest's lines (`test NAME ... ok`) and of the skip log: a test that cannot run on this machine
//! appends `NAME: reason` to the file in `DS_SKIP_LOG` and returns, which libtest counts as passed. Runs nothing.

use std::collections::{BTreeMap, BTreeSet};

/// The results of all suites. Tests are named `SUITE::PATH`.
#[derive(Debug, Default)]
pub struct Tally {
    passed: BTreeSet<String>,
    failed: BTreeSet<String>,
    skipped: BTreeMap<String, String>,
    unsteady: BTreeSet<String>,
}

impl Tally {
    /// Counts one line of libtest's output; skips lines that report no test.
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

    /// Counts the skip log of a suite; must be called after all its lines.
    pub fn read_skip_log(&mut self, suite: &str, log: &str) {
        for line in log.lines().filter(|line| !line.trim().is_empty()) {
            // Paths of tests have `::` but never a colon and a space.
            let (name, reason) = line.split_once(": ").unwrap_or((line, ""));
            self.skip(format!("{suite}::{}", name.trim()), reason);
        }
    }

    /// Counts a passed test.
    pub fn pass(&mut self, name: String) {
        self.passed.insert(name);
    }

    /// A suite has failed: without a failed test of its own, it did not finish.
    pub fn explain_failure(&mut self, suite: &str) {
        let own = format!("{suite}::");
        if !self.failed().any(|name| name.starts_with(&own)) {
            self.fail(format!("{own}did_not_finish"));
        }
    }

    /// Counts a failed test.
    pub fn fail(&mut self, name: String) {
        self.failed.insert(name);
    }

    /// Counts a skipped test. A test that was skipped and then failed counts as failed.
    pub fn skip(&mut self, name: String, reason: &str) {
        if !self.failed.contains(&name) {
            self.passed.remove(&name);
            self.skipped.insert(name, if reason.is_empty() { "no reason given" } else { reason }.to_owned());
        }
    }

    /// Counts a test that failed among others and passed alone.
    pub fn recover(&mut self, name: &str) {
        if self.failed.remove(name) {
            self.passed.insert(name.to_owned());
            self.unsteady.insert(name.to_owned());
        }
    }

    /// The tests that only passed at the second attempt.
    pub fn unsteady(&self) -> impl Iterator<Item = &str> {
        self.unsteady.iter().map(String::as_str)
    }

    /// Whether no test failed.
    pub fn is_clean(&self) -> bool {
        self.failed.is_empty()
    }

    /// The failed tests.
    pub fn failed(&self) -> impl Iterator<Item = &str> {
        self.failed.iter().map(String::as_str)
    }

    /// The skipped tests, with the reasons.
    pub fn skipped(&self) -> impl Iterator<Item = (&str, &str)> {
        self.skipped.iter().map(|(name, reason)| (name.as_str(), reason.as_str()))
    }

    /// The differences between the skipped tests and the list of expected ones, one line each. A test that was not part
    /// of this run is not a difference.
    pub fn surprises(&self, expected: &BTreeSet<String>) -> Vec<String> {
        let unlisted = self.skipped.keys().filter(|name| !expected.contains(*name));
        let ran = expected.iter().filter(|name| self.passed.contains(*name) || self.failed.contains(*name));
        unlisted
            .map(|name| format!("{name} was skipped and is not listed"))
            .chain(ran.map(|name| format!("{name} is listed as skipped and ran")))
            .collect()
    }

    /// The last line.
    pub fn summary(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed.len(), self.failed.len(), self.skipped.len())
    }
}

/// Reads the list of tests that are expected to be skipped: one name per line, `#` begins a comment.
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
    fn a_failed_test_cannot_become_a_skipped_one() {
        let mut tally = tally();
        tally.read_skip_log("root", "limits::memory: tired\n");
        assert_eq!(tally.failed().collect::<Vec<_>>(), ["root::limits::memory"]);
        assert_eq!(tally.summary(), "3 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn a_test_that_passes_alone_is_counted_and_listed() {
        let mut tally = tally();
        tally.recover("root::limits::memory");
        tally.recover("root::boot::systemd");
        assert_eq!(tally.summary(), "4 passed, 0 failed, 1 skipped");
        assert_eq!(tally.unsteady().collect::<Vec<_>>(), ["root::limits::memory"]);
    }

    #[test]
    fn both_differences_of_the_skipped_tests_are_reported() {
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
