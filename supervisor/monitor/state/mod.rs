//! A container with the parts of its monitor. Owns their preparation and the status that clients see.
//!
//! `boot` starts PID 1, `lifetime` is the loop, and `control` executes requests. The fields are private to these files.

mod boot;
mod control;
mod lifetime;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

use anyhow::{Error, Result};
use nix::sys::signal::Signal;
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::Pid;

use super::calls::Calls;
use super::clients::Clients;
use super::console::Console;
use super::early::Early;
use super::first_process::FirstProcess;
use super::hotplug::Hotplug;
use super::name_servers::Routes;
use super::notify::Notify;
use super::protocol::{self, Answer, Devices, Exit, Report, State, Status};
use super::readiness::{Readiness, Sign};
use super::surroundings;
use super::tree::Tree;
use crate::cgroup::{Cgroup, Wanted};
use crate::child::android;
use crate::child::name_servers::Following;
use crate::config::{Config, Once, Seeding};
use crate::fault;
use crate::host::Host;
use crate::network::Attachment;
use crate::paths::Paths;
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
enum Phase {
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
    config: Config,
    /// The options in addition to the file, until the end.
    once: Once,
    paths: Paths,
    host: Rc<Host>,
    plan: Plan,
    filters: Filters,
    calls: Calls,
    /// Keeps the host's file systems from being remounted read-only in the container. Declared before the tree: an
    /// image with an open file cannot be unmounted.
    writers: Vec<OwnedFd>,
    tree: Tree,
    proc: OwnedFd,
    cgroup: Cgroup,
    /// The other ends of files on which programs in the container block ([`crate::mount::op::Operation::Silence`]).
    silent: Option<OwnedFd>,
    /// Its attachment to a network of ds, if it has one.
    network: Option<Attachment>,
    /// Its name servers that follow the machine's, and whether these may have changed.
    name_servers: Option<Following>,
    name_servers_changed: bool,
    /// On Android, if it has such name servers.
    routes: Option<Routes>,
    /// Adds devices that appear, and removes those that disappear.
    hotplug: Option<Hotplug>,
    console: Console,
    readiness: Readiness,
    clients: Clients,
    init: FirstProcess,
    signals: Signals,
    phase: Phase,
    boots: u32,
    /// Consecutive boots that ended immediately.
    hasty: u32,
    last_exit: Option<Exit>,
    /// Features that the container has lacked since its last boot, one sentence each.
    warnings: Vec<String>,
    /// The state that subscribers know.
    announced: Option<State>,
}

/// The error for a cancelled start.
pub(super) const STOPPED: &str = "it was stopped while it started";

impl Monitor {
    pub(super) fn prepare(
        (mut config, once): (Config, Once),
        paths: Paths,
        host: Rc<Host>,
        proc: OwnedFd,
        report: &OwnedFd,
        early: &mut Early,
    ) -> Result<Self> {
        fault::point("detached")?;
        let signals = Signals::listen(&[Signal::SIGCHLD, Signal::SIGTERM])?;
        let mut tell = |told: Report| {
            early.report(report.as_fd(), &told);
            early.serve(&config);
            if early.is_stopped() {
                // Ends the process that watches the worker, as the worker's end would.
                let _ = shutdown(report.as_raw_fd(), Shutdown::Read);
            }
        };
        let tree = Tree::open(&config, &paths.run_container(&config.name), report.as_fd(), &mut tell)?;
        let guest = Guest::inspect(tree.root(), config.container.init.as_str().as_ref())?;
        android::complete(&mut config, &host);
        let hotplug = Hotplug::begin(&config, &host);
        let around = surroundings::look(&config, Some(tree.root()));
        let seeding = Seeding::load_or_default(&paths.supervisor_ini());
        let mut plan = plan::build(&config, &host, &guest, &seeding, &around)?;
        let mut warnings = plan.warnings.clone();
        let cgroup = create_cgroup(&config, &paths, &host, &mut plan, &mut warnings)?;
        fault::point("grouped")?;
        for warning in &warnings {
            let _ = socket::send(report, &Report::Warning(warning.clone()), &[]);
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
            calls: Calls::default(),
            plan,
            writers,
            tree,
            proc,
            cgroup,
            silent: None,
            network: None,
            name_servers: None,
            name_servers_changed: false,
            routes: None,
            hotplug,
            readiness: Readiness::new(Sign::of(&guest), notify),
            clients: early.take_clients()?,
            init: FirstProcess::default(),
            signals,
            phase: Phase::Starting,
            boots: 0,
            hasty: 0,
            last_exit: None,
            warnings,
            announced: None,
        })
    }

    /// Boots for the first time, unless a stop was requested in the meantime. On failure, `early` keeps the clients to
    /// notify.
    pub(super) fn first_boot(mut self, report: &OwnedFd, early: &mut Early) -> Result<Self> {
        log_privileges(&self.config);
        let booted = if early.is_stopped() { Err(Error::msg(STOPPED)) } else { self.boot(Some(report)) };
        match booted {
            Ok(()) => Ok(self),
            Err(error) => {
                early.give_back(self.clients, self.phase == (Phase::Stopping { restart: false }));
                Err(error)
            }
        }
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
            pid: self.init.pid().map(Pid::as_raw),
            pid_started: self.init.ticks(),
            monitor: nix::unistd::getpid().as_raw(),
            init: self.plan.init.clone(),
            ready: self.readiness.is_ready(),
            started_s: self.init.started_s(),
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
            warnings: self.warnings.clone(),
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

    fn devices(&self) -> Devices {
        let enforced_by = match self.cgroup.devices() {
            Enforcement::Nothing if self.plan.filters.contains(&Filter::Devices) => Enforcement::Filter,
            other => other,
        };
        let nodes = self.plan.given.iter().map(|device| format!("/dev/{}", device.name)).collect();
        Devices { enforced_by, rules: self.plan.devices.lines(), nodes }
    }

    /// Notifies all subscribers.
    fn announce(&mut self) {
        let status = self.status();
        self.announced = Some(status.state);
        let answer = Answer::Status(Box::new(status));
        self.clients.notify(&answer);
    }
}

/// Keeps file systems writable that belong to the host and are visible in the container.
fn writers(root: &Root, config: &Config) -> Vec<OwnedFd> {
    let bound = config.mounts.bind.iter().filter(|bind| !bind.options.read_only);
    let directories = bound.filter_map(|bind| Root::open(bind.source.as_path()).ok()?.keep_writable());
    // A volatile container has its own file system on top.
    let own = root.keep_writable().filter(|_| !config.container.volatile);
    own.into_iter().chain(directories).collect()
}

/// Logs which protections the container lacks.
fn log_privileges(config: &Config) {
    for line in privileges::given_up(config) {
        log::warn!("{}: {line}", config.name);
    }
}

/// Creates the control groups. If they cannot enforce the device policy, the system call filters of the plan restrict
/// mknod(2) instead.
fn create_cgroup(
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
