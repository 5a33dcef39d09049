//! The requests on the container's control socket, and the escalation from a shutdown request to SIGKILL.
//!
//! Owns the execution of requests. A client is addressed by its number and never by its index, because any message to
//! all clients may remove some of them.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::clients::Client;
use super::protocol::{Answer, ControlRequest};
use super::state::{Monitor, Phase};
use super::stopping::{Asking, hears, is_stopped, request};
use crate::poll;
use crate::socket;
use crate::sys::process;

/// The delay before a killed PID 1 is thawed and killed again.
const KILLED_AGAIN: Duration = Duration::from_secs(1);

/// The error for a cancelled restart.
pub(super) const STOPPED: &str = "the container was stopped, which cancelled the restart";

impl Monitor {
    /// Accepts permitted clients.
    pub(super) fn accept(&mut self) {
        // The event may be outdated: a boot has served all clients in the meantime.
        if !poll::is_readable(self.listener.as_fd()) {
            return;
        }
        self.last_client += 1;
        self.clients.extend(Client::accept(self.listener.as_fd(), self.namespace, self.last_client));
    }

    /// Handles one request of a client, and forgets the client if it has ended. A request may remove any other client
    /// from the list.
    pub(super) fn hear_client(&mut self, id: u64) {
        let readable = self.client(id).filter(|client| poll::is_readable(client.fd()));
        let received = match readable.map(|client| socket::receive::<ControlRequest>(client.fd())) {
            // Ended or already handled: the event may be outdated.
            None => return,
            Some(Ok(Some(received))) => received,
            Some(_) => return self.drop_client(id),
        };
        if matches!(received.message, ControlRequest::Status | ControlRequest::Watch) {
            self.look_for_readiness();
        }
        match received.message {
            ControlRequest::Status => self.answer(id, &Answer::Status(Box::new(self.status())), &[]),
            ControlRequest::Watch => {
                if let Some(client) = self.client(id) {
                    client.watching = true;
                }
                self.answer(id, &Answer::Status(Box::new(self.status())), &[]);
            }
            ControlRequest::Stop { timeout_s, kill } => {
                self.stop(timeout_s, kill);
                self.answer(id, &Answer::Done, &[]);
            }
            ControlRequest::Restart { timeout_s } => match self.restart(timeout_s) {
                Ok(boot) => {
                    if let Some(client) = self.client(id) {
                        client.waits_for_boot = Some(boot);
                    }
                }
                Err(refusal) => self.answer(id, &Answer::Failed(refusal.to_owned()), &[]),
            },
            ControlRequest::Console => match self.console.attach() {
                Ok(stream) => self.answer(id, &Answer::Done, &[stream.as_fd()]),
                Err(error) => self.answer(id, &Answer::Failed(format!("{error:#}")), &[]),
            },
            ControlRequest::Listener { process } => {
                let answer = self.answer_session(received.descriptors, process);
                self.answer(id, &answer, &[]);
            }
            ControlRequest::Resize(size) => self.console.resize(size),
        }
    }

    fn client(&mut self, id: u64) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.id == id)
    }

    fn drop_client(&mut self, id: u64) {
        self.clients.retain(|client| client.id != id);
    }

    fn answer(&mut self, id: u64, answer: &Answer, descriptors: &[BorrowedFd<'_>]) {
        let taken = self.client(id).is_none_or(|client| client.send(answer, descriptors).is_ok());
        if !taken {
            self.drop_client(id);
        }
    }

    /// Answers clients that wait for a boot, when it has completed or will not happen.
    pub(super) fn answer_waiting(&mut self, answer: &Answer) {
        let boots = if matches!(answer, Answer::Done) { self.boots } else { u32::MAX };
        for client in &mut self.clients {
            if client.waits_for_boot.is_some_and(|boot| boot <= boots) {
                client.waits_for_boot = None;
                let _ = client.send(answer, &[]);
            }
        }
    }

    /// Whether a client waits for a boot.
    pub(super) fn is_waited_for(&self) -> bool {
        self.clients.iter().any(|client| client.waits_for_boot.is_some())
    }
}

impl Monitor {
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
        if self.init.is_none() {
            // The boot in progress has already read its configuration.
            return Ok(self.boots + 2);
        }
        self.end_boot(timeout_s, false, true);
        Ok(self.boots + 1)
    }

    fn end_boot(&mut self, timeout_s: Option<u32>, kill: bool, restart: bool) {
        let again = matches!(self.phase, Phase::Stopping { .. });
        self.phase = Phase::Stopping { restart };
        if self.init.is_some() {
            let timeout = Duration::from_secs(u64::from(timeout_s.unwrap_or(self.plan.stop_timeout_s)));
            let due = Instant::now() + timeout;
            self.deadline = Some(self.deadline.map_or(due, |deadline| deadline.min(due)));
            if kill {
                self.kill();
            } else if !again {
                self.cgroup.thaw();
                self.ask();
            }
        }
        self.announce();
    }

    /// Sends the shutdown request to PID 1. The kernel drops signals for which a newly executed PID 1 has no handler
    /// yet (pid_namespaces(7)), so the request is repeated for a second or two.
    pub(super) fn ask(&mut self) {
        let Some(init) = self.init else { return };
        let again = Asking::after(self.asking.take());
        let (heard, stopped) = (hears(self.plan.stop, init), is_stopped(init));
        let asked = request(self.plan.stop, init);
        if stopped {
            // A stopped process cannot handle the request.
            let _ = process::kill(init, libc::SIGCONT);
        }
        if let Err(error) = asked {
            log::warn!("{}: {error:#}; killing it", self.config.name);
            self.kill();
        } else if !heard {
            self.asking = again;
        }
    }

    /// The remaining time of PID 1, after a shutdown request.
    pub(super) fn ends_within_s(&self) -> Option<u64> {
        let deadline = self.deadline.filter(|_| matches!(self.phase, Phase::Stopping { .. }))?;
        Some(deadline.saturating_duration_since(Instant::now()).as_secs() + 1)
    }

    /// Sends SIGKILL to PID 1; the kernel then kills every process of its namespace. Repeated, because root in the
    /// container can freeze a dying process.
    pub(super) fn kill(&mut self) {
        self.deadline = Some(Instant::now() + KILLED_AGAIN);
        self.asking = None;
        if let Some(init) = self.init {
            let _ = process::kill(init, libc::SIGKILL);
        }
        // Root in the container may have frozen it, and a process of root may do so again.
        self.cgroup.kill();
    }
}
