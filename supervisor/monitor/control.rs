//! What is asked on the container's control socket, and the ladder from a request to shut down to SIGKILL.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::clients::Client;
use super::protocol::{Answer, Request};
use super::state::{Monitor, Phase};
use super::stopping::{Asking, hears, request};
use crate::socket;
use crate::sys::process;

impl Monitor {
    /// Accepts whoever may speak to us.
    pub(super) fn accept(&mut self) {
        self.clients.extend(Client::accept(self.listener.as_fd(), self.namespace));
    }

    /// Hears a client out; `false` once it is gone.
    pub(super) fn hear_client(&mut self, index: usize) -> bool {
        let received = match self.clients.get(index).map(|client| socket::receive::<Request>(client.fd())) {
            Some(Ok(Some(received))) => received,
            _ => return false,
        };
        if matches!(received.message, Request::Status | Request::Watch) {
            self.look_for_readiness();
        }
        let answer = match received.message {
            Request::Status => Answer::Status(Box::new(self.status())),
            Request::Watch => {
                self.clients[index].watching = true;
                Answer::Status(Box::new(self.status()))
            }
            Request::Stop { timeout_s, kill } => {
                self.stop(timeout_s, kill, false);
                Answer::Done
            }
            Request::Restart { timeout_s } => {
                self.stop(timeout_s, false, true);
                self.clients[index].waits_for_restart = true;
                return true;
            }
            Request::Console => return self.attach_console(index),
            Request::Resize(size) => {
                self.console.resize(size);
                return true;
            }
        };
        self.clients[index].send(&answer, &[]).is_ok()
    }

    fn attach_console(&mut self, index: usize) -> bool {
        match self.console.attach() {
            Ok(stream) => self.clients[index].send(&Answer::Done, &[stream.as_fd()]).is_ok(),
            Err(error) => self.clients[index].send(&Answer::Failed(format!("{error:#}")), &[]).is_ok(),
        }
    }

    /// Answers those who wait for a restart.
    pub(super) fn restarted(&mut self, answer: &Answer) {
        for client in &mut self.clients {
            if std::mem::take(&mut client.waits_for_restart) {
                let _ = client.send(answer, &[]);
            }
        }
    }

    /// Asks for the end, or for the end and a new boot. Asked again, the earlier deadline counts, and the last wish.
    pub(super) fn stop(&mut self, timeout_s: Option<u32>, kill: bool, restart: bool) {
        if self.init.is_none() {
            return;
        }
        let again = matches!(self.phase, Phase::Stopping { .. });
        self.phase = Phase::Stopping { restart };
        let timeout = Duration::from_secs(u64::from(timeout_s.unwrap_or(self.plan.stop_timeout_s)));
        let due = Instant::now() + timeout;
        self.deadline = Some(self.deadline.map_or(due, |deadline| deadline.min(due)));
        if kill {
            self.kill();
        } else if !again {
            self.cgroup.thaw();
            self.ask();
        }
        self.announce();
    }

    /// Asks PID 1 to end. One that has only just been executed cannot hear: the kernel drops what PID 1 has no handler
    /// for (pid_namespaces(7)). It is asked again, for a second or two.
    pub(super) fn ask(&mut self) {
        let Some(init) = self.init else { return };
        let again = Asking::after(self.asking.take());
        let heard = hears(self.plan.stop, init);
        if let Err(error) = request(self.plan.stop, init) {
            log::warn!("{}: {error:#}; it is killed", self.config.name);
            self.kill();
        } else if !heard {
            self.asking = again;
        }
    }

    /// SIGKILL for PID 1, with which the kernel ends every process of its namespace.
    pub(super) fn kill(&mut self) {
        self.deadline = None;
        self.asking = None;
        if let Some(init) = self.init {
            let _ = process::kill(init, libc::SIGKILL);
        }
        // Root inside may have frozen it, and may have a process that does so again.
        self.cgroup.kill();
    }
}
