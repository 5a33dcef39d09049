//! Who asks while the container is being prepared: a check of a large image takes minutes, and nobody may take the
//! monitor for dead meanwhile.
//!
//! Answers how the container is, and keeps everything else for the moment when it runs.

use std::os::fd::BorrowedFd;

use anyhow::{Context, Result};
use nix::poll::PollFlags;

use super::clients::Clients;
use super::protocol::{Answer, ControlRequest, PROTOCOL, State, Status};
use crate::config::Config;
use crate::monitor::protocol::Report;
use crate::poll;
use crate::socket;

/// What is asked before there is a container.
#[derive(Debug)]
pub(super) struct Early {
    /// None once the container has them.
    clients: Option<Clients>,
    /// Somebody wants the end.
    stop: bool,
    /// How far the check was when that was told last.
    told: Option<u8>,
}

impl Early {
    pub(super) fn new(clients: Clients) -> Self {
        Self { clients: Some(clients), stop: false, told: None }
    }

    /// Whether somebody wants the end.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop
    }

    /// Hands the connections to the container.
    ///
    /// # Errors
    /// When it has them.
    pub(super) fn take_clients(&mut self) -> Result<Clients> {
        self.clients.take().context("the control socket")
    }

    /// Takes them back from a container that did not come to run.
    pub(super) fn give_back(&mut self, clients: Clients, stopped: bool) {
        self.clients = Some(clients);
        self.stop |= stopped;
    }

    /// Accepts whoever has come and answers what can be answered; waits for nothing.
    pub(super) fn serve(&mut self, config: &Config) {
        let Some(clients) = &mut self.clients else { return };
        while clients.accept() {}
        let all: Vec<u64> = clients.connections().map(|(id, _)| id).collect();
        for id in all {
            if let Some(request) = clients.request(id) {
                self.stop |= matches!(request, ControlRequest::Stop { .. });
                hear(clients, id, &request, config);
            }
        }
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
        self.clients.iter().for_each(|clients| clients.answer_everyone(answer));
    }
}

fn hear(clients: &mut Clients, id: u64, request: &ControlRequest, config: &Config) {
    let answer = match request {
        ControlRequest::Status => Answer::Status(Box::new(status(config))),
        ControlRequest::Watch => {
            clients.watch(id);
            Answer::Status(Box::new(status(config)))
        }
        ControlRequest::Stop { .. } => Answer::Done,
        // It comes up with the configuration that it would have after a restart.
        ControlRequest::Restart { .. } => return clients.wait_for_boot(id, 1),
        ControlRequest::Console => Answer::Failed("it is starting; try again when it runs".into()),
        ControlRequest::Resize(_) => return,
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
        volatile: config.container.volatile,
        network: config.network.mode.to_string(),
        addresses: Vec::new(),
        last_exit: None,
        ends_within_s: None,
    }
}
