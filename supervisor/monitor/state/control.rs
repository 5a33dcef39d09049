//! What is asked on the container's control socket, and the end of a boot on request.
//!
//! Decides what an answer is; `clients` has the connections, `first_process` the way to SIGKILL.

use std::os::fd::AsFd;
use std::time::Duration;

use super::{Monitor, Phase};
use crate::monitor::protocol::{Answer, ControlRequest};

/// Why nobody gets a restart any more.
const STOPPED: &str = "the container was stopped, which cancelled the restart";

impl Monitor {
    /// Hears one request of a client. What is asked for may remove any other client from the list.
    pub(super) fn hear_client(&mut self, id: u64) {
        let Some(request) = self.clients.request(id) else { return };
        if matches!(request, ControlRequest::Status | ControlRequest::Watch)
            && let (Some(init), Phase::Running) = (self.init.pid(), self.phase)
        {
            self.readiness.look(init, &self.config.name);
        }
        match request {
            ControlRequest::Status => self.clients.answer(id, &Answer::Status(Box::new(self.status())), &[]),
            ControlRequest::Watch => {
                self.clients.watch(id);
                self.clients.answer(id, &Answer::Status(Box::new(self.status())), &[]);
            }
            ControlRequest::Stop { timeout_s, kill } => {
                self.stop(timeout_s, kill);
                self.clients.answer(id, &Answer::Done, &[]);
            }
            ControlRequest::Restart { timeout_s } => match self.restart(timeout_s) {
                Ok(boot) => self.clients.wait_for_boot(id, boot),
                Err(refusal) => self.clients.answer(id, &Answer::Failed(refusal.to_owned()), &[]),
            },
            ControlRequest::Console => match self.console.attach() {
                Ok(stream) => self.clients.answer(id, &Answer::Done, &[stream.as_fd()]),
                Err(error) => self.clients.answer(id, &Answer::Failed(format!("{error:#}")), &[]),
            },
            ControlRequest::Resize(size) => self.console.resize(size),
        }
    }

    /// Answers those who wait for a boot that has come, or for any boot when none will come.
    pub(super) fn answer_waiting(&mut self, answer: &Answer) {
        let boots = if matches!(answer, Answer::Done) { self.boots } else { u32::MAX };
        self.clients.answer_waiting(boots, answer);
    }

    /// Asks for the end, which nothing takes back: whoever waits for a restart is told that there will be none. Asked
    /// again, the earlier deadline counts.
    pub(super) fn stop(&mut self, timeout_s: Option<u32>, kill: bool) {
        self.answer_waiting(&Answer::Failed(STOPPED.to_owned()));
        self.end_boot(timeout_s, kill, false);
    }

    /// Asks for the end and a new boot; the number of the boot that this will be.
    ///
    /// # Errors
    /// That the container is being stopped: a stop wins over a restart.
    pub(super) fn restart(&mut self, timeout_s: Option<u32>) -> Result<u32, &'static str> {
        if self.phase == (Phase::Stopping { restart: false }) {
            return Err("it is being stopped; 'ds start' boots it again");
        }
        if self.init.pid().is_none() {
            // The boot that is under way has read its configuration already.
            return Ok(self.boots + 2);
        }
        self.end_boot(timeout_s, false, true);
        Ok(self.boots + 1)
    }

    fn end_boot(&mut self, timeout_s: Option<u32>, kill: bool, restart: bool) {
        let again = matches!(self.phase, Phase::Stopping { .. });
        self.phase = Phase::Stopping { restart };
        if self.init.pid().is_some() {
            let timeout = Duration::from_secs(u64::from(timeout_s.unwrap_or(self.plan.stop_timeout_s)));
            self.init.limit(timeout);
            if kill {
                self.kill();
            } else if !again {
                self.cgroup.thaw();
                self.ask();
            }
        }
        self.announce();
    }

    /// Asks PID 1 to end, as its init system is asked.
    pub(super) fn ask(&mut self) {
        if let Err(error) = self.init.ask(self.plan.stop) {
            log::warn!("{}: {error:#}; it is killed", self.config.name);
            self.kill();
        }
    }

    /// How long PID 1 may still take, when it was asked to end.
    pub(super) fn ends_within_s(&self) -> Option<u64> {
        self.init.ends_within_s().filter(|_| matches!(self.phase, Phase::Stopping { .. }))
    }

    /// Kills PID 1 and everything else.
    pub(super) fn kill(&mut self) {
        self.init.kill();
        // Root inside may have frozen it, and may have a process that does so again.
        self.cgroup.kill();
    }
}
