//! The workers of the supervisor: how they are forked, what they say, and their ends.
//!
//! The other half of [`Server`] towards its children. Every one is a fork that leaves the loop; what is known of it is
//! its duty and the line to it. fork(2), waitpid(2), kill(2).

use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::policy::Event;
use super::server::{Outcome, Server};
use super::task::{Assignment, Task};
use crate::call;
use crate::clock::now;
use crate::config::value::Name;
use crate::exit::FAULT;
use crate::socket;
use crate::storage::sweep::{self, Leftovers};
use crate::sys::process::{Fork, fork};
use crate::worker::Knowledge;
use crate::worker::protocol::{Containers, FromSupervisor, ToSupervisor};

/// How long no worker is forked when the kernel has no descriptor or process left.
const BREATH: Duration = Duration::from_secs(1);

/// How often one looks whether a process that is not our child still has its job in its hands.
const GLANCE: Duration = Duration::from_secs(2);

/// A child that has not been reaped.
#[derive(Debug)]
pub(super) struct Worker {
    /// The line to it, until it closes it.
    pub(super) line: Option<OwnedFd>,
    /// What it does.
    pub(super) duty: Duty,
}

/// What a worker does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Duty {
    Client,
    Start(Name),
    Sweep(Name),
    Unlock,
    Describe,
    Tidy,
}

impl Server {
    /// Ends the worker that stands by. It is our child and not reaped, so the number is its own.
    pub(super) fn dismiss_standby(&mut self) {
        if let Some(standby) = self.standby.take() {
            let _ = kill(standby, Signal::SIGKILL);
            let _ = waitpid(standby, None);
            self.workers.remove(&standby);
        }
    }

    /// Sends a worker away that does not know the latest, once nothing is under way that may change it again. A client
    /// that has just come to it is served all the same.
    pub(super) fn renew_standby(&mut self) {
        if !self.standby_is_stale || self.is_at_work() {
            return;
        }
        self.standby_is_stale = false;
        if let Some(standby) = self.standby.take() {
            self.tell(standby, &FromSupervisor::Dismissed);
        }
    }

    /// Sees to it that a worker stands by for the next client.
    pub(super) fn keep_one_standing_by(&mut self) -> ControlFlow<Outcome> {
        self.breath = self.breath.filter(|until| *until > now());
        if self.standby.is_some() || self.breath.is_some() {
            return ControlFlow::Continue(());
        }
        match self.listener.try_clone() {
            Ok(listener) => self.employ(Task::Client(listener, self.namespace)),
            Err(error) => {
                log::error!("no worker: {error:#}");
                self.breath = Some(now() + BREATH);
                ControlFlow::Continue(())
            }
        }
    }

    /// Forks a worker. The child comes out of the loop.
    pub(super) fn employ(&mut self, task: Task) -> ControlFlow<Outcome> {
        let forked = socket::pair().and_then(|(ours, theirs)| Ok((call!(fork(), "fork")?, ours, theirs)));
        match forked {
            Ok((Fork::Parent(pid), ours, _)) => {
                if matches!(task, Task::Client(..)) {
                    self.standby = Some(pid);
                }
                self.workers.insert(pid, Worker { line: Some(ours), duty: Duty::of(&task) });
                ControlFlow::Continue(())
            }
            Ok((Fork::Child, _, line)) => {
                let knowledge = self.knowledge();
                ControlFlow::Break(Outcome::Worker(Box::new(Assignment { task, line, knowledge })))
            }
            Err(error) => {
                log::error!("no worker: {error:#}");
                match task {
                    Task::Client(..) => {
                        self.breath = Some(now() + BREATH);
                        ControlFlow::Continue(())
                    }
                    Task::Start(name) => self.start_ended(&name, false),
                    Task::Sweep(name) => self.decide(Event::Swept(name, false)),
                    // The next occasion, or the next supervisor, tries again.
                    Task::Unlock | Task::Describe(..) | Task::Tidy => ControlFlow::Continue(()),
                }
            }
        }
    }

    pub(super) fn hear_worker(&mut self, pid: Pid) -> ControlFlow<Outcome> {
        let Some(worker) = self.workers.get_mut(&pid) else { return ControlFlow::Continue(()) };
        let Some(line) = &worker.line else { return ControlFlow::Continue(()) };
        let (message, descriptors) = match socket::receive::<ToSupervisor>(line) {
            Ok(Some(received)) => (received.message, received.descriptors),
            Ok(None) => {
                worker.line = None;
                return ControlFlow::Continue(());
            }
            Err(error) => {
                log::error!("worker {pid}: {error:#}");
                worker.line = None;
                return ControlFlow::Continue(());
            }
        };
        match message {
            ToSupervisor::Taken => {
                self.standby = self.standby.filter(|standby| *standby != pid);
                ControlFlow::Continue(())
            }
            ToSupervisor::Containers => {
                self.tell(pid, &FromSupervisor::Containers(self.containers()));
                ControlFlow::Continue(())
            }
            ToSupervisor::Started(name) => match name.parse() {
                Ok(name) => self.started(&name),
                Err(_) => ControlFlow::Continue(()),
            },
            ToSupervisor::Cancel(name) => match name.parse() {
                Ok(name) => self.cancel(name, pid),
                Err(_) => ControlFlow::Continue(()),
            },
            ToSupervisor::Succeed => match descriptors.first() {
                Some(program) => self.hand_over(pid, program),
                None => ControlFlow::Continue(()),
            },
        }
    }

    /// Calls off whatever was to start a container, and tells the worker when nothing can any more.
    fn cancel(&mut self, name: Name, asker: Pid) -> ControlFlow<Outcome> {
        self.container_is_unwanted(&name);
        self.decide(Event::Cancelled(name.clone()))?;
        let starter = self.workers.iter().find(|(_, worker)| worker.duty == Duty::Start(name.clone()));
        match starter {
            Some((starter, _)) => {
                // Its monitor undoes what is half done. It is our child and not reaped, so the number is its own.
                let _ = kill(*starter, Signal::SIGKILL);
                self.cancelling.push((name, asker));
            }
            None => self.cancelled(asker),
        }
        ControlFlow::Continue(())
    }

    fn cancelled(&self, asker: Pid) {
        self.tell(asker, &FromSupervisor::Done);
    }

    pub(super) fn tell(&self, worker: Pid, answer: &FromSupervisor) {
        if let Some(line) = self.workers.get(&worker).and_then(|worker| worker.line.as_ref()) {
            // It may have been interrupted meanwhile.
            let _ = socket::send(line, answer, &[]);
        }
    }

    /// Takes every child that has ended: workers, and orphans that came to us.
    pub(super) fn reap(&mut self) -> ControlFlow<Outcome> {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
            let Some(pid) = status.pid() else { break };
            if let WaitStatus::Stopped(_, signal) = status {
                self.child_stopped(pid, signal);
                continue;
            }
            self.hear_last_words(pid)?;
            self.may_be_untidy |= is_abnormal(status);
            let Some(worker) = self.workers.remove(&pid) else { continue };
            if self.standby == Some(pid) {
                self.standby = None;
                if matches!(status, WaitStatus::Signaled(_, signal, _) if signal != Signal::SIGIO) {
                    // Whatever killed it may kill the next one, too.
                    self.breath = Some(now() + BREATH);
                }
            }
            let done = matches!(status, WaitStatus::Exited(_, 0));
            match worker.duty {
                Duty::Client => self.worker_ended(pid, status),
                Duty::Tidy => self.tidied(pid, status),
                Duty::Sweep(name) => self.decide(Event::Swept(name, done))?,
                Duty::Unlock => self.looked_at_lock(done)?,
                Duty::Describe => {}
                Duty::Start(name) => {
                    self.start_ended(&name, done)?;
                    let cancelling = std::mem::take(&mut self.cancelling);
                    let (told, rest) = cancelling.into_iter().partition(|(of, _)| *of == name);
                    self.cancelling = rest;
                    let told: Vec<(Name, Pid)> = told;
                    told.iter().for_each(|(_, asker)| self.cancelled(*asker));
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// One that stands by and is stopped would serve nobody: another one takes its place.
    fn child_stopped(&mut self, pid: Pid, signal: Signal) {
        log::warn!("process {pid} was stopped by {signal}");
        if self.standby == Some(pid) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// What a worker said before it ended counts, also when its end is noticed first.
    pub(super) fn hear_last_words(&mut self, pid: Pid) -> ControlFlow<Outcome> {
        let is_waiting =
            |worker: &Worker| worker.line.as_ref().is_some_and(|line| socket::is_readable(line.as_fd()));
        while self.workers.get(&pid).is_some_and(is_waiting) {
            self.hear_worker(pid)?;
        }
        ControlFlow::Continue(())
    }

    /// A worker that was interrupted with its client ends by SIGIO; nothing else ends one from outside.
    fn worker_ended(&self, pid: Pid, status: WaitStatus) {
        match status {
            WaitStatus::Signaled(_, Signal::SIGIO, _) => {}
            WaitStatus::Signaled(_, signal, _) => log::error!("worker {pid} was ended by {signal}"),
            _ => {}
        }
    }

    /// Has a worker remove what dead jobs have left, if there is anything and none is at it.
    pub(super) fn tidy(&mut self) -> ControlFlow<Outcome> {
        self.may_be_untidy |= self.tidy_at.is_some_and(|at| at <= now());
        if !self.may_be_untidy || self.workers.values().any(|worker| worker.duty == Duty::Tidy) {
            return ControlFlow::Continue(());
        }
        (self.may_be_untidy, self.tidy_at) = (false, None);
        match sweep::look(&self.paths) {
            Leftovers::None => ControlFlow::Continue(()),
            Leftovers::Held => {
                self.tidy_at = Some(now() + GLANCE);
                ControlFlow::Continue(())
            }
            Leftovers::Dead => self.employ(Task::Tidy),
        }
    }

    /// What is left now cannot be removed, or some process holds it: one that is not our child dies unnoticed.
    fn tidied(&mut self, pid: Pid, status: WaitStatus) {
        self.worker_ended(pid, status);
        if sweep::look(&self.paths) == Leftovers::Held {
            self.tidy_at = Some(now() + GLANCE);
        }
    }

    /// What a worker may know, which this process has become.
    fn knowledge(&mut self) -> Knowledge {
        Knowledge {
            pid: self.pid.as_raw(),
            since: self.since,
            statuses: self.monitors.take_statuses(),
            settings: self.settings,
        }
    }

    fn containers(&self) -> Containers {
        Containers {
            watched: self.monitors.connections().map(|(name, _)| name.clone()).collect(),
            restarts: self.policy.restarts(),
            waiting: self.waiting().into_iter().map(|(name, what)| (name, what.to_owned())).collect(),
            held_back: self.conditions.pending.held_back.clone(),
        }
    }
}

/// Whether a child was killed or fell over: it has cleaned nothing up. SIGIO ends a worker with its client, and only
/// where there is nothing to clean up. An orphan of a job comes to us after all others of that job.
fn is_abnormal(status: WaitStatus) -> bool {
    match status {
        WaitStatus::Signaled(_, signal, _) => signal != Signal::SIGIO,
        WaitStatus::Exited(_, code) => code == FAULT,
        _ => false,
    }
}

impl Duty {
    fn of(task: &Task) -> Self {
        match task {
            Task::Client(..) => Self::Client,
            Task::Start(name) => Self::Start(name.clone()),
            Task::Sweep(name) => Self::Sweep(name.clone()),
            Task::Unlock => Self::Unlock,
            Task::Describe(..) => Self::Describe,
            Task::Tidy => Self::Tidy,
        }
    }
}
