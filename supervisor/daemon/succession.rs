//! How the running supervisor leaves its place to another program, and how that one takes it.
//!
//! The process, its lock, its socket and its children stay; see `handover` for what goes along. Clients that connect
//! meanwhile wait in the socket's queue. Monitors are found again as after a crash, by their control sockets.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::Result;
use nix::fcntl::FdFlag;
use nix::sys::signal::SigSet;
use nix::unistd::Pid;

use super::conditions::Conditions;
use super::handover::{self, State};
use super::server::{Outcome, Server};
use super::workers::{Duty, Worker};
use crate::call;
use crate::paths::Paths;
use crate::sys::descriptor::adopt;
use crate::worker::protocol::FromSupervisor;

impl Server {
    /// Becomes another program. Returns only when that did not work, and then everything goes on as before.
    pub(super) fn hand_over(&mut self, asker: Pid, program: &OwnedFd) -> ControlFlow<Outcome> {
        // A client that has just come to it is served all the same.
        if let Some(standby) = self.standby.take() {
            self.tell(standby, &FromSupervisor::Dismissed);
        }
        log::info!("supervisor {} leaves its place to another program", env!("CARGO_PKG_VERSION"));
        let Some(lock) = &self.lock else { return ControlFlow::Continue(()) };
        let state = State {
            listener: self.listener.as_raw_fd(),
            lock: lock.as_raw_fd(),
            since_ms: u64::try_from(self.since.as_millis()).unwrap_or(0),
            asker: asker.as_raw(),
            workers: self.workers.iter().map(|(pid, worker)| worker.handed(*pid)).collect(),
            cancelling: self.cancelling.iter().map(|(name, pid)| (name.clone(), pid.as_raw())).collect(),
            policy: std::mem::take(&mut self.policy),
            pending: std::mem::take(&mut self.conditions.pending),
            guard: std::mem::take(&mut self.guard),
        };
        let lines = self.workers.values().filter_map(|worker| worker.line.as_ref());
        let kept: Vec<BorrowedFd<'_>> =
            [&self.listener, lock].into_iter().chain(lines).map(AsFd::as_fd).collect();
        let Err(error) = state.hand_over(program, &kept, &self.paths);
        self.policy = state.policy;
        self.conditions.pending = state.pending;
        self.guard = state.guard;
        log::error!("{error:#}");
        self.tell(asker, &FromSupervisor::Failed(format!("{error:#}")));
        ControlFlow::Continue(())
    }

    /// Takes the place of the program before.
    ///
    /// # Errors
    /// What is in the way; the place is empty then.
    pub fn succeed(paths: Paths, state: State, foreground: bool) -> Result<Self> {
        let (listener, lock) = (adopt(state.listener), adopt(state.lock));
        let mut workers = BTreeMap::new();
        for worker in state.workers {
            let line = worker.line.map(adopt);
            let duty = match (worker.starts, worker.sweeps) {
                (Some(name), _) => Duty::Start(name),
                (_, Some(name)) => Duty::Sweep(name),
                _ => Duty::Client,
            };
            workers.insert(Pid::from_raw(worker.pid), Worker { line, duty });
        }
        let lines = workers.values().filter_map(|worker| worker.line.as_ref());
        let kept: Vec<BorrowedFd<'_>> =
            [&listener, &lock].into_iter().chain(lines).map(AsFd::as_fd).collect();
        handover::mark(&kept, FdFlag::FD_CLOEXEC)?;
        let mut server = Self::assemble(paths, listener, lock, foreground)?;
        call!(SigSet::all().thread_unblock(), "sigprocmask")?;
        server.workers = workers;
        server.since = Duration::from_millis(state.since_ms);
        server.policy = state.policy;
        server.policy.limit(server.settings.start_parallel);
        server.conditions = Conditions::of(state.pending);
        server.guard = state.guard;
        server.cancelling =
            state.cancelling.into_iter().map(|(name, pid)| (name, Pid::from_raw(pid))).collect();
        server.asker = Some(Pid::from_raw(state.asker));
        log::info!("supervisor {} takes the place", env!("CARGO_PKG_VERSION"));
        Ok(server)
    }

    /// The first thing that a successor does: what has ended meanwhile is taken, and who asked for it is told.
    pub(super) fn take_place(&mut self) -> ControlFlow<Outcome> {
        for name in self.policy.watched() {
            if !self.monitors.watch(&self.paths, &name).unwrap_or(false) {
                self.gone(&name, None)?;
            }
        }
        if let Some(asker) = self.asker.take() {
            self.reap()?;
            self.tell(asker, &FromSupervisor::Done);
        }
        ControlFlow::Continue(())
    }
}

impl Worker {
    fn handed(&self, pid: Pid) -> handover::Worker {
        let (starts, sweeps) = match &self.duty {
            Duty::Start(name) => (Some(name.clone()), None),
            Duty::Sweep(name) => (None, Some(name.clone())),
            Duty::Client | Duty::Unlock | Duty::Describe | Duty::Tidy => (None, None),
        };
        handover::Worker {
            pid: pid.as_raw(),
            line: self.line.as_ref().map(AsRawFd::as_raw_fd),
            starts,
            sweeps,
        }
    }
}
