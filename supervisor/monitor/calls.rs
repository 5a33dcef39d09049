//! The calls of a container without a PID namespace: the monitor answers them.
//!
//! Owns the beginning and the end of that, and the exit status of PID 1 after reboot(2) inside. `answer` has the
//! answers.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::part::{Part, Ready};
use super::protocol::Answer;
use crate::answer::{Answerer, End};
use crate::cgroup::Cgroup;
use crate::poll::PollSet;

/// The answering part, and the end that the container has requested.
#[derive(Debug, Default)]
pub(super) struct Calls {
    answerer: Option<Answerer>,
    end: Option<(Pid, End)>,
}

impl Calls {
    /// Begins to answer calls of PID 1 and its descendants, if it has sent a listener. `groups` are the names of its
    /// control group.
    pub(super) fn begin(&mut self, listener: Option<OwnedFd>, init: Pid, groups: [&str; 2]) -> Result<()> {
        self.answerer = listener.map(|listener| Answerer::new(listener, init, groups)).transpose()?;
        self.end = None;
        Ok(())
    }

    /// Begins to answer calls of a session with this first process.
    pub(super) fn add(&mut self, descriptors: Vec<OwnedFd>, process: i32) -> Answer {
        let begun = self.answerer.as_mut().context("it has ended in the meantime").and_then(|answerer| {
            let listener = descriptors.into_iter().next().context("the session sent no listener")?;
            answerer.add(listener, Pid::from_raw(process));
            Ok(())
        });
        begun.map_or_else(|error| Answer::Failed(format!("{error:#}")), |()| Answer::Done)
    }

    /// Answers calls; returns whether the container has requested its end.
    pub(super) fn answer(&mut self, index: usize, cgroup: &Cgroup) -> bool {
        let Some(answerer) = &mut self.answerer else { return false };
        answerer.serve(index, cgroup);
        let end = answerer.take_end();
        self.end = self.end.or(end.map(|end| (answerer.manager(), end)));
        end.is_some()
    }

    /// The next turn of the loop may have time for other calls only.
    pub(super) fn end_turn(&mut self) {
        self.answerer.iter_mut().for_each(Answerer::rotate);
    }

    /// PID 1 has ended with this status; returns the one that a PID namespace would report, reboot(2). Pending calls
    /// fail, because their processes are about to be killed.
    pub(super) fn end(&mut self, status: WaitStatus) -> WaitStatus {
        self.answerer = None;
        match self.end.take() {
            Some((init, End::Restart)) => WaitStatus::Signaled(init, Signal::SIGHUP, false),
            Some((init, End::PowerOff)) => WaitStatus::Signaled(init, Signal::SIGINT, false),
            None => status,
        }
    }
}

impl Part for Calls {
    fn watch<'a>(&'a self, set: &mut PollSet<'a, Ready>) {
        let listeners = self.answerer.iter().flat_map(Answerer::descriptors);
        listeners.enumerate().for_each(|(index, listener)| set.input(Ready::Calls(index), listener));
    }
}
