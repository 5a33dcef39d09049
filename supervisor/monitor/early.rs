//! Who asks while the container is being prepared: a check of a large image takes minutes, and nobody may take the
//! monitor for dead meanwhile.
//!
//! Answers how the container is, and keeps everything else for the moment when it runs.

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
    /// Somebody wants the end.
    pub(super) stop: bool,
    /// How far the check was when that was told last.
    told: Option<u8>,
}

impl Early {
    /// Accepts whoever has come and answers what can be answered; waits for nothing.
    pub(super) fn serve(&mut self, listener: BorrowedFd<'_>, namespace: PidNamespace, config: &Config) {
        while poll::is_readable(listener) {
            self.last_client += 1;
            self.clients.extend(Client::accept(listener, namespace, self.last_client));
        }
        let stop = &mut self.stop;
        self.clients.retain_mut(|client| !poll::is_readable(client.fd()) || hear(client, stop, config));
    }

    /// Tells the worker. How far a check is, it hears once, and only if it listens: it may be busy with another start. A
    /// worker that is gone is noticed where it matters.
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

    /// Tells everybody that there will be no container.
    pub(super) fn fail(&self, answer: &Answer) {
        for client in &self.clients {
            let _ = client.send(answer, &[]);
        }
    }
}

/// Hears one request; `false` once the client is gone.
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
        // It comes up with the configuration that it would have after a restart.
        ControlRequest::Restart { .. } => {
            client.waits_for_boot = Some(1);
            return true;
        }
        ControlRequest::Console => Answer::Failed("it is starting; try again when it runs".into()),
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
        volatile: config.container.volatile,
        network: config.network.mode.to_string(),
        addresses: Vec::new(),
        last_exit: None,
        ends_within_s: None,
    }
}
