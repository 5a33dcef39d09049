//! The workers: how they are forked, what they say, and their ends.
//!
//! Owns every child that has not been reaped, the socket to each, which of them stands by, and the socket where clients
//! connect. Knows nothing of containers: what a worker says, and how one ended, comes out as a [`WorkerEvent`]. Every
//! worker is a fork that leaves the supervisor's loop. fork(2), waitpid(2), kill(2).

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

/// How long no worker is forked for a client after one could not be forked or was killed.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// What a worker said, or how one ended.
#[derive(Debug)]
pub enum WorkerEvent {
    /// It asks what is known of the containers.
    Asks(Pid),
    /// It has forked the monitor of this container.
    Started(Name),
    /// It asks that this container be started no more.
    Cancel(Name, Pid),
    /// It asks that the supervisor become this program.
    Succeed(Pid, OwnedFd),
    /// A start has ended; whether it succeeded.
    StartEnded(Name, bool),
    /// A sweep has ended; whether nothing is left.
    Swept(Name, bool),
    /// A child, or an orphan that came to us, was killed or failed: it has cleaned nothing up.
    Died,
    /// What dead jobs had left was removed, as far as that is possible.
    Tidied,
    /// The phone's lock was looked at; whether the user has unlocked it.
    LookedAtLock(bool),
}

/// What [`Workers::fork_next`] has done.
#[derive(Debug)]
pub enum Forked {
    /// No task was waiting.
    Nothing,
    /// This process goes on as before.
    Parent,
    /// This process is the worker for this task, with the worker's end of the socket.
    Child(Task, OwnedFd),
    /// A task of the policy's could not be begun, which is an end of it.
    Failed(WorkerEvent),
}

/// A child that has not been reaped.
#[derive(Debug)]
struct Unreaped {
    /// The socket to it, until it closes it.
    connection: Option<OwnedFd>,
    duty: Duty,
}

/// What a worker does.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Duty {
    Client,
    Start(Name),
    Sweep(Name),
    Unlock,
    Describe,
    Tidy,
}

/// All workers.
#[derive(Debug)]
pub struct Workers {
    listener: OwnedFd,
    namespace: PidNamespace,
    children: BTreeMap<Pid, Unreaped>,
    /// Tasks that no worker has been forked for yet.
    tasks: VecDeque<Task>,
    /// The worker that waits for the next client.
    standby: Option<Pid>,
    /// It was forked before something changed that it knows from its birth.
    standby_is_stale: bool,
    /// Workers to be answered once the start of a container that they cancelled has ended.
    cancelling: Vec<(Name, Pid)>,
    /// No worker is forked for a client before.
    retry_at: Option<Duration>,
}

impl Workers {
    /// None yet, for clients of this socket.
    ///
    /// # Errors
    /// When /proc does not show our own namespace.
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

    /// Takes over the children of the program before.
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

    /// Writes into `state` what another program has to know of the children.
    pub fn describe(&self, state: &mut handover::State) {
        state.listener = self.listener.as_raw_fd();
        state.workers = self.children.iter().map(|(pid, child)| child.handed(*pid)).collect();
        state.cancelling = self.cancelling.iter().map(|(name, pid)| (name.clone(), pid.as_raw())).collect();
    }

    /// The descriptors that go along to another program.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let connections = self.children.values().filter_map(|child| child.connection.as_ref());
        [&self.listener].into_iter().chain(connections).map(AsFd::as_fd)
    }

    /// The sockets to poll.
    pub fn connections(&self) -> impl Iterator<Item = (Pid, BorrowedFd<'_>)> {
        self.children.iter().filter_map(|(pid, child)| Some((*pid, child.connection.as_ref()?.as_fd())))
    }

    /// When [`Workers::keep_one_standing_by`] is to be called without any event.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.retry_at
    }

    /// Whether a worker does anything else than to stand by.
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        self.children.keys().any(|pid| Some(*pid) != self.standby)
    }

    /// Whether a worker removes what dead jobs have left.
    #[must_use]
    pub fn is_tidying(&self) -> bool {
        self.children.values().any(|child| child.duty == Duty::Tidy)
    }

    /// Something has changed that a worker knows from its birth.
    pub fn outdate(&mut self) {
        self.standby_is_stale = true;
    }

    /// Ends the worker that stands by. It is our child and not reaped, so the number is its own.
    pub fn kill_standby(&mut self) {
        if let Some(standby) = self.standby.take() {
            let _ = kill(standby, Signal::SIGKILL);
            let _ = waitpid(standby, None);
            self.children.remove(&standby);
        }
    }

    /// Sends the worker away that stands by. A client that has just come to it is served all the same.
    pub fn dismiss_standby(&mut self) {
        if let Some(standby) = self.standby.take() {
            self.tell(standby, &FromSupervisor::Dismissed);
        }
    }

    /// Sends a worker away that does not know the latest, once nothing is under way that may change it again.
    pub fn renew_standby(&mut self) {
        if self.standby_is_stale && !self.is_at_work() {
            self.standby_is_stale = false;
            self.dismiss_standby();
        }
    }

    /// Sees to it that a worker stands by for the next client.
    pub fn keep_one_standing_by(&mut self) {
        self.retry_at = self.retry_at.filter(|until| *until > now());
        if self.standby.is_some() || self.retry_at.is_some() {
            return;
        }
        match self.listener.try_clone() {
            Ok(listener) => self.employ(Task::Client(listener, self.namespace)),
            Err(error) => {
                log::error!("no worker: {error:#}");
                self.retry_at = Some(now() + RETRY_DELAY);
            }
        }
    }

    /// Has a task done by a worker of its own, with the next [`Workers::fork_next`].
    pub fn employ(&mut self, task: Task) {
        self.tasks.push_back(task);
    }

    /// Forks a worker for the next task. The child has to leave the supervisor's loop.
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
                log::error!("no worker: {error:#}");
                match task {
                    Task::Client(..) => {
                        self.retry_at = Some(now() + RETRY_DELAY);
                        Forked::Parent
                    }
                    Task::Start(name) => Forked::Failed(WorkerEvent::StartEnded(name, false)),
                    Task::Sweep(name) => Forked::Failed(WorkerEvent::Swept(name, false)),
                    // The next occasion, or the next supervisor, tries again.
                    Task::Unlock | Task::Describe(..) | Task::Tidy => Forked::Parent,
                }
            }
        }
    }

    /// Takes what a worker says.
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
            // It may have been interrupted meanwhile.
            let _ = socket::send(connection, answer, &[]);
        }
    }

    /// Kills the worker that starts a container, and answers `asker` when that has ended; at once if there is none.
    pub fn cancel_start(&mut self, name: Name, asker: Pid) {
        let duty = Duty::Start(name.clone());
        match self.children.iter().find(|(_, child)| child.duty == duty) {
            Some((starter, _)) => {
                // Its monitor undoes what is half done. It is our child and not reaped, so the number is its own.
                let _ = kill(*starter, Signal::SIGKILL);
                self.cancelling.push((name, asker));
            }
            None => self.tell(asker, &FromSupervisor::Done),
        }
    }

    /// Answers those who cancelled the start of this container, which has ended.
    pub fn start_is_over(&mut self, name: &Name) {
        let cancelling = std::mem::take(&mut self.cancelling);
        let (over, rest): (Vec<_>, Vec<_>) = cancelling.into_iter().partition(|(of, _)| of == name);
        self.cancelling = rest;
        over.iter().for_each(|(_, asker)| self.tell(*asker, &FromSupervisor::Done));
    }

    /// One that stands by and is stopped would serve nobody: another one takes its place.
    fn child_stopped(&self, pid: Pid, signal: Signal) {
        log::warn!("process {pid} was stopped by {signal}");
        if self.standby == Some(pid) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// Takes what a worker has said and nobody has heard.
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

    /// Takes what the worker has said that stands by: one that has just taken a client stands by no more.
    pub fn hear_standby(&mut self) -> Vec<WorkerEvent> {
        self.standby.map(|standby| self.last_words(standby)).unwrap_or_default()
    }

    /// Takes the end of one child, a worker or an orphan that came to us; none when no child has ended. What a worker
    /// said before it ended counts, also when its end is noticed first.
    pub fn reap(&mut self) -> Option<Vec<WorkerEvent>> {
        let status = waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)).ok()?;
        let pid = status.pid()?;
        if let WaitStatus::Stopped(_, signal) = status {
            self.child_stopped(pid, signal);
            return Some(Vec::new());
        }
        let mut events = self.last_words(pid);
        events.extend(is_abnormal(status).then_some(WorkerEvent::Died));
        let Some(child) = self.children.remove(&pid) else { return Some(events) };
        // A worker that was interrupted with its client ends by SIGIO; nothing else ends one from outside.
        let killer = match status {
            WaitStatus::Signaled(_, signal, _) if signal != Signal::SIGIO => Some(signal),
            _ => None,
        };
        if self.standby == Some(pid) {
            self.standby = None;
            // Whatever killed it may kill the next one, too.
            self.retry_at = killer.map(|_| now() + RETRY_DELAY).or(self.retry_at);
        }
        let done = matches!(status, WaitStatus::Exited(_, 0));
        if let (Duty::Client | Duty::Tidy, Some(signal)) = (&child.duty, killer) {
            log::error!("worker {pid} was ended by {signal}");
        }
        match child.duty {
            Duty::Client | Duty::Describe => {}
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
            Duty::Client | Duty::Unlock | Duty::Describe | Duty::Tidy => (None, None),
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
