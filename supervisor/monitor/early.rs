//! Clients during the preparation of a container: the check of a large image takes minutes, and the monitor must answer
//! in the meantime.
//!
//! Owns the clients until then. It answers status requests and defers all others until the container runs.

use std::os::fd::BorrowedFd;

use nix::poll::PollFlags;

use super::clients::Client;
use super::protocol::{Answer, ControlRequest, PROTOCOL, State, Status};
use crate::config::Config;
use crate::monitor::protocol::Report;
use crate::peer::PidNamespace;
use crate::poll;
use crate::socket;

/// The connections so far.
#[derive(Debug, Default)]
pub(super) struct Early {
    pub(super) clients: Vec<Client>,
    /// The number of the client that connected last.
    pub(super) last_client: u64,
    /// A stop was requested.
    pub(super) stop: bool,
    /// The last reported progress of the check.
    told: Option<u8>,
}

impl Early {
    /// Accepts clients and answers what can be answered; never blocks.
    pub(super) fn serve(&mut self, listener: BorrowedFd<'_>, namespace: PidNamespace, config: &Config) {
        while poll::is_readable(listener) {
            self.last_client += 1;
            self.clients.extend(Client::accept(listener, namespace, self.last_client));
        }
        let stop = &mut self.stop;
        self.clients.retain_mut(|client| !poll::is_readable(client.fd()) || hear(client, stop, config));
    }

    /// Reports to the worker. The progress of a check is sent without blocking, since the worker may be busy with
    /// another start. The end of the worker is detected elsewhere.
    pub(super) fn report(&mut self, report: BorrowedFd<'_>, told: &Report) {
        if let Report::Checking { percent } = told {
            let known = percent.is_some() && *percent == self.told;
            if known || !poll::is_ready(report, PollFlags::POLLOUT) {
                return;
            }
            self.told = *percent;
        }
        let _ = socket::send(report, told, &[]);
    }

    /// Reports to all clients that the start has failed.
    pub(super) fn fail(&self, answer: &Answer) {
        for client in &self.clients {
            let _ = client.send(answer, &[]);
        }
    }
}

/// Handles one request; `false` if the client has ended.
fn hear(client: &mut Client, stop: &mut bool, config: &Config) -> bool {
    let Ok(Some(received)) = socket::receive::<ControlRequest>(client.fd()) else { return false };
    let answer = match received.message {
        ControlRequest::Status => Answer::Status(Box::new(status(config))),
        ControlRequest::Watch => {
            client.watching = true;
            Answer::Status(Box::new(status(config)))
        }
        ControlRequest::Stop { .. } => {
            *stop = true;
            Answer::Done
        }
        // The start uses the same configuration as a restart would.
        ControlRequest::Restart { .. } => {
            client.waits_for_boot = Some(1);
            return true;
        }
        ControlRequest::Console => Answer::Failed("it is starting; try again when it is running".into()),
        ControlRequest::Listener { .. } => {
            Answer::Failed("it is starting; try again when it is running".into())
        }
        ControlRequest::Resize(_) => return true,
    };
    client.send(&answer, &[]).is_ok()
}

fn status(config: &Config) -> Status {
    Status {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: State::Starting,
        pid: None,
        pid_started: None,
        monitor: nix::unistd::getpid().as_raw(),
        init: String::new(),
        ready: false,
        started_s: None,
        boots: 0,
        hostname: config.hostname().to_string(),
        cgroup: None,
        namespaces: 0,
        terms: None,
        devices: None,
        privileged: config.security.privileged.to_string(),
        volatile: config.container.volatile,
        network: config.network.mode.to_string(),
        addresses: Vec::new(),
        last_exit: None,
        ends_within_s: None,
    }
}
