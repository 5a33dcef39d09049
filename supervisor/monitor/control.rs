//! What is asked on the container's control socket, and the ladder from a request to shut down to SIGKILL.
//!
//! A client is addressed by its number, never by its place in the list: whatever tells all clients something may remove
//! any of them.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::clients::Client;
use super::protocol::{Answer, ControlRequest};
use super::state::{Monitor, Phase};
use super::stopping::{Asking, hears, is_stopped, request};
use crate::poll;
use crate::socket;
use crate::sys::process;

/// How long a PID 1 that was killed may take before it is thawed and killed again.
const KILLED_AGAIN: Duration = Duration::from_secs(1);

/// Why nobody gets a restart any more.
pub(super) const STOPPED: &str = "the container was stopped, which cancelled the restart";

impl Monitor {
    /// Accepts whoever may speak to us.
    pub(super) fn accept(&mut self) {
        // What poll(2) said may be out of date: a boot has served everybody meanwhile.
        if !poll::is_readable(self.listener.as_fd()) {
            return;
        }
        self.last_client += 1;
        self.clients.extend(Client::accept(self.listener.as_fd(), self.namespace, self.last_client));
    }

    /// Hears one request of a client, and forgets the client once it is gone. What is asked for may remove any other
    /// client from the list.
    pub(super) fn hear_client(&mut self, id: u64) {
        let readable = self.client(id).filter(|client| poll::is_readable(client.fd()));
        let received = match readable.map(|client| socket::receive::<ControlRequest>(client.fd())) {
            // Gone, or heard already: what poll(2) said may be out of date.
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

    /// Answers those who wait for a boot that has come, or for any boot when none will come.
    pub(super) fn answer_waiting(&mut self, answer: &Answer) {
        let boots = if matches!(answer, Answer::Done) { self.boots } else { u32::MAX };
        for client in &mut self.clients {
            if client.waits_for_boot.is_some_and(|boot| boot <= boots) {
                client.waits_for_boot = None;
                let _ = client.send(answer, &[]);
            }
        }
    }

    /// Whether somebody waits for a boot that has not come.
    pub(super) fn is_waited_for(&self) -> bool {
        self.clients.iter().any(|client| client.waits_for_boot.is_some())
    }
}

impl Monitor {
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
        if self.init.is_none() {
            // The boot that is under way has read its configuration already.
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

    /// Asks PID 1 to end. One that has only just been executed cannot hear: the kernel drops what PID 1 has no handler
    /// for (pid_namespaces(7)). It is asked again, for a second or two.
    pub(super) fn ask(&mut self) {
        let Some(init) = self.init else { return };
        let again = Asking::after(self.asking.take());
        let (heard, stopped) = (hears(self.plan.stop, init), is_stopped(init));
        let asked = request(self.plan.stop, init);
        if stopped {
            // What is stopped hears nothing.
            let _ = process::kill(init, libc::SIGCONT);
        }
        if let Err(error) = asked {
            log::warn!("{}: {error:#}; it is killed", self.config.name);
            self.kill();
        } else if !heard {
            self.asking = again;
        }
    }

    /// How long PID 1 may still take, when it was asked to end.
    pub(super) fn ends_within_s(&self) -> Option<u64> {
        let deadline = self.deadline.filter(|_| matches!(self.phase, Phase::Stopping { .. }))?;
        Some(deadline.saturating_duration_since(Instant::now()).as_secs() + 1)
    }

    /// SIGKILL for PID 1, with which the kernel ends every process of its namespace. It is repeated, since root inside
    /// can freeze a process that is about to die.
    pub(super) fn kill(&mut self) {
        self.deadline = Some(Instant::now() + KILLED_AGAIN);
        self.asking = None;
        if let Some(init) = self.init {
            let _ = process::kill(init, libc::SIGKILL);
        }
        // Root inside may have frozen it, and may have a process that does so again.
        self.cgroup.kill();
    }
}
