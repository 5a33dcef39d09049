//! The supervisor's loop: poll, then take what came. Idle, it makes no system call.
//!
//! Owns the listening socket, the workers and the signals; `monitors` watches the containers, `policy` decides.
//! A fork comes out of the loop as [`Outcome::Worker`], so that the child drops everything of the supervisor's by
//! leaving it. poll(2), accept4(2), waitpid(2).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::Result;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid};

use super::conditions::Conditions;
use super::guard::Guard;
use super::late_start::Line;
use super::launch::{self, Readiness};
use super::monitors::Monitors;
use super::peer::PidNamespace;
use super::policy::{Action, Event, Policy};
use super::task::{Assignment, Task};
use super::workers::Worker;
use crate::android::wakelock::Wakelocks;
use crate::call;
use crate::clock::now;
use crate::config::Supervisor as Settings;
use crate::config::value::{Name, WakelockPolicy};
use crate::log::{self as sinks, Role};
use crate::paths::Paths;
use crate::signals::Signals;
use crate::socket;
use crate::sys::descriptor::set_nonblocking;
use crate::sys::memory::sleep;

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
    /// What containers wait for that start at boot.
    pub(super) conditions: Conditions,
    /// What was written down of that last.
    pub(super) remembered: String,
    /// Which starts the machine has yet to survive.
    pub(super) guard: Guard,
    /// Containers that autostart leaves out because of it.
    pub(super) off: BTreeSet<Name>,
    pub(super) wakelocks: Wakelocks,
    /// What the containers that run or wait want.
    pub(super) wakelocks_wanted: BTreeMap<Name, WakelockPolicy>,
    /// What the root manager shows of us.
    pub(super) line: Line,
    pub(super) listener: OwnedFd,
    signals: Signals,
    pub(super) namespace: PidNamespace,
    pub(super) workers: BTreeMap<Pid, Worker>,
    /// The worker that waits for the next client.
    pub(super) standby: Option<Pid>,
    /// It was forked before something changed that it knows from its birth.
    pub(super) standby_is_stale: bool,
    /// Workers to be told once the start of a container that they cancelled has ended.
    pub(super) cancelling: Vec<(Name, Pid)>,
    /// No worker is forked for a client before.
    pub(super) breath: Option<Duration>,
    /// A process has died that may have left something half done.
    pub(super) may_be_untidy: bool,
    /// When to look again for what a process of another supervisor has in its hands.
    pub(super) tidy_at: Option<Duration>,
    /// This process; a worker must not take it for its own.
    pub(super) pid: Pid,
    pub(super) since: Duration,
    foreground: bool,
    /// Held until the socket is gone.
    pub(super) lock: Option<OwnedFd>,
    /// Who asked the program before to leave its place to this one.
    pub(super) asker: Option<Pid>,
}

/// What poll(2) has found something for.
#[derive(Debug)]
enum Source {
    Signals,
    Directories,
    Monitor(Name),
    Worker(Pid),
    Routes,
    Mounts,
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
        let listener = socket::listen_at(&paths.supervisor_socket())?;
        // Two workers may stand by for a moment; the slower one must not wait in accept4(2).
        call!(set_nonblocking(listener.as_fd()), "fcntl(O_NONBLOCK)")?;
        let server = Self::assemble(paths, listener, lock, foreground)?;
        log::info!("supervisor {} begins (pid {})", env!("CARGO_PKG_VERSION"), getpid());
        Ok(server)
    }

    /// What a supervisor is that has the lock and the socket; takes over the log and the signals.
    pub(super) fn assemble(paths: Paths, listener: OwnedFd, lock: OwnedFd, foreground: bool) -> Result<Self> {
        let loaded = Settings::load(&paths.supervisor_ini());
        let settings = match &loaded {
            Ok(settings) => *settings,
            // A phone has to boot with a slip in the file, too.
            Err(_) => Settings::parse(b"", &paths.supervisor_ini())?,
        };
        sinks::take_role(Role::daemon(&settings, &paths.supervisor_log(), foreground));
        if let Err(error) = loaded {
            log::error!("{error}; going on with the defaults");
        }
        let wanted = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
        Ok(Self {
            policy: Policy::new(settings.start_parallel),
            settings,
            monitors: Monitors::new(&paths.run_containers()),
            conditions: Conditions::default(),
            remembered: String::new(),
            guard: Guard::default(),
            off: BTreeSet::new(),
            wakelocks: Wakelocks::of(&paths.cgroup),
            wakelocks_wanted: BTreeMap::new(),
            line: Line::default(),
            signals: Signals::listen(&wanted)?,
            namespace: PidNamespace::of("self")?,
            listener,
            workers: BTreeMap::new(),
            standby: None,
            standby_is_stale: false,
            cancelling: Vec::new(),
            breath: None,
            may_be_untidy: false,
            tidy_at: None,
            pid: getpid(),
            since: now(),
            foreground,
            lock: Some(lock),
            asker: None,
            paths,
        })
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
        self.settle()?;
        self.tidy()?;
        self.renew_standby();
        self.keep_one_standing_by()?;
        for source in self.wait() {
            match source {
                Source::Signals => self.take_signals()?,
                Source::Monitor(name) => self.hear_monitor(&name)?,
                Source::Worker(pid) => self.hear_worker(pid)?,
                Source::Directories => self.directories_changed()?,
                Source::Routes => self.look_for_network()?,
                Source::Mounts => self.conditions.mounts_changed(now()),
            }
        }
        if self.next_deadline().is_some_and(|deadline| deadline <= now()) {
            self.take_deadlines()?;
        }
        if self.policy.deadline().is_some_and(|deadline| deadline <= now()) {
            self.decide(Event::Tick)?;
        }
        ControlFlow::Continue(())
    }

    /// Waits until something happens. Monitors and workers come before signals, so that what a process said last is
    /// heard before its end is taken.
    fn wait(&mut self) -> Vec<Source> {
        let mut sources = Vec::new();
        let mut polled = Vec::new();
        let mut add = |source: Source, descriptor| {
            let mounts = matches!(source, Source::Mounts);
            sources.push(source);
            polled.push(PollFd::new(descriptor, if mounts { PollFlags::POLLPRI } else { PollFlags::POLLIN }));
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
        if let Some(descriptor) = self.conditions.routes() {
            add(Source::Routes, descriptor);
        }
        if let Some(descriptor) = self.conditions.mounts() {
            add(Source::Mounts, descriptor);
        }
        let deadlines = [self.policy.deadline(), self.breath, self.tidy_at, self.next_deadline()];
        let timeout = timeout_until(deadlines.into_iter().flatten().min());
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

    pub(super) fn is_at_work(&self) -> bool {
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
                    // One that has just taken a client, and has said so, is no standby any more.
                    if let Some(standby) = self.standby {
                        self.hear_last_words(standby)?;
                    }
                    self.dismiss_standby();
                    self.take_leave();
                    self.lock = None;
                    return ControlFlow::Break(Outcome::Ended);
                }
            }
        }
        ControlFlow::Continue(())
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

    /// Lets the policy take an event, and does what it says.
    pub(super) fn decide(&mut self, event: Event) -> ControlFlow<Outcome> {
        for action in self.policy.on(now(), event) {
            if let Action::Start(name) = &action {
                self.starts(name);
            }
            self.employ(match action {
                Action::Start(name) => Task::Start(name),
                Action::Sweep(name) => Task::Sweep(name),
            })?;
        }
        ControlFlow::Continue(())
    }
}

/// The time that poll(2) may take; a millisecond more than there is, so that the deadline has passed when it returns.
fn timeout_until(deadline: Option<Duration>) -> PollTimeout {
    deadline.map_or(PollTimeout::NONE, |deadline| {
        let left = deadline.saturating_sub(now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    })
}
