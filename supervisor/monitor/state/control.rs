//! The requests on the container's control socket. Owns their execution.
//!
//! `clients` owns the connections, and `first_process` the escalation to SIGKILL.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::Result;
use nix::unistd::Pid;

use super::{Monitor, Phase};
use crate::monitor::part::Ready;
use crate::monitor::protocol::{Answer, ControlRequest};
use crate::network::Attachment;

/// The error for a cancelled restart.
const STOPPED: &str = "the container was stopped, which cancelled the restart";

impl Monitor {
    /// Handles an event of the control socket or of a client; ignores any other.
    pub(super) fn serve_client(&mut self, ready: Ready) {
        match ready {
            Ready::Listener => drop(self.clients.accept()),
            Ready::Client(id) => {
                if let Some(received) = self.clients.request(id) {
                    self.execute(id, &received.message, received.descriptors);
                }
            }
            _ => {}
        }
    }

    /// Executes a request. It may remove any other client from the list.
    fn execute(&mut self, id: u64, request: &ControlRequest, descriptors: Vec<OwnedFd>) {
        match *request {
            ControlRequest::Status => self.answer_status(id),
            ControlRequest::Watch => {
                self.clients.subscribe(id);
                self.answer_status(id);
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
            ControlRequest::Listener { process } => {
                let answer = self.calls.add(descriptors, process);
                self.clients.answer(id, &answer, &[]);
            }
            ControlRequest::Resize(size) => self.console.resize(size),
            ControlRequest::Neighbours => self.network.iter_mut().for_each(Attachment::neighbours_changed),
            ControlRequest::NameServers => {
                self.name_servers_changed = true;
                self.follow_name_servers();
            }
        }
    }

    /// Answers the pending calls on a listener. After reboot(2) inside, PID 1 ends as in a PID namespace, and then
    /// every other process is killed.
    pub(super) fn answer_calls(&mut self, index: usize) {
        if self.calls.answer(index, &self.cgroup) {
            self.init.kill();
        }
    }

    /// Begins to answer calls for a new PID 1, if it has sent a listener.
    pub(super) fn begin_answers(&mut self, listener: Option<OwnedFd>, init: Pid) -> Result<()> {
        // The names of its control group below the root of a hierarchy.
        self.calls.begin(listener, init, [self.paths.cgroup.as_str(), self.config.name.as_str()])
    }

    fn answer_status(&mut self, id: u64) {
        if let (Some(init), Phase::Running) = (self.init.pid(), self.phase) {
            self.readiness.look(init, &self.config.name);
        }
        let status = self.status();
        // A control group that is frozen or thawed causes no event here.
        if self.announced.is_some_and(|announced| announced != status.state) {
            self.announce();
        }
        self.clients.answer(id, &Answer::Status(Box::new(status)), &[]);
    }

    /// Answers clients that wait for a boot, when it has completed or will not happen.
    pub(super) fn answer_waiting(&mut self, answer: &Answer) {
        let boots = if matches!(answer, Answer::Done) { self.boots } else { u32::MAX };
        self.clients.answer_waiting(boots, answer);
    }

    /// Requests the end, which cannot be cancelled. Clients that wait for a restart get an error. Repeated requests can
    /// only shorten the timeout.
    pub(super) fn stop(&mut self, timeout_s: Option<u32>, kill: bool) {
        self.answer_waiting(&Answer::Failed(STOPPED.to_owned()));
        self.end_boot(timeout_s, kill, false);
    }

    /// Requests the end and another boot; returns the number of that boot.
    ///
    /// # Errors
    /// If the container is being stopped: a stop takes precedence over a restart.
    pub(super) fn restart(&mut self, timeout_s: Option<u32>) -> Result<u32, &'static str> {
        if self.phase == (Phase::Stopping { restart: false }) {
            return Err("it is being stopped; to boot it again, use 'ds start'");
        }
        if self.init.pid().is_none() {
            // The boot in progress has already read its configuration.
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
        // A container that ends needs no new ones.
        (self.name_servers, self.routes) = (None, None);
    }

    /// Sends the shutdown request to PID 1.
    pub(super) fn ask(&mut self) {
        if let Err(error) = self.init.ask(self.plan.stop) {
            log::warn!("{}: {error:#}; killing it", self.config.name);
            self.kill();
        }
    }

    /// The remaining time of PID 1, after a shutdown request.
    pub(super) fn ends_within_s(&self) -> Option<u64> {
        self.init.ends_within_s().filter(|_| matches!(self.phase, Phase::Stopping { .. }))
    }

    /// Kills PID 1 and every other process.
    pub(super) fn kill(&mut self) {
        self.init.kill();
        // Root in the container may have frozen it, and a process of root may do so again.
        self.kill_groups();
    }

    /// Kills every process of the container.
    pub(super) fn kill_groups(&self) {
        if self.plan.namespaces & libc::CLONE_NEWPID == 0 {
            self.cgroup.give_back_first_process();
        }
        self.cgroup.kill();
    }
}
