//! The timeout for a process that SIGSTOP or the terminal has stopped, or a freezer has frozen.
//!
//! Owns the intervals of the checks. Sends no signal and ends no wait: the caller does. signal(7), cgroups(7),
//! proc_pid_task(5).

use std::fs;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::cgroup::is_frozen;
use crate::monitor::is_stopped;

/// The first check. The intervals double up to the longest, because a session may last for days.
const FIRST: Duration = Duration::from_secs(8);
const LONGEST: Duration = Duration::from_secs(60);
/// How long a process may be stopped or frozen.
const ALLOWED: Duration = Duration::from_secs(5);

/// A process that is waited for, and when the next check is due.
#[derive(Debug)]
pub struct StoppedWatch {
    process: Pid,
    with_descendants: bool,
    next: Instant,
    interval: Duration,
    /// The process that was stopped or frozen at the last check.
    stopped: Option<Pid>,
}

impl StoppedWatch {
    /// Watches one process.
    #[must_use]
    pub fn of(process: Pid) -> Self {
        Self {
            process,
            with_descendants: false,
            next: Instant::now() + FIRST,
            interval: FIRST,
            stopped: None,
        }
    }

    /// Watches a [`tree`].
    #[must_use]
    pub fn of_tree(process: Pid) -> Self {
        Self { with_descendants: true, ..Self::of(process) }
    }

    /// The watched process.
    #[must_use]
    pub fn process(&self) -> Pid {
        self.process
    }

    /// When the next check is due.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.next
    }

    /// Checks, if a check is due; returns the process that has been stopped or frozen for longer than it may be.
    pub fn check(&mut self, now: Instant) -> Option<Pid> {
        if now < self.next {
            return None;
        }
        let before = self.stopped.take();
        self.stopped = self.find();
        if before.is_some() && before == self.stopped {
            return before;
        }
        self.interval = if self.stopped.is_some() { ALLOWED } else { (self.interval * 2).min(LONGEST) };
        self.next = now + self.interval;
        None
    }

    fn find(&self) -> Option<Pid> {
        let all = if self.with_descendants { tree(self.process) } else { vec![self.process] };
        all.into_iter().find(|process| is_stopped(*process) || is_frozen(*process))
    }

    /// Makes the next check due now.
    #[cfg(test)]
    pub fn hurry(&mut self) {
        self.next = Instant::now();
    }
}

/// A process and all that it started. Without CONFIG_PROC_CHILDREN, only the process.
#[must_use]
pub fn tree(process: Pid) -> Vec<Pid> {
    let mut found = vec![process];
    let mut next = 0;
    while let Some(process) = found.get(next) {
        let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
        let children = children.unwrap_or_default();
        found.extend(children.split_whitespace().flat_map(str::parse).map(Pid::from_raw));
        next += 1;
    }
    found
}

/// What has stopped such a process.
#[must_use]
pub fn reason(process: Pid) -> &'static str {
    if is_stopped(process) { "was stopped by a signal" } else { "was frozen by a control group" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal, kill};
    use std::process::Command;
    use std::thread::sleep;

    #[test]
    fn a_process_that_stays_stopped_is_found_and_one_that_continues_is_not() {
        let mut child = Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().unwrap();
        let shell = Pid::from_raw(child.id().try_into().unwrap());
        let sleeper = loop {
            let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
            if let Some(child) = children.split_whitespace().next() {
                break Pid::from_raw(child.parse().unwrap());
            }
            sleep(Duration::from_millis(1));
        };
        let signal = |signal: Signal, stopped: bool| {
            kill(sleeper, signal).unwrap();
            while is_stopped(sleeper) != stopped {
                sleep(Duration::from_millis(1));
            }
        };
        let look = |watch: &mut StoppedWatch| {
            watch.hurry();
            watch.check(Instant::now())
        };
        let (mut tree, mut alone) = (StoppedWatch::of_tree(shell), StoppedWatch::of(shell));
        signal(Signal::SIGSTOP, true);
        assert_eq!(tree.check(Instant::now()), None, "it is not due");
        assert_eq!(look(&mut tree), None, "it may continue");
        assert!(tree.due() <= Instant::now() + ALLOWED);
        signal(Signal::SIGCONT, false);
        assert_eq!(look(&mut tree), None, "it has continued");
        signal(Signal::SIGSTOP, true);
        assert_eq!((look(&mut tree), look(&mut tree)), (None, Some(sleeper)));
        assert_eq!((look(&mut alone), look(&mut alone)), (None, None), "its children are not watched");
        kill(sleeper, Signal::SIGKILL).unwrap();
        child.wait().unwrap();
    }
}
