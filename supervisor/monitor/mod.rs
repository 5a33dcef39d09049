//! The process that stays with one container: parent of its PID 1, owner of its console, its groups and its socket.
//!
//! Forked by the worker of `ds start`. It lives until the container ends for good; a reboot inside, or `ds restart`,
//! loops here, so that the root file system stays attached. Single-threaded, one poll loop, asleep unless something
//! happens. When it ends, in whatever way, PID 1 ends with it (PR_SET_PDEATHSIG) and every mount goes with the
//! mount namespace.

mod boot;
mod console;
mod control;
mod early;
mod lifetime;
mod notify;
pub mod protocol;
mod readiness;
mod stopping;
mod tree;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Error, Result};
use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::{Backlog, Shutdown, listen, shutdown};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, chdir, setsid};
use seccompiler::BpfProgram;

use self::console::Console;
use self::control::Client;
use self::early::Early;
pub use self::lifetime::record;
use self::notify::Notify;
use self::protocol::{Answer, Exit, State, Status};
use self::readiness::Sign;
use self::stopping::Asking;
pub use self::stopping::is_stopped;
use self::tree::Tree;
use crate::call;
use crate::cgroup::Cgroup;
use crate::child::android;
use crate::config::{Config, Once, Seeding, Supervisor as Settings};
use crate::fault;
use crate::host::Host;
use crate::log::{self as sinks, Role};
use crate::monitor::protocol::Report;
use crate::mount::perform::trusted_proc;
use crate::paths::Paths;
use crate::plan::terms::Terms;
use crate::plan::{self, Plan};
use crate::rootfs::guest::Guest;
use crate::rootfs::root::Root;
use crate::signals::Signals;
use crate::socket;
use crate::sys::{descriptor, process};

/// What a worker hands to the monitor that it forks.
#[derive(Debug)]
pub struct Setup {
    /// The container.
    pub config: Config,
    /// What was asked for beyond its file; already in `config`.
    pub once: Once,
    /// Where everything of ours is.
    pub paths: Paths,
    /// What this machine is.
    pub host: Rc<Host>,
    /// How the supervisor is configured.
    pub settings: Settings,
    /// The sockets.
    pub origin: Origin,
}

/// The sockets of a monitor.
#[derive(Debug)]
pub struct Origin {
    /// The container's control socket.
    pub listener: OwnedFd,
    /// Where the start is reported, until PID 1 runs.
    pub report: OwnedFd,
}

/// Where in its life the container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    /// Asked to end; to boot again afterwards or not.
    Stopping {
        restart: bool,
    },
    Restarting,
}

/// A container with its monitor's possessions.
#[derive(Debug)]
struct Monitor {
    config: Config,
    /// What holds beside the file until the end.
    once: Once,
    paths: Paths,
    host: Rc<Host>,
    plan: Plan,
    filters: Vec<BpfProgram>,
    /// What keeps the host's file systems from being made read-only from inside. Before the tree: an image with a
    /// file open cannot be unmounted.
    writers: Vec<OwnedFd>,
    tree: Tree,
    proc: OwnedFd,
    cgroup: Cgroup,
    notify: Option<Notify>,
    console: Console,
    /// The other side of files inside that programs wait on ([`crate::mount::op::Operation::Silence`]).
    silent: Option<OwnedFd>,
    signals: Signals,
    listener: OwnedFd,
    clients: Vec<Client>,
    /// The number of the client that connected last.
    last_client: u64,
    init: Option<Pid>,
    pid_started: Option<u64>,
    /// When PID 1 was started, CLOCK_BOOTTIME seconds.
    started_s: Option<u64>,
    /// When SIGKILL is due, also once more.
    deadline: Option<Instant>,
    /// The request to shut down waits for a PID 1 that listens.
    asking: Option<Asking>,
    phase: Phase,
    ready: bool,
    /// How the guest shows that it is up, when it does not say so.
    sign: Sign,
    /// Whoever watches has not heard of it yet.
    unannounced: bool,
    boots: u32,
    /// Boots in a row that ended at once.
    hasty: u32,
    last_exit: Option<Exit>,
}

/// Why a start has come to nothing that was called off.
const STOPPED: &str = "it was stopped while it started";

/// The monitor's whole life. Runs in the freshly forked process and never returns.
pub fn run(setup: Setup) -> ! {
    let Setup { config, once, paths, host, settings, origin } = setup;
    let name = config.name.clone();
    let mut early = Early::default();
    // What a failure has to undo by hand; groups undo themselves when they are dropped.
    let started = detach(&origin, &host, name.as_str())
        .inspect(|_| sinks::take_role(Role::daemon(&settings, &paths.supervisor_log(), false)))
        .and_then(|proc| Monitor::prepare((config, once), paths.clone(), host, proc, &origin, &mut early))
        .and_then(|monitor| monitor.first_boot(&origin.report, &mut early));
    let Origin { listener, report } = origin;
    match started {
        Ok(monitor) => {
            let _ = socket::send(&report, &Report::Running, &[]);
            drop(report);
            monitor.tree.booted();
            let code = monitor.live();
            process::exit_immediately(code)
        }
        Err(error) => {
            let text = if early.stop { STOPPED.to_owned() } else { format!("{error:#}") };
            lifetime::record_failed_start(&paths, &name, &text, early.stop);
            let _ = std::fs::remove_file(paths.notify(&name));
            let _ = std::fs::remove_file(paths.control(&name));
            let answer = Answer::Failed(text.clone());
            early.fail(&answer);
            control::answer_everybody(&listener, &answer);
            let _ = socket::send(&report, &Report::Failed(text), &[]);
            process::exit_immediately(1)
        }
    }
}

/// Leaves the worker's session, its client and its descriptors behind.
fn detach(origin: &Origin, host: &Host, name: &str) -> Result<OwnedFd> {
    call!(setsid(), "setsid")?;
    // Again, by this process: whoever connects learns from the kernel that it is the monitor (SO_PEERCRED).
    call!(listen(&origin.listener, Backlog::MAXCONN), "listen")?;
    // The worker's log closes its descriptors itself, before they are closed under it.
    sinks::take_role(Role::Client);
    let proc = trusted_proc()?;
    let kept: Vec<_> =
        [origin.listener.as_fd(), origin.report.as_fd()].into_iter().chain(host.cgroups.roots()).collect();
    call!(descriptor::close_others(&kept, proc.as_fd()), "close the worker's descriptors")?;
    let null = call!(nix::fcntl::open("/dev/null", OFlag::O_RDWR, Mode::empty()), "open(/dev/null)")?;
    for number in 0..=2 {
        call!(descriptor::make_standard(null.as_fd(), number), "dup2(/dev/null, {number})")?;
    }
    call!(chdir("/"), "chdir(/)")?;
    // For ps(1): at most 15 characters.
    let title = std::ffi::CString::new(format!("ds:{name}")).context("the name")?;
    let _ = prctl::set_name(&title);
    Ok(proc)
}

impl Monitor {
    fn prepare(
        (mut config, once): (Config, Once),
        paths: Paths,
        host: Rc<Host>,
        proc: OwnedFd,
        origin: &Origin,
        early: &mut Early,
    ) -> Result<Self> {
        fault::point("detached")?;
        let report = &origin.report;
        let listener = origin.listener.try_clone().context("dup")?;
        let signals = Signals::listen(&[Signal::SIGCHLD, Signal::SIGTERM])?;
        let mut tell = |told: Report| {
            early.report(report.as_fd(), &told);
            early.serve(listener.as_fd(), &config);
            if early.stop {
                // Ends what watches the worker's end, as the end of the worker would.
                let _ = shutdown(report.as_raw_fd(), Shutdown::Read);
            }
        };
        let tree = Tree::open(&config, &paths.run_container(&config.name), report.as_fd(), &mut tell)?;
        let guest = Guest::inspect(tree.root(), config.container.init.as_str().as_ref())?;
        android::complete(&mut config, &host);
        let plan = plan::build(&config, &host, &guest, &Seeding::load_or_default(&paths.supervisor_ini()))?;
        let mut warnings = plan.warnings.clone();
        let cgroup = create_cgroup(&config, &paths, &host, &plan, &mut warnings)?;
        fault::point("grouped")?;
        for warning in warnings {
            let _ = socket::send(report, &Report::Warning(warning), &[]);
        }
        let writers = writers(tree.root(), &config);
        let filters = crate::privilege::compile(&plan.filters)?;
        let notify = if plan.notifies { Some(Notify::listen(&paths.notify(&config.name))?) } else { None };
        fault::point("notified")?;
        let console = Console::new(paths.console_log(&config.name));
        Ok(Self {
            config,
            once,
            paths,
            host,
            plan,
            filters,
            writers,
            tree,
            proc,
            cgroup,
            notify,
            console,
            silent: None,
            signals,
            listener,
            clients: std::mem::take(&mut early.clients),
            last_client: early.last_client,
            init: None,
            pid_started: None,
            started_s: None,
            deadline: None,
            asking: None,
            phase: Phase::Starting,
            ready: false,
            sign: Sign::of(&guest),
            unannounced: false,
            boots: 0,
            hasty: 0,
            last_exit: None,
        })
    }

    /// Boots for the first time, unless somebody has asked for the end meanwhile. What fails leaves to `early` whoever
    /// has to be told.
    fn first_boot(mut self, report: &OwnedFd, early: &mut Early) -> Result<Self> {
        let booted = if early.stop { Err(Error::msg(STOPPED)) } else { self.boot(Some(report)) };
        if booted.is_err() {
            early.stop |= self.phase == (Phase::Stopping { restart: false });
            early.clients = std::mem::take(&mut self.clients);
        }
        booted.map(|()| self)
    }

    fn state(&self) -> State {
        match self.phase {
            Phase::Starting => State::Starting,
            Phase::Running if self.cgroup.frozen() => State::Frozen,
            Phase::Running => State::Running,
            Phase::Stopping { restart: false } => State::Stopping,
            Phase::Stopping { restart: true } | Phase::Restarting => State::Restarting,
        }
    }

    fn status(&self) -> Status {
        Status {
            protocol: protocol::PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: self.state(),
            pid: self.init.map(Pid::as_raw),
            pid_started: self.pid_started,
            monitor: nix::unistd::getpid().as_raw(),
            init: self.plan.init.clone(),
            ready: self.ready,
            started_s: self.started_s,
            boots: self.boots,
            hostname: self.plan.hostname.clone(),
            cgroup: self.cgroup.directory().map(|path| path.display().to_string()),
            namespaces: self.plan.namespaces,
            terms: Some(Box::new(self.terms())),
            volatile: self.config.container.volatile,
            network: self.config.network.mode.to_string(),
            addresses: Vec::new(),
            last_exit: self.last_exit.clone(),
            ends_within_s: self.ends_within_s(),
        }
    }

    fn terms(&self) -> Terms {
        Terms {
            environment: plan::terms::environment(&self.config),
            dropped: self.plan.dropped.clone(),
            filters: self.plan.filters.clone(),
            oom_score: self.plan.oom_score,
        }
    }

    /// Tells everybody who watches.
    fn announce(&mut self) {
        let answer = Answer::Status(Box::new(self.status()));
        self.clients.retain(|client| !client.watching || client.send(&answer, &[]).is_ok());
    }
}

/// Keeps the file systems writable that the container sees and the host owns.
fn writers(root: &Root, config: &Config) -> Vec<OwnedFd> {
    let bound = config.mounts.bind.iter().filter(|bind| !bind.read_only);
    let directories = bound.filter_map(|bind| Root::open(bind.source.as_path()).ok()?.keep_writable());
    // A volatile container has a file system of its own on top.
    let own = root.keep_writable().filter(|_| !config.container.volatile);
    own.into_iter().chain(directories).collect()
}

fn create_cgroup(
    config: &Config,
    paths: &Paths,
    host: &Host,
    plan: &Plan,
    warnings: &mut Vec<String>,
) -> Result<Cgroup> {
    Cgroup::create(&host.cgroups, &paths.cgroup, config.name.as_str(), plan.layout, &plan.limits, warnings)
}
