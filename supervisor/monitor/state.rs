//! The state of a monitor: the container and its resources. Owns their preparation and the status that clients see.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Error, Result};
use nix::sys::signal::Signal;
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::Pid;

use super::clients::Client;
use super::console::Console;
use super::early::Early;
use super::name_servers::Follower;
use super::notify::Notify;
use super::protocol::{self, Answer, Devices, Exit, Report, State, Status};
use super::readiness::Sign;
use super::setup::Origin;
use super::stopping::Asking;
use super::tree::Tree;
use crate::answer::{Answerer, End};
use crate::cgroup::{Cgroup, Wanted};
use crate::child::android;
use crate::config::{Config, Once, Seeding};
use crate::fault;
use crate::host::Host;
use crate::network::Attachment;
use crate::paths::Paths;
use crate::peer::PidNamespace;
use crate::plan::devices::Enforcement;
use crate::plan::privileges::{self, Filter};
use crate::plan::terms::Terms;
use crate::plan::{self, Plan};
use crate::privilege::Filters;
use crate::rootfs::guest::Guest;
use crate::rootfs::root::Root;
use crate::signals::Signals;
use crate::socket;

/// The phase of the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Running,
    /// A shutdown was requested; whether to boot again afterwards.
    Stopping {
        restart: bool,
    },
    Restarting,
}

/// A container with the resources of its monitor.
#[derive(Debug)]
pub(super) struct Monitor {
    pub(super) config: Config,
    /// The options in addition to the file, until the end.
    pub(super) once: Once,
    pub(super) paths: Paths,
    pub(super) host: Rc<Host>,
    pub(super) plan: Plan,
    pub(super) filters: Filters,
    /// What answers the calls of its processes, where the kernel has no PID namespaces.
    pub(super) answerer: Option<Answerer>,
    /// How it has requested its end by reboot(2).
    pub(super) ends: Option<End>,
    /// Keeps the host's file systems from being remounted read-only in the container. Declared before the tree: an
    /// image with an open file cannot be unmounted.
    pub(super) writers: Vec<OwnedFd>,
    pub(super) tree: Tree,
    pub(super) proc: OwnedFd,
    pub(super) cgroup: Cgroup,
    /// Its place in a network, if it has one of its own.
    pub(super) network: Option<Attachment>,
    pub(super) notify: Option<Notify>,
    /// What hears of other name servers.
    pub(super) follower: Option<Follower>,
    pub(super) console: Console,
    /// The other ends of files on which programs in the container block ([`crate::mount::op::Operation::Silence`]).
    pub(super) silent: Option<OwnedFd>,
    pub(super) signals: Signals,
    pub(super) listener: OwnedFd,
    /// The monitor's own PID namespace: peers from another one are refused.
    pub(super) namespace: PidNamespace,
    pub(super) clients: Vec<Client>,
    /// The number of the client that connected last.
    pub(super) last_client: u64,
    pub(super) init: Option<Pid>,
    pub(super) pid_started: Option<u64>,
    /// Start time of PID 1, in seconds of CLOCK_BOOTTIME.
    pub(super) started_s: Option<u64>,
    /// When to send SIGKILL, also repeatedly.
    pub(super) deadline: Option<Instant>,
    /// The shutdown request is repeated until PID 1 can handle it.
    pub(super) asking: Option<Asking>,
    pub(super) phase: Phase,
    pub(super) ready: bool,
    /// The sign that the guest is up, if it does not send a notification.
    pub(super) sign: Sign,
    /// Subscribers have not been notified yet.
    pub(super) unannounced: bool,
    pub(super) boots: u32,
    /// Consecutive boots that ended immediately.
    pub(super) hasty: u32,
    pub(super) last_exit: Option<Exit>,
}

/// The error for a cancelled start.
pub(super) const STOPPED: &str = "it was stopped while it started";

impl Monitor {
    pub(super) fn prepare(
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
        let namespace = PidNamespace::of("self")?;
        let signals = Signals::listen(&[Signal::SIGCHLD, Signal::SIGTERM])?;
        let mut tell = |told: Report| {
            early.report(report.as_fd(), &told);
            early.serve(listener.as_fd(), namespace, &config);
            if early.stop {
                // Ends the process that watches the worker, as the worker's end would.
                let _ = shutdown(report.as_raw_fd(), Shutdown::Read);
            }
        };
        let tree = Tree::open(&config, &paths.run_container(&config.name), report.as_fd(), &mut tell)?;
        let guest = Guest::inspect(tree.root(), config.container.init.as_str().as_ref())?;
        android::complete(&mut config, &host);
        let mut plan =
            plan::build(&config, &host, &guest, &Seeding::load_or_default(&paths.supervisor_ini()))?;
        let mut warnings = plan.warnings.clone();
        let cgroup = create_cgroup(&config, &paths, &host, &mut plan, &mut warnings)?;
        fault::point("grouped")?;
        for warning in warnings {
            let _ = socket::send(report, &Report::Warning(warning), &[]);
        }
        let writers = writers(tree.root(), &config);
        let notify = if plan.notifies { Some(Notify::listen(&paths.notify(&config.name))?) } else { None };
        fault::point("notified")?;
        Ok(Self {
            console: Console::new(paths.console_log(&config.name)),
            config,
            once,
            paths,
            host,
            filters: crate::privilege::compile(&plan.filters)?,
            answerer: None,
            ends: None,
            plan,
            writers,
            tree,
            proc,
            cgroup,
            network: None,
            notify,
            follower: None,
            silent: None,
            signals,
            listener,
            namespace,
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

    /// Boots for the first time, unless a stop was requested in the meantime. On failure, `early` keeps the clients to
    /// notify.
    pub(super) fn first_boot(mut self, report: &OwnedFd, early: &mut Early) -> Result<Self> {
        log_privileges(&self.config);
        let booted = if early.stop { Err(Error::msg(STOPPED)) } else { self.boot(Some(report)) };
        if booted.is_err() {
            early.stop |= self.phase == (Phase::Stopping { restart: false });
            early.clients = std::mem::take(&mut self.clients);
        }
        booted.map(|()| self)
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Starting => State::Starting,
            Phase::Running if self.cgroup.frozen() => State::Frozen,
            Phase::Running => State::Running,
            Phase::Stopping { restart: false } => State::Stopping,
            Phase::Stopping { restart: true } | Phase::Restarting => State::Restarting,
        }
    }

    pub(super) fn status(&self) -> Status {
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
            devices: Some(self.devices()),
            privileged: self.config.security.privileged.to_string(),
            volatile: self.config.container.volatile,
            network: self.config.network.mode.to_string(),
            addresses: self.network.as_ref().map(Attachment::addresses).unwrap_or_default(),
            last_exit: self.last_exit.clone(),
            ends_within_s: self.ends_within_s(),
        }
    }

    pub(super) fn terms(&self) -> Terms {
        Terms {
            environment: plan::terms::environment(&self.config),
            dropped: self.plan.dropped.clone(),
            filters: self.plan.filters.clone(),
            oom_score: self.plan.oom_score,
        }
    }

    fn devices(&self) -> Devices {
        let enforced_by = match self.cgroup.devices() {
            Enforcement::Nothing if self.plan.filters.contains(&Filter::Devices) => Enforcement::Filter,
            other => other,
        };
        Devices { enforced_by, rules: self.plan.devices.lines() }
    }

    /// Notifies all subscribers.
    pub(super) fn announce(&mut self) {
        let answer = Answer::Status(Box::new(self.status()));
        self.clients.retain(|client| !client.watching || client.send(&answer, &[]).is_ok());
    }
}

/// Keeps file systems writable that belong to the host and are visible in the container.
pub(super) fn writers(root: &Root, config: &Config) -> Vec<OwnedFd> {
    let bound = config.mounts.bind.iter().filter(|bind| !bind.options.read_only);
    let directories = bound.filter_map(|bind| Root::open(bind.source.as_path()).ok()?.keep_writable());
    // A volatile container has its own file system on top.
    let own = root.keep_writable().filter(|_| !config.container.volatile);
    own.into_iter().chain(directories).collect()
}

/// Records in the log which protections the container does without.
fn log_privileges(config: &Config) {
    for line in privileges::given_up(config) {
        log::warn!("{}: {line}", config.name);
    }
}

/// Makes the groups. Where they cannot enforce the device policy, the system call filters of the plan do what they can.
pub(super) fn create_cgroup(
    config: &Config,
    paths: &Paths,
    host: &Host,
    plan: &mut Plan,
    warnings: &mut Vec<String>,
) -> Result<Cgroup> {
    let wanted = Wanted { layout: plan.layout, limits: &plan.limits, devices: &plan.devices };
    let cgroup = Cgroup::create(&host.cgroups, &paths.cgroup, config.name.as_str(), wanted, warnings)?;
    let fallback = privileges::without_device_control(config, &plan.devices, cgroup.devices());
    if let Some(fallback) = fallback {
        warnings.push(fallback.warning.to_owned());
        plan.filters.extend(fallback.filter.filter(|filter| !plan.filters.contains(filter)));
    }
    Ok(cgroup)
}
