//! Clients during the preparation of a container: the check of a large image takes minutes, and the monitor must answer
//! in the meantime.
//!
//! Owns the clients until then. It answers status requests and defers all others until the container runs.

use std::os::fd::BorrowedFd;

use anyhow::{Context, Result};
use nix::poll::PollFlags;

use super::clients::Clients;
use super::protocol::{Answer, ControlRequest, PROTOCOL, State, Status};
use crate::config::Config;
use crate::monitor::protocol::Report;
use crate::poll;
use crate::socket;

/// The clients so far, and a stop that they requested.
#[derive(Debug)]
pub(super) struct Early {
    /// `None` while the container has them.
    clients: Option<Clients>,
    stop: bool,
    /// The last reported progress of the check.
    told: Option<u8>,
}

impl Early {
    pub(super) fn new(clients: Clients) -> Self {
        Self { clients: Some(clients), stop: false, told: None }
    }

    /// Whether a stop was requested.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop
    }

    /// Hands the clients over to the container.
    ///
    /// # Errors
    /// If it has them already.
    pub(super) fn take_clients(&mut self) -> Result<Clients> {
        self.clients.take().context("the control socket")
    }

    /// Takes the clients back from a container that failed to start.
    pub(super) fn give_back(&mut self, clients: Clients, stopped: bool) {
        self.clients = Some(clients);
        self.stop |= stopped;
    }

    /// Accepts clients and answers what can be answered; never blocks.
    pub(super) fn serve(&mut self, config: &Config) {
        let Some(clients) = &mut self.clients else { return };
        while clients.accept() {}
        for id in clients.ids() {
            if let Some(request) = clients.request(id).map(|received| received.message) {
                self.stop |= matches!(request, ControlRequest::Stop { .. });
                execute(clients, id, &request, config);
            }
        }
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
        self.clients.iter().for_each(|clients| clients.answer_all(answer));
    }
}

fn execute(clients: &mut Clients, id: u64, request: &ControlRequest, config: &Config) {
    let answer = match request {
        ControlRequest::Status => Answer::Status(Box::new(status(config))),
        ControlRequest::Watch => {
            clients.subscribe(id);
            Answer::Status(Box::new(status(config)))
        }
        ControlRequest::Stop { .. } => Answer::Done,
        // The start uses the same configuration as a restart would.
        ControlRequest::Restart { .. } => return clients.wait_for_boot(id, 1),
        ControlRequest::Console => Answer::Failed("it is starting; try again when it is running".into()),
        ControlRequest::Listener { .. } => {
            Answer::Failed("it is starting; try again when it is running".into())
        }
        // The boot reads the lists.
        ControlRequest::Resize(_) | ControlRequest::Neighbours | ControlRequest::NameServers => return,
    };
    clients.answer(id, &answer, &[]);
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
        warnings: Vec::new(),
    }
}
