//! The workers: their forks, their messages, and their exits.
//!
//! Owns every child that has not been reaped, the socket to each, the standby worker, and the socket where clients
//! connect. Knows nothing of containers: messages and exits are reported as [`WorkerEvent`]. Every worker is a fork
//! that leaves the supervisor's loop. fork(2), waitpid(2), kill(2).

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::handover;
use super::task::Task;
use crate::call;
use crate::clock::now;
use crate::config::value::Name;
use crate::exit::FAULT;
use crate::peer::PidNamespace;
use crate::poll;
use crate::socket;
use crate::sys::descriptor::adopt;
use crate::sys::process::{Fork, fork};
use crate::worker::protocol::{FromSupervisor, ToSupervisor};

/// The delay before the next standby worker after a failed fork or a killed worker.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A message of a worker, or its exit.
#[derive(Debug)]
pub enum WorkerEvent {
    /// It requests the state of the containers.
    Asks(Pid),
    /// It has forked the monitor of this container.
    Started(Name),
    /// It requests that no planned start of this container happen.
    Cancel(Name, Pid),
    /// It requests that the supervisor execute this program.
    Succeed(Pid, OwnedFd),
    /// A start has ended; whether it succeeded.
    StartEnded(Name, bool),
    /// A cleanup has ended; whether it is complete.
    Swept(Name, bool),
    /// A child, or an orphan adopted by the supervisor, was killed or failed: it has cleaned nothing up.
    Died,
    /// A worker ended with its client, perhaps while it wrote or deleted files. It had no control group.
    EndedWithClient,
    /// The remains of dead jobs were removed, as far as possible.
    Tidied,
    /// The phone's lock was checked; whether the user has unlocked it.
    LookedAtLock(bool),
}

/// The result of [`Workers::fork_next`].
#[derive(Debug)]
pub enum Forked {
    /// No task is pending.
    Nothing,
    /// This process is the supervisor.
    Parent,
    /// This process is the worker for this task, with its end of the socket.
    Child(Task, OwnedFd),
    /// A task of the policy could not be started, so it has ended.
    Failed(WorkerEvent),
}

/// A child that has not been reaped.
#[derive(Debug)]
struct Unreaped {
    /// The socket to it, until the child closes it.
    connection: Option<OwnedFd>,
    duty: Duty,
}

/// The task of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Duty {
    Client,
    Start(Name),
    Sweep(Name),
    Unlock,
    Describe,
    Tidy,
    Follow,
}

/// All workers.
#[derive(Debug)]
pub struct Workers {
    listener: OwnedFd,
    namespace: PidNamespace,
    children: BTreeMap<Pid, Unreaped>,
    /// Tasks without a worker.
    tasks: VecDeque<Task>,
    /// The standby worker, which waits for the next client.
    standby: Option<Pid>,
    /// It was forked before a change of the state that it copied.
    standby_is_stale: bool,
    /// Workers that must be notified when the start that they cancelled has ended.
    cancelling: Vec<(Name, Pid)>,
    /// No standby worker is forked before this time.
    retry_at: Option<Duration>,
}

impl Workers {
    /// Without workers, for clients of this socket.
    ///
    /// # Errors
    /// If /proc does not show the namespaces of this process.
    pub fn new(listener: OwnedFd) -> Result<Self> {
        Ok(Self {
            listener,
            namespace: PidNamespace::of("self")?,
            children: BTreeMap::new(),
            tasks: VecDeque::new(),
            standby: None,
            standby_is_stale: false,
            cancelling: Vec::new(),
            retry_at: None,
        })
    }

    /// Takes over the children of the previous program.
    pub fn resume(&mut self, workers: Vec<handover::Worker>, cancelling: Vec<(Name, i32)>) {
        for worker in workers {
            let duty = match (worker.starts, worker.sweeps) {
                (Some(name), _) => Duty::Start(name),
                (_, Some(name)) => Duty::Sweep(name),
                _ => Duty::Client,
            };
            let connection = worker.connection.map(adopt);
            self.children.insert(Pid::from_raw(worker.pid), Unreaped { connection, duty });
        }
        self.cancelling = cancelling.into_iter().map(|(name, pid)| (name, Pid::from_raw(pid))).collect();
    }

    /// Writes the state of the children into `state`, for another program.
    pub fn describe(&self, state: &mut handover::State) {
        state.listener = self.listener.as_raw_fd();
        state.workers = self.children.iter().map(|(pid, child)| child.handed(*pid)).collect();
        state.cancelling = self.cancelling.iter().map(|(name, pid)| (name.clone(), pid.as_raw())).collect();
    }

    /// The descriptors for another program.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let connections = self.children.values().filter_map(|child| child.connection.as_ref());
        [&self.listener].into_iter().chain(connections).map(AsFd::as_fd)
    }

    /// The sockets to poll.
    pub fn connections(&self) -> impl Iterator<Item = (Pid, BorrowedFd<'_>)> {
        self.children.iter().filter_map(|(pid, child)| Some((*pid, child.connection.as_ref()?.as_fd())))
    }

    /// When [`Workers::keep_one_standing_by`] must be called next.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.retry_at
    }

    /// Whether a worker is busy.
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        self.children.keys().any(|pid| Some(*pid) != self.standby)
    }

    /// Whether a worker removes the remains of dead jobs.
    #[must_use]
    pub fn is_tidying(&self) -> bool {
        self.children.values().any(|child| child.duty == Duty::Tidy)
    }

    /// Whether a worker updates the networks of containers.
    #[must_use]
    pub fn is_following(&self) -> bool {
        self.children.values().any(|child| child.duty == Duty::Follow)
    }

    /// A state that workers copy has changed.
    pub fn outdate(&mut self) {
        self.standby_is_stale = true;
    }

    /// Ends the standby worker. It is an unreaped child, so its process id is valid.
    pub fn kill_standby(&mut self) {
        if let Some(standby) = self.standby.take() {
            let _ = kill(standby, Signal::SIGKILL);
            let _ = waitpid(standby, None);
            self.children.remove(&standby);
        }
    }

    /// Dismisses the standby worker. A client that has just connected to it is still served.
    pub fn dismiss_standby(&mut self) {
        if let Some(standby) = self.standby.take() {
            self.tell(standby, &FromSupervisor::Dismissed);
        }
    }

    /// Dismisses an outdated standby worker, once no further change is in progress.
    pub fn renew_standby(&mut self) {
        if self.standby_is_stale && !self.is_at_work() {
            self.standby_is_stale = false;
            self.dismiss_standby();
        }
    }

    /// Forks a standby worker if there is none.
    pub fn keep_one_standing_by(&mut self) {
        self.retry_at = self.retry_at.filter(|until| *until > now());
        if self.standby.is_some() || self.retry_at.is_some() {
            return;
        }
        match self.listener.try_clone() {
            Ok(listener) => self.employ(Task::Client(listener, self.namespace)),
            Err(error) => {
                log::error!("cannot fork a worker: {error:#}");
                self.retry_at = Some(now() + RETRY_DELAY);
            }
        }
    }

    /// Queues a task for a new worker, which the next [`Workers::fork_next`] forks.
    pub fn employ(&mut self, task: Task) {
        self.tasks.push_back(task);
    }

    /// Forks a worker for the next task. The child must leave the supervisor's loop.
    pub fn fork_next(&mut self) -> Forked {
        let Some(task) = self.tasks.pop_front() else { return Forked::Nothing };
        let forked = socket::pair().and_then(|(ours, theirs)| Ok((call!(fork(), "fork")?, ours, theirs)));
        match forked {
            Ok((Fork::Parent(pid), ours, _)) => {
                if matches!(task, Task::Client(..)) {
                    self.standby = Some(pid);
                }
                self.children.insert(pid, Unreaped { connection: Some(ours), duty: Duty::of(&task) });
                Forked::Parent
            }
            Ok((Fork::Child, _, theirs)) => Forked::Child(task, theirs),
            Err(error) => {
                log::error!("cannot fork a worker: {error:#}");
                match task {
                    Task::Client(..) => {
                        self.retry_at = Some(now() + RETRY_DELAY);
                        Forked::Parent
                    }
                    Task::Start(name) => Forked::Failed(WorkerEvent::StartEnded(name, false)),
                    Task::Sweep(name) => Forked::Failed(WorkerEvent::Swept(name, false)),
                    // A later occasion, or the next supervisor, tries again.
                    Task::Unlock | Task::Describe(..) | Task::Tidy | Task::Follow => Forked::Parent,
                }
            }
        }
    }

    /// Processes a message of a worker.
    pub fn hear(&mut self, pid: Pid) -> Option<WorkerEvent> {
        let child = self.children.get_mut(&pid)?;
        let received = socket::receive::<ToSupervisor>(child.connection.as_ref()?);
        let received = received.unwrap_or_else(|error| {
            log::error!("worker {pid}: {error:#}");
            None
        });
        let Some(received) = received else {
            child.connection = None;
            return None;
        };
        match received.message {
            ToSupervisor::Taken => {
                self.standby = self.standby.filter(|standby| *standby != pid);
                None
            }
            ToSupervisor::Containers => Some(WorkerEvent::Asks(pid)),
            ToSupervisor::Started(name) => Some(WorkerEvent::Started(name.parse().ok()?)),
            ToSupervisor::Cancel(name) => Some(WorkerEvent::Cancel(name.parse().ok()?, pid)),
            ToSupervisor::Succeed => {
                Some(WorkerEvent::Succeed(pid, received.descriptors.into_iter().next()?))
            }
        }
    }

    /// Answers a worker.
    pub fn tell(&self, worker: Pid, answer: &FromSupervisor) {
        if let Some(connection) = self.children.get(&worker).and_then(|child| child.connection.as_ref()) {
            // It may have been interrupted in the meantime.
            let _ = socket::send(connection, answer, &[]);
        }
    }

    /// Kills the worker that starts a container, and answers `asker` once it has ended; immediately if there is none.
    pub fn cancel_start(&mut self, name: Name, asker: Pid) {
        let duty = Duty::Start(name.clone());
        match self.children.iter().find(|(_, child)| child.duty == duty) {
            Some((starter, _)) => {
                // Its monitor undoes an incomplete start. It is an unreaped child, so its process id is valid.
                let _ = kill(*starter, Signal::SIGKILL);
                self.cancelling.push((name, asker));
            }
            None => self.tell(asker, &FromSupervisor::Done),
        }
    }

    /// Answers the workers that cancelled the start of this container, which has ended.
    pub fn start_is_over(&mut self, name: &Name) {
        let cancelling = std::mem::take(&mut self.cancelling);
        let (over, rest): (Vec<_>, Vec<_>) = cancelling.into_iter().partition(|(of, _)| of == name);
        self.cancelling = rest;
        over.iter().for_each(|(_, asker)| self.tell(*asker, &FromSupervisor::Done));
    }

    /// A stopped standby worker would serve no client: replaces it.
    fn child_stopped(&self, pid: Pid, signal: Signal) {
        log::warn!("process {pid} was stopped by {signal}");
        if self.standby == Some(pid) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// Processes the unread messages of a worker.
    fn last_words(&mut self, pid: Pid) -> Vec<WorkerEvent> {
        let mut events = Vec::new();
        let is_waiting = |child: &Unreaped| {
            child.connection.as_ref().is_some_and(|connection| poll::is_readable(connection.as_fd()))
        };
        while self.children.get(&pid).is_some_and(is_waiting) {
            events.extend(self.hear(pid));
        }
        events
    }

    /// Processes the unread messages of the standby worker: if it has accepted a client, it no longer stands by.
    pub fn hear_standby(&mut self) -> Vec<WorkerEvent> {
        self.standby.map(|standby| self.last_words(standby)).unwrap_or_default()
    }

    /// Processes the exit of one child, a worker or an adopted orphan; `None` if no child has ended. Messages that a
    /// worker sent before its exit are processed first.
    pub fn reap(&mut self) -> Option<Vec<WorkerEvent>> {
        let status = waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)).ok()?;
        let pid = status.pid()?;
        if let WaitStatus::Stopped(_, signal) = status {
            self.child_stopped(pid, signal);
            return Some(Vec::new());
        }
        let mut events = self.last_words(pid);
        events.extend(unclean(status));
        let Some(child) = self.children.remove(&pid) else { return Some(events) };
        // A worker that was interrupted with its client ends by SIGIO; nothing else ends one from outside.
        let killer = match status {
            WaitStatus::Signaled(_, signal, _) if signal != Signal::SIGIO => Some(signal),
            _ => None,
        };
        if self.standby == Some(pid) {
            self.standby = None;
            // The cause may also kill the next one.
            self.retry_at = killer.map(|_| now() + RETRY_DELAY).or(self.retry_at);
        }
        let done = matches!(status, WaitStatus::Exited(_, 0));
        if let (Duty::Client | Duty::Tidy, Some(signal)) = (&child.duty, killer) {
            log::error!("worker {pid} was killed by {signal}");
        }
        match child.duty {
            Duty::Client | Duty::Describe | Duty::Follow => {}
            Duty::Tidy => events.push(WorkerEvent::Tidied),
            Duty::Sweep(name) => events.push(WorkerEvent::Swept(name, done)),
            Duty::Unlock => events.push(WorkerEvent::LookedAtLock(done)),
            Duty::Start(name) => events.push(WorkerEvent::StartEnded(name, done)),
        }
        Some(events)
    }
}

impl Unreaped {
    fn handed(&self, pid: Pid) -> handover::Worker {
        let (starts, sweeps) = match &self.duty {
            Duty::Start(name) => (Some(name.clone()), None),
            Duty::Sweep(name) => (None, Some(name.clone())),
            Duty::Client | Duty::Unlock | Duty::Describe | Duty::Tidy | Duty::Follow => (None, None),
        };
        let connection = self.connection.as_ref().map(AsRawFd::as_raw_fd);
        handover::Worker { pid: pid.as_raw(), connection, starts, sweeps }
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
            Task::Follow => Self::Follow,
        }
    }
}

/// The event of a child that was killed or failed, and so has cleaned nothing up. SIGIO ends a worker with its client. An
/// orphan of a job is adopted after all other processes of that job.
fn unclean(status: WaitStatus) -> Option<WorkerEvent> {
    match status {
        WaitStatus::Signaled(_, Signal::SIGIO, _) => Some(WorkerEvent::EndedWithClient),
        WaitStatus::Signaled(..) | WaitStatus::Exited(_, FAULT) => Some(WorkerEvent::Died),
        _ => None,
    }
}
