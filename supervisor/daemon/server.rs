//! The supervisor's loop: poll, then take what came. Idle, it makes no system call.
//!
//! Owns the listening socket, the workers and the signals; `monitors` watches the containers, `policy` decides.
//! A fork comes out of the loop as [`Outcome::Worker`], so that the child drops everything of the supervisor's by
//! leaving it. poll(2), accept4(2), waitpid(2).

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::Result;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

use super::launch::{self, Readiness};
use super::monitors::Monitors;
use super::peer::PidNamespace;
use super::policy::{Action, Event, Policy};
use super::protocol::{Containers, FromSupervisor, ToSupervisor};
use super::worker::{Assignment, Task};
use super::{Knowledge, now};
use crate::call;
use crate::config::Supervisor as Settings;
use crate::config::value::Name;
use crate::log::{self as sinks, Role};
use crate::paths::Paths;
use crate::signals::Signals;
use crate::socket;
use crate::sys::descriptor::set_nonblocking;
use crate::sys::memory::sleep;
use crate::sys::process::{Fork, fork};

/// How long no worker is forked when the kernel has no descriptor or process left.
const BREATH: Duration = Duration::from_secs(1);

/// How the loop ends.
#[derive(Debug)]
pub enum Outcome {
    /// The supervisor was told to end.
    Ended,
    /// This process is a worker, with this to do.
    Worker(Box<Assignment>),
}

/// The supervisor.
#[derive(Debug)]
pub struct Server {
    pub(super) paths: Paths,
    pub(super) settings: Settings,
    pub(super) policy: Policy,
    pub(super) monitors: Monitors,
    listener: OwnedFd,
    signals: Signals,
    namespace: PidNamespace,
    workers: BTreeMap<Pid, Worker>,
    /// The worker that waits for the next client.
    standby: Option<Pid>,
    /// It was forked before something changed that it knows from its birth.
    pub(super) standby_is_stale: bool,
    /// Workers to be told once the start of a container that they cancelled has ended.
    cancelling: Vec<(Name, Pid)>,
    /// No worker is forked for a client before.
    breath: Option<Duration>,
    /// This process; a worker must not take it for its own.
    pid: Pid,
    since: Duration,
    foreground: bool,
    /// Held until the socket is gone.
    lock: Option<OwnedFd>,
}

#[derive(Debug)]
struct Worker {
    /// The line to it, until it closes it.
    line: Option<OwnedFd>,
    duty: Duty,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Duty {
    Client,
    Start(Name),
    Sweep(Name),
    Tidy,
}

/// What poll(2) has found something for.
#[derive(Debug)]
enum Source {
    Signals,
    Directories,
    Monitor(Name),
    Worker(Pid),
}

impl Server {
    /// Claims the machine: directories, lock, log, socket. Clients are answered once [`Server::run`] runs.
    ///
    /// # Errors
    /// That there is a supervisor already, or what is in the way.
    pub fn begin(paths: Paths, readiness: &Readiness) -> Result<Self> {
        paths.create()?;
        let foreground = readiness.is_foreground();
        // In the background, whoever launched this process holds it.
        let _launching = foreground.then(|| launch::lock(&paths)).transpose()?;
        let lock = launch::claim(&paths)?;
        let loaded = Settings::load(&paths.supervisor_ini());
        let settings = match &loaded {
            Ok(settings) => *settings,
            // A phone has to boot with a slip in the file, too.
            Err(_) => Settings::parse(b"", &paths.supervisor_ini())?,
        };
        let file = paths.supervisor_log();
        sinks::take_role(Role::daemon(&settings, &file, foreground));
        if let Err(error) = loaded {
            log::error!("{error}; going on with the defaults");
        }
        let wanted = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
        let listener = socket::listen_at(&paths.supervisor_socket())?;
        // Two workers may stand by for a moment; the slower one must not wait in accept4(2).
        call!(set_nonblocking(listener.as_fd()), "fcntl(O_NONBLOCK)")?;
        let server = Self {
            policy: Policy::new(settings.start_parallel),
            settings,
            monitors: Monitors::new(&paths.run_containers()),
            signals: Signals::listen(&wanted)?,
            namespace: PidNamespace::of("self")?,
            listener,
            workers: BTreeMap::new(),
            standby: None,
            standby_is_stale: false,
            cancelling: Vec::new(),
            breath: None,
            pid: getpid(),
            since: now(),
            foreground,
            lock: Some(lock),
            paths,
        };
        log::info!("supervisor {} begins (pid {})", env!("CARGO_PKG_VERSION"), getpid());
        Ok(server)
    }

    /// Adopts the containers that run, starts those that start by themselves if `autostart`, then serves.
    #[must_use]
    pub fn run(mut self, autostart: bool) -> Outcome {
        if let ControlFlow::Break(outcome) = self.adopt_and_start(autostart) {
            return outcome;
        }
        loop {
            if let ControlFlow::Break(outcome) = self.turn() {
                return outcome;
            }
        }
    }

    fn turn(&mut self) -> ControlFlow<Outcome> {
        self.renew_standby();
        self.keep_one_standing_by()?;
        for source in self.wait() {
            match source {
                Source::Signals => self.take_signals()?,
                Source::Monitor(name) => self.hear_monitor(&name)?,
                Source::Worker(pid) => self.hear_worker(pid)?,
                Source::Directories => self.directories_changed()?,
            }
        }
        if self.policy.deadline().is_some_and(|deadline| deadline <= now()) {
            self.decide(Event::Tick)?;
        }
        ControlFlow::Continue(())
    }

    /// Waits until something happens. Monitors and workers come before signals, so that what a process said last is
    /// heard before its end is taken.
    fn wait(&mut self) -> Vec<Source> {
        self.breath = self.breath.filter(|until| *until > now());
        let mut sources = Vec::new();
        let mut polled = Vec::new();
        let mut add = |source: Source, descriptor| {
            sources.push(source);
            polled.push(PollFd::new(descriptor, PollFlags::POLLIN));
        };
        for (name, connection) in self.monitors.connections() {
            add(Source::Monitor(name.clone()), connection);
        }
        for (pid, worker) in &self.workers {
            if let Some(line) = &worker.line {
                add(Source::Worker(*pid), line.as_fd());
            }
        }
        add(Source::Signals, self.signals.fd());
        if let Some(descriptor) = self.monitors.directories() {
            add(Source::Directories, descriptor);
        }
        let timeout = timeout_until([self.policy.deadline(), self.breath].into_iter().flatten().min());
        // While a worker is at work, its end or the next client is near.
        let polling = if self.is_at_work() { poll::<PollTimeout> } else { sleep };
        match polling(&mut polled, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Vec::new(),
            // ENOMEM: the next turn may find some.
            Err(errno) => log::error!("poll: {errno}"),
        }
        let ready = polled.iter().map(|entry| entry.any().unwrap_or(false));
        ready.zip(sources).filter_map(|(ready, source)| ready.then_some(source)).collect()
    }

    fn is_at_work(&self) -> bool {
        self.workers.keys().any(|pid| Some(*pid) != self.standby)
    }

    fn take_signals(&mut self) -> ControlFlow<Outcome> {
        for number in self.signals.take() {
            match number {
                libc::SIGCHLD => self.reap()?,
                libc::SIGHUP => self.reload(),
                _ => {
                    log::info!("supervisor ends; containers keep running");
                    // Nobody finds the socket from now on; who has connected already sees the connection end. The
                    // lock comes second: the socket that the next one makes is not ours to remove.
                    let _ = std::fs::remove_file(self.paths.supervisor_socket());
                    self.dismiss_standby();
                    self.lock = None;
                    return ControlFlow::Break(Outcome::Ended);
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Ends the worker that stands by. It is our child and not reaped, so the number is its own.
    fn dismiss_standby(&mut self) {
        if let Some(standby) = self.standby.take() {
            let _ = kill(standby, Signal::SIGKILL);
            let _ = waitpid(standby, None);
            self.workers.remove(&standby);
        }
    }

    /// Sends a worker away that does not know the latest, once nothing is under way that may change it again. A client
    /// that has just come to it is served all the same.
    fn renew_standby(&mut self) {
        if !self.standby_is_stale || self.is_at_work() {
            return;
        }
        self.standby_is_stale = false;
        if let Some(standby) = self.standby.take() {
            self.tell(standby, &FromSupervisor::Dismissed);
        }
    }

    fn reload(&mut self) {
        match Settings::load(&self.paths.supervisor_ini()) {
            Ok(settings) => {
                self.settings = settings;
                self.policy.limit(settings.start_parallel);
                sinks::take_role(Role::daemon(&settings, &self.paths.supervisor_log(), self.foreground));
                self.standby_is_stale = true;
                log::info!("supervisor.ini was read again");
            }
            Err(error) => log::error!("{error}; nothing was changed"),
        }
    }

    /// Sees to it that a worker stands by for the next client.
    fn keep_one_standing_by(&mut self) -> ControlFlow<Outcome> {
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
                    // The next supervisor tries again.
                    Task::Tidy => ControlFlow::Continue(()),
                }
            }
        }
    }

    /// Lets the policy take an event, and does what it says.
    pub(super) fn decide(&mut self, event: Event) -> ControlFlow<Outcome> {
        for action in self.policy.on(now(), event) {
            self.employ(match action {
                Action::Start(name) => Task::Start(name),
                Action::Sweep(name) => Task::Sweep(name),
            })?;
        }
        ControlFlow::Continue(())
    }

    fn hear_worker(&mut self, pid: Pid) -> ControlFlow<Outcome> {
        let Some(worker) = self.workers.get_mut(&pid) else { return ControlFlow::Continue(()) };
        let Some(line) = &worker.line else { return ControlFlow::Continue(()) };
        let message = match socket::receive::<ToSupervisor>(line) {
            Ok(Some(received)) => received.message,
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
                Ok(name) => self.watch(&name),
                Err(_) => ControlFlow::Continue(()),
            },
            ToSupervisor::Cancel(name) => match name.parse() {
                Ok(name) => self.cancel(name, pid),
                Err(_) => ControlFlow::Continue(()),
            },
        }
    }

    /// Calls off whatever was to start a container, and tells the worker when nothing can any more.
    fn cancel(&mut self, name: Name, asker: Pid) -> ControlFlow<Outcome> {
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

    fn tell(&self, worker: Pid, answer: &FromSupervisor) {
        if let Some(line) = self.workers.get(&worker).and_then(|worker| worker.line.as_ref()) {
            // It may have been interrupted meanwhile.
            let _ = socket::send(line, answer, &[]);
        }
    }

    /// Takes every child that has ended: workers, and orphans that came to us.
    fn reap(&mut self) -> ControlFlow<Outcome> {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let Some(pid) = status.pid() else { break };
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
                Duty::Client | Duty::Tidy => self.worker_ended(pid, status),
                Duty::Sweep(name) => self.decide(Event::Swept(name, done))?,
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

    /// A worker that was interrupted with its client ends by SIGIO; nothing else ends one from outside.
    fn worker_ended(&self, pid: Pid, status: WaitStatus) {
        match status {
            WaitStatus::Signaled(_, Signal::SIGIO, _) => {}
            WaitStatus::Signaled(_, signal, _) => log::error!("worker {pid} was ended by {signal}"),
            _ => {}
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
        }
    }
}

impl Duty {
    fn of(task: &Task) -> Self {
        match task {
            Task::Client(..) => Self::Client,
            Task::Start(name) => Self::Start(name.clone()),
            Task::Sweep(name) => Self::Sweep(name.clone()),
            Task::Tidy => Self::Tidy,
        }
    }
}

/// The time that poll(2) may take; a millisecond more than there is, so that the deadline has passed when it returns.
fn timeout_until(deadline: Option<Duration>) -> PollTimeout {
    deadline.map_or(PollTimeout::NONE, |deadline| {
        let left = deadline.saturating_sub(now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    })
}
