//! Containers without a PID namespace: the monitor answers the calls of their processes.
//!
//! Owns when it begins and ends, and what follows from reboot(2) inside. `answer` has the answers.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::protocol::Answer;
use super::state::Monitor;
use crate::answer::{Answerer, End};
use crate::sys::process;

impl Monitor {
    /// Begins to answer for PID 1 and what it starts, if it has sent a listener.
    pub(super) fn answer_for(&mut self, init: Pid, listener: Option<OwnedFd>) -> Result<()> {
        self.ends = None;
        let groups = [self.paths.cgroup.as_str(), self.config.name.as_str()];
        self.answerer = listener.map(|listener| Answerer::new(listener, init, groups)).transpose()?;
        Ok(())
    }

    /// Begins to answer for a session.
    pub(super) fn answer_session(&mut self, descriptors: Vec<OwnedFd>, process: i32) -> Answer {
        let begun = self.answerer.as_mut().context("it has ended in the meantime").and_then(|answerer| {
            let listener = descriptors.into_iter().next().context("the session sent no listener")?;
            answerer.add(listener, Pid::from_raw(process));
            Ok(())
        });
        begun.map_or_else(|error| Answer::Failed(format!("{error:#}")), |()| Answer::Done)
    }

    /// Answers the calls that wait on a listener.
    pub(super) fn answer_calls(&mut self, index: usize) {
        let Some(answerer) = &mut self.answerer else { return };
        answerer.serve(index, &self.cgroup);
        if let (Some(end), Some(init)) = (answerer.take_end(), self.init) {
            self.ends = Some(end);
            // As the kernel does with the first process of a PID namespace. Every other one is killed when it has ended.
            let _ = process::kill(init, libc::SIGKILL);
        }
    }

    /// PID 1 has ended: its end as a PID namespace reports it after reboot(2).
    pub(super) fn explain_end(&mut self, init: Pid, status: WaitStatus) -> WaitStatus {
        // Calls that still wait fail; their processes are about to be killed.
        self.answerer = None;
        match self.ends.take() {
            Some(End::Restart) => WaitStatus::Signaled(init, Signal::SIGHUP, false),
            Some(End::PowerOff) => WaitStatus::Signaled(init, Signal::SIGINT, false),
            None => status,
        }
    }
}
