//! The supervisor's loop: polls, then passes each event to the part that owns it. When idle, it makes no system call.
//!
//! Each part ([`Workers`], [`Monitors`], [`Autostart`], [`ModuleStatus`], [`NameServers`], [`Networks`],
//! [`ContainerWakelocks`]) owns its fields and reports events, which become inputs of the policy and tasks of workers.
//! A fork leaves the loop as [`LoopEnd::Worker`], so that the child drops all state of the supervisor. poll(2).

mod succession;
mod summary;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::Result;
use nix::poll::PollFlags;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid};

use crate::call;
use crate::clock::now;
use crate::config::value::{Name, RestartPolicy};
use crate::config::{Config, Supervisor as Settings};
use crate::daemon::adoption;
use crate::daemon::autostart::{Autostart, AutostartEvent};
use crate::daemon::cleanup::Cleanup;
use crate::daemon::launch::{self, Readiness};
use crate::daemon::module_status::ModuleStatus;
use crate::daemon::monitors::{MonitorEvent, Monitors};
use crate::daemon::name_servers::NameServers;
use crate::daemon::networks::Networks;
use crate::daemon::policy::{Action, Candidate, Policy, PolicyEvent};
use crate::daemon::task::{Assignment, Task};
use crate::daemon::wakelocks::ContainerWakelocks;
use crate::daemon::workers::{Forked, WorkerEvent, Workers};
use crate::log::{self as sinks, Role};
use crate::monitor::protocol::ExitReason;
use crate::paths::Paths;
use crate::poll::{PollSet, timeout};
use crate::signals::Signals;
use crate::socket;
use crate::sys::descriptor::set_nonblocking;
use crate::worker::Knowledge;
use crate::worker::protocol::FromSupervisor;

/// The result of the loop.
#[derive(Debug)]
pub enum LoopEnd {
    /// The supervisor was asked to end.
    Ended,
    /// This process is a worker with this assignment.
    Worker(Box<Assignment>),
}

/// The supervisor.
#[derive(Debug)]
pub struct Server {
    paths: Paths,
    settings: Settings,
    policy: Policy,
    monitors: Monitors,
    workers: Workers,
    autostart: Autostart,
    wakelocks: ContainerWakelocks,
    cleanup: Cleanup,
    module: ModuleStatus,
    networks: Networks,
    name_servers: NameServers,
    signals: Signals,
    /// This process, so that a worker does not take itself for the supervisor.
    pid: Pid,
    since: Duration,
    foreground: bool,
    /// Held until the socket is removed.
    lock: Option<OwnedFd>,
    /// The worker that requested the replacement by this program.
    asker: Option<Pid>,
}

/// The event that poll(2) reported.
#[derive(Debug)]
enum Ready {
    Signals,
    Directories,
    Monitor(Name),
    Worker(Pid),
    Routes,
    Mounts,
    Followed,
}

impl Server {
    /// Prepares the directories, lock, log and socket. Clients are served once [`Server::run`] runs.
    ///
    /// # Errors
    /// If a supervisor is already running, or on any other failure.
    pub fn begin(paths: Paths, readiness: &Readiness) -> Result<Self> {
        paths.create()?;
        let foreground = readiness.is_foreground();
        // In the background, the launcher holds it.
        let _launching = foreground.then(|| launch::lock(&paths)).transpose()?;
        let lock = launch::claim(&paths)?;
        let listener = socket::listen_at(&paths.supervisor_socket())?;
        // Two workers may stand by for a moment; the slower one must not block in accept4(2).
        call!(set_nonblocking(listener.as_fd()), "fcntl(O_NONBLOCK)")?;
        let server = Self::assemble(paths, listener, lock, foreground)?;
        log::info!("supervisor {} started (pid {})", env!("CARGO_PKG_VERSION"), getpid());
        Ok(server)
    }

    /// The supervisor after it has the lock and the socket; initialises the log and the signals.
    fn assemble(paths: Paths, listener: OwnedFd, lock: OwnedFd, foreground: bool) -> Result<Self> {
        let loaded = Settings::load(&paths.supervisor_ini());
        let settings = match &loaded {
            Ok(settings) => *settings,
            // A phone must boot even if the file contains an error.
            Err(_) => Settings::parse(b"", &paths.supervisor_ini())?,
        };
        sinks::take_role(Role::daemon(&settings, &paths.supervisor_log(), foreground));
        if let Err(error) = loaded {
            log::error!("{error}; using the defaults");
        }
        let wanted = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
        Ok(Self {
            policy: Policy::new(settings.start_parallel),
            monitors: Monitors::new(paths.clone()),
            workers: Workers::new(listener)?,
            autostart: Autostart::new(paths.clone(), settings),
            wakelocks: ContainerWakelocks::of(&paths.cgroup),
            cleanup: Cleanup::new(paths.clone()),
            module: ModuleStatus::default(),
            networks: Networks::new(paths.clone()),
            name_servers: NameServers::new(),
            signals: Signals::listen(&wanted)?,
            settings,
            pid: getpid(),
            since: now(),
            foreground,
            lock: Some(lock),
            asker: None,
            paths,
        })
    }

    /// Adopts running containers, starts those with autostart if `autostart`, then serves.
    #[must_use]
    pub fn run(mut self: Box<Self>, autostart: bool) -> LoopEnd {
        let mut next = self.adopt(autostart);
        while next.is_continue() {
            next = self.turn();
        }
        match next {
            ControlFlow::Break(worker @ LoopEnd::Worker(_)) => worker,
            ControlFlow::Break(LoopEnd::Ended) | ControlFlow::Continue(()) => {
                // The kernel closes the connections when the process ends: `ds supervisor stop` waits for that.
                Box::leak(self);
                LoopEnd::Ended
            }
        }
    }

    /// Connects to the running monitors, processes the exits of those that ended without a supervisor, and begins
    /// autostart.
    fn adopt(&mut self, autostart: bool) -> ControlFlow<LoopEnd> {
        let is_first = adoption::is_first_of_this_boot(&self.paths);
        let autostart = autostart && self.settings.autostart;
        if !is_first && autostart && self.asker.is_none() {
            self.autostart.recall();
        }
        let events = adoption::resume(&mut self.monitors, &self.policy.watched());
        self.take_monitor_events(events)?;
        if let Some(asker) = self.asker.take() {
            self.reap()?;
            self.workers.tell(asker, &FromSupervisor::Done);
        }
        self.module.find(&self.paths);
        self.autostart.look_for_attempts();
        let waiting = self.autostart.waiting().into_iter().map(|(name, _)| name);
        self.look_for_wakelocks(waiting.chain(self.policy.restarts().into_keys()));
        let events = adoption::find(&mut self.monitors, &self.paths);
        self.take_monitor_events(events)?;
        if is_first && autostart {
            let ready = self.autostart.begin(self.module.is_disabled());
            let waiting = self.autostart.waiting().into_iter().map(|(name, _)| name);
            self.look_for_wakelocks(waiting.chain(ready.iter().map(|one| one.name.clone())));
            self.start_all(ready);
        }
        if self.module.is_there() {
            self.autostart.look_for_left_out();
        }
        self.autostart.look_for_storage();
        self.fork_workers()
    }

    fn look_for_wakelocks(&mut self, names: impl Iterator<Item = Name>) {
        names.for_each(|name| self.wakelocks.look(&self.paths, &name));
    }

    fn turn(&mut self) -> ControlFlow<LoopEnd> {
        self.update();
        self.networks.follow(&self.monitors);
        self.name_servers.follow(&self.monitors);
        if !self.workers.is_tidying() && self.cleanup.is_work_due() {
            self.workers.employ(Task::Tidy);
        }
        if !self.workers.is_following() && self.networks.is_work_due() {
            self.workers.employ(Task::Follow);
        }
        self.workers.renew_standby();
        self.workers.keep_one_standing_by();
        self.fork_workers()?;
        for ready in self.wait() {
            match ready {
                Ready::Signals => self.take_signals()?,
                Ready::Monitor(name) => {
                    let event = self.monitors.hear(&name);
                    self.take_monitor_events(event)?;
                }
                Ready::Directories => {
                    let events = self.monitors.directories_changed();
                    self.take_monitor_events(events)?;
                }
                Ready::Worker(pid) => {
                    let event = self.workers.hear(pid);
                    self.take_worker_events(event)?;
                }
                Ready::Routes => {
                    let candidates = self.autostart.take_network();
                    self.start_all(candidates);
                }
                Ready::Mounts => self.autostart.mounts_changed(),
                Ready::Followed => {}
            }
            self.fork_workers()?;
        }
        self.take_deadlines();
        self.fork_workers()
    }

    /// Waits for an event. Monitors and workers come before signals, so that the last message of a process is read
    /// before its exit is processed.
    fn wait(&self) -> Vec<Ready> {
        let mut set = PollSet::default();
        for (name, connection) in self.monitors.connections() {
            set.input(Ready::Monitor(name.clone()), connection);
        }
        for (pid, connection) in self.workers.connections() {
            set.input(Ready::Worker(pid), connection);
        }
        set.input(Ready::Signals, self.signals.fd());
        self.monitors.directories().into_iter().for_each(|fd| set.input(Ready::Directories, fd));
        self.autostart.routes().into_iter().for_each(|fd| set.input(Ready::Routes, fd));
        if let Some(descriptor) = self.autostart.mounts() {
            set.add(Ready::Mounts, descriptor, PollFlags::POLLPRI);
        }
        for descriptor in self.networks.fds().chain(self.name_servers.fds()) {
            set.input(Ready::Followed, descriptor);
        }
        let module = self.module.deadline(&self.summary());
        let (autostart, cleanup) = (self.autostart.deadline(), self.cleanup.deadline());
        // The end of a worker is an event.
        let networks = self.networks.deadline().filter(|_| !self.workers.is_following());
        let (workers, names) = (self.workers.deadline(), self.name_servers.deadline());
        let deadlines = [self.policy.deadline(), workers, autostart, cleanup, module, networks, names];
        let left = deadlines.into_iter().flatten().min().map(|deadline| deadline.saturating_sub(now()));
        // While a worker is busy, its end or the next client is likely soon.
        let ready =
            if self.workers.is_at_work() { set.wait(timeout(left)) } else { set.sleep(timeout(left)) };
        ready.unwrap_or_else(|errno| {
            // ENOMEM: the next attempt may succeed.
            log::error!("poll: {errno}");
            Vec::new()
        })
    }

    /// Performs the actions that are due.
    fn take_deadlines(&mut self) {
        if self.autostart.deadline().is_some_and(|deadline| deadline <= now()) {
            for event in self.autostart.tick() {
                match event {
                    AutostartEvent::Ready(candidates) => self.start_all(candidates),
                    AutostartEvent::LookAtLock => self.workers.employ(Task::Unlock),
                }
            }
        }
        if self.policy.deadline().is_some_and(|deadline| deadline <= now()) {
            self.decide(PolicyEvent::Tick);
        }
    }

    /// Forks a worker for every pending task. In the child, returns the worker's assignment.
    fn fork_workers(&mut self) -> ControlFlow<LoopEnd> {
        loop {
            match self.workers.fork_next() {
                Forked::Nothing => return ControlFlow::Continue(()),
                Forked::Parent => {}
                Forked::Failed(event) => self.take_worker_event(event),
                Forked::Child(task, connection) => {
                    let knowledge = Knowledge {
                        pid: self.pid.as_raw(),
                        since: self.since,
                        statuses: self.monitors.take_statuses(),
                        settings: self.settings,
                    };
                    return ControlFlow::Break(LoopEnd::Worker(Box::new(Assignment {
                        task,
                        connection,
                        knowledge,
                    })));
                }
            }
        }
    }

    fn take_signals(&mut self) -> ControlFlow<LoopEnd> {
        for number in self.signals.take() {
            match number {
                libc::SIGCHLD => self.reap()?,
                libc::SIGHUP => self.reload(),
                _ => {
                    log::info!("supervisor ends; containers keep running");
                    // The socket is removed first: no client can connect, and connected ones see the connection end.
                    // The lock is released second: a new supervisor's socket must not be removed here.
                    let _ = std::fs::remove_file(self.paths.supervisor_socket());
                    // A worker that has just accepted a client and reported it is no longer the standby worker.
                    let events = self.workers.hear_standby();
                    self.take_worker_events(events)?;
                    self.workers.kill_standby();
                    self.autostart.end();
                    self.module.clear();
                    self.lock = None;
                    return ControlFlow::Break(LoopEnd::Ended);
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Processes the exit of every child that has ended.
    fn reap(&mut self) -> ControlFlow<LoopEnd> {
        while let Some(events) = self.workers.reap() {
            self.take_worker_events(events)?;
        }
        ControlFlow::Continue(())
    }

    fn reload(&mut self) {
        match Settings::load(&self.paths.supervisor_ini()) {
            Ok(settings) => {
                self.settings = settings;
                self.policy.limit(settings.start_parallel);
                self.autostart.configure(settings);
                sinks::take_role(Role::daemon(&settings, &self.paths.supervisor_log(), self.foreground));
                self.workers.outdate();
                log::info!("supervisor.ini was reloaded");
            }
            Err(error) => log::error!("{error}; the settings are unchanged"),
        }
    }

    fn take_monitor_events(
        &mut self,
        events: impl IntoIterator<Item = MonitorEvent>,
    ) -> ControlFlow<LoopEnd> {
        for event in events {
            self.take_monitor_event(event);
            self.fork_workers()?;
        }
        ControlFlow::Continue(())
    }

    fn take_monitor_event(&mut self, event: MonitorEvent) {
        match event {
            MonitorEvent::Resumed(name) => self.is_there(&name),
            MonitorEvent::Watched(name) => {
                self.is_there(&name);
                self.decide(PolicyEvent::Watched(name));
            }
            MonitorEvent::State(name, state, changed) => {
                if changed {
                    self.autostart.look_for_storage();
                    log::info!("{name}: {}", state.as_str());
                    self.workers.outdate();
                }
                self.decide(PolicyEvent::Status(name, state));
            }
            MonitorEvent::Gone(name, exit) => {
                match &exit.message {
                    Some(message) => log::info!("{name}: ended ({:?}): {message}", exit.reason),
                    None => log::info!("{name}: ended ({:?})", exit.reason),
                }
                if matches!(exit.reason, ExitReason::StartFailed | ExitReason::Lost) {
                    self.cleanup.suspect_files();
                }
                self.autostart.is_gone(&name, exit.reason);
                let restart = self.restart_policy(&name);
                self.decide(PolicyEvent::Gone(name, exit, restart));
            }
            MonitorEvent::Stale(name) => self.decide(PolicyEvent::Stale(name)),
        }
    }

    fn is_there(&mut self, name: &Name) {
        self.autostart.is_there(name);
        self.wakelocks.look(&self.paths, name);
    }

    fn take_worker_events(&mut self, events: impl IntoIterator<Item = WorkerEvent>) -> ControlFlow<LoopEnd> {
        for event in events {
            self.take_worker_event(event);
            self.fork_workers()?;
        }
        ControlFlow::Continue(())
    }

    fn take_worker_event(&mut self, event: WorkerEvent) {
        match event {
            WorkerEvent::Asks(worker) => {
                self.workers.tell(worker, &FromSupervisor::Containers(self.containers()));
            }
            WorkerEvent::Started(name) => {
                if let Some(event) = self.monitors.started(&name) {
                    self.take_monitor_event(event);
                }
            }
            WorkerEvent::Cancel(name, asker) => {
                self.autostart.is_unwanted(&name);
                self.decide(PolicyEvent::Cancelled(name.clone()));
                self.workers.cancel_start(name, asker);
            }
            WorkerEvent::Succeed(asker, program) => self.hand_over(asker, &program),
            WorkerEvent::StartEnded(name, done) => {
                self.start_ended(&name, done);
                self.workers.start_is_over(&name);
            }
            WorkerEvent::Swept(name, clean) => self.decide(PolicyEvent::Swept(name, clean)),
            WorkerEvent::Died => self.cleanup.suspect(),
            WorkerEvent::EndedWithClient => self.cleanup.suspect_files(),
            WorkerEvent::Tidied => self.cleanup.is_done(),
            WorkerEvent::LookedAtLock(false) => {}
            WorkerEvent::LookedAtLock(true) => {
                let candidates = self.autostart.unlocked();
                self.start_all(candidates);
            }
        }
    }

    /// A start by the policy has ended.
    fn start_ended(&mut self, name: &Name, done: bool) {
        if let Some(event) = self.monitors.watch(name) {
            self.take_monitor_event(event);
        }
        if done && !self.monitors.has(name) {
            // It was running, and ended before it could be connected.
            let event = self.monitors.gone(name, None);
            self.take_monitor_event(event);
        }
        let (running, restart) = (self.monitors.has(name), self.restart_policy(name));
        self.decide(PolicyEvent::StartEnded(name.clone(), running, restart));
    }

    /// The current restart policy in the configuration. A deleted or invalid one restarts nothing.
    fn restart_policy(&self, name: &Name) -> RestartPolicy {
        Config::load(&self.paths.container_ini(name), name)
            .map_or(RestartPolicy::No, |config| config.container.restart)
    }

    fn start_all(&mut self, candidates: Vec<Candidate>) {
        if !candidates.is_empty() {
            self.workers.outdate();
            self.decide(PolicyEvent::Autostart(candidates));
        }
    }

    /// Passes an event to the policy and performs its actions.
    fn decide(&mut self, event: PolicyEvent) {
        for action in self.policy.on(now(), event) {
            self.workers.employ(match action {
                Action::Start(name) => {
                    self.autostart.starts(&name);
                    Task::Start(name)
                }
                Action::Sweep(name) => Task::Sweep(name),
            });
        }
    }

    /// Updates the derived state: the list of waiting containers, wakelocks, the module's description.
    fn update(&mut self) {
        self.autostart.remember();
        let waiting: BTreeSet<Name> = self.autostart.waiting().into_iter().map(|(name, _)| name).collect();
        let restarts = self.policy.restarts();
        let pending = |name: &Name| self.policy.is_pending(name) || waiting.contains(name);
        let waits = |name: &Name| pending(name) || restarts.contains_key(name);
        self.wakelocks.update(|name| self.monitors.has(name), waits);
        if let Some((module, text)) = self.module.update(self.summary()) {
            self.workers.employ(Task::Describe(module, text));
        }
    }
}
