//! What is to be done for one start: configuration + host + guest → [`Plan`].
//!
//! Pure: no system call, no file, no descriptor. `ds start --dry-run` prints the result, and the tests compare it.

pub mod devices;
pub mod mounts;
pub mod privileges;
pub mod seed;
pub mod shell;
pub mod terms;

use std::fmt;

use anyhow::{Result, bail};

use crate::config::value::{CgroupLayout, HardwareAccess, NetworkMode, Size};
use crate::config::{Config, Limits, RootSource};
use crate::host::Host;
use crate::mount::op::Operation;
use crate::rootfs::guest::{FirstProcess, Guest};

/// How a container is asked to shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopRequest {
    /// A signal to PID 1.
    Signal(Stop),
    /// sysvinit's request for runlevel 0 through its FIFO (initctl.h of sysvinit), else SIGPWR.
    RunlevelZero,
    /// runit's flag files, then SIGCONT: runit(8), "Signals".
    RunitFlags {
        /// They are in /run, and not in /etc/runit.
        in_run: bool,
    },
}

/// Signals that init programs understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGRTMIN+3: systemd(1), "Signals".
    RealtimePlus3,
    /// An ordinary signal by number.
    Number(i32),
}

/// The version of control groups that the container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// None: the kernel has no control groups, or none that can be used.
    None,
    /// One directory for each hierarchy.
    Version1,
    /// The unified hierarchy.
    Version2,
}

/// How a container keeps its changes that loses them at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volatile {
    /// How much memory they may take; half of the machine's when `None`.
    pub size: Option<Size>,
}

/// Everything that a start does, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Host name inside.
    pub hostname: String,
    /// Root file system.
    pub root: RootSource,
    /// Changes live in memory.
    pub volatile: Option<Volatile>,
    /// Path of PID 1 inside, and its arguments.
    pub command: Vec<String>,
    /// Environment of PID 1.
    pub environment: Vec<(String, String)>,
    /// `CLONE_NEW*` flags.
    pub namespaces: libc::c_int,
    /// Steps that build the file tree.
    pub operations: Vec<Operation>,
    /// Mounts made inside propagate among the container's own namespaces.
    pub shared: bool,
    /// Capabilities that leave the bounding set.
    pub dropped: Vec<privileges::Capability>,
    /// System call filters.
    pub filters: Vec<privileges::Filter>,
    /// Version of control groups.
    pub layout: Layout,
    /// Limits.
    pub limits: Limits,
    /// `oom_score_adj` of PID 1.
    pub oom_score: i32,
    /// How to shut it down.
    pub stop: StopRequest,
    /// Seconds from there to SIGKILL.
    pub stop_timeout_s: u32,
    /// Word of the contract for the init system.
    pub init: String,
    /// The init system tells when it is up (sd_notify(3)).
    pub notifies: bool,
    /// What will not be as it should, one line each.
    pub warnings: Vec<String>,
}

/// Decides. Nothing has been changed when this fails.
///
/// # Errors
/// When the kernel lacks what no container can do without, or the configuration asks for what is not there yet.
pub fn build(config: &Config, host: &Host, guest: &Guest) -> Result<Plan> {
    if config.network.mode == NetworkMode::Nat {
        bail!("network.mode = nat is not there yet; use host or none");
    }
    if config.hardware.access != HardwareAccess::None {
        bail!("hardware.access = {} is not there yet; use none", config.hardware.access);
    }
    let mut warnings = Vec::new();
    let namespaces = namespaces(config, host, &mut warnings)?;
    let layout = layout(config, host, guest, &mut warnings);
    let privileged = config.security.privileged;
    let init = config.container.init.as_str().to_owned();
    Ok(Plan {
        hostname: config.hostname().to_string(),
        root: config.container.root.clone(),
        volatile: config.container.volatile.then_some(Volatile { size: config.container.volatile_size }),
        command: command(init, layout, guest),
        environment: environment(config, guest),
        namespaces,
        operations: mounts::operations(config, host, guest, layout),
        shared: privileged.shared(),
        dropped: privileges::dropped(config),
        filters: privileges::filters(config, host),
        layout,
        limits: config.limits,
        oom_score: config.container.oom_score,
        stop: stop_request(guest),
        stop_timeout_s: config.container.stop_timeout.get(),
        init: guest.to_string(),
        notifies: guest.first == FirstProcess::Systemd,
        warnings,
    })
}

fn namespaces(config: &Config, host: &Host, warnings: &mut Vec<String>) -> Result<libc::c_int> {
    let mut wanted = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    wanted |= libc::CLONE_NEWCGROUP;
    if config.network.mode == NetworkMode::None {
        wanted |= libc::CLONE_NEWNET;
    }
    for kind in host.namespaces.lacking(wanted) {
        match kind.flag {
            libc::CLONE_NEWNS => bail!("kernel makes no mount namespaces ({}); see 'ds check'", kind.option),
            libc::CLONE_NEWPID => bail!(
                "kernel has no {}, and an init system must be PID 1; use 'ds shell', see 'ds check'",
                kind.option
            ),
            libc::CLONE_NEWNET => {
                bail!("kernel has no {}, which network.mode = none needs; use host", kind.option)
            }
            _ => warnings.push(format!(
                "kernel has no {}: the container shares {} with the host",
                kind.option, kind.shares
            )),
        }
        wanted &= !kind.flag;
    }
    Ok(wanted)
}

/// Version 2 wherever it can be had: it is the one that can safely be delegated. systemd before 233 knows only
/// version 1, and systemd from 258 on knows only version 2.
fn layout(config: &Config, host: &Host, guest: &Guest, warnings: &mut Vec<String>) -> Layout {
    let has_version2 = host.cgroups.version2.is_some();
    let has_version1 = !host.cgroups.version1.is_empty();
    let (oldest, newest) = match guest.systemd_version {
        Some(version) => (version < 233, version >= 258),
        None => (false, false),
    };
    let chosen = match config.container.cgroup {
        CgroupLayout::V1 if newest => {
            warnings.push("this systemd knows no cgroup v1; using v2 in spite of cgroup = v1".into());
            Layout::Version2
        }
        CgroupLayout::V1 => Layout::Version1,
        CgroupLayout::V2 => Layout::Version2,
        CgroupLayout::Auto if oldest && has_version1 => Layout::Version1,
        CgroupLayout::Auto if has_version2 => Layout::Version2,
        CgroupLayout::Auto => Layout::Version1,
    };
    match chosen {
        Layout::Version2 if !has_version2 => {
            warnings.push(
                "kernel has no cgroup v2 (CONFIG_CGROUPS): the container gets no control groups".into(),
            );
            Layout::None
        }
        Layout::Version1 if !has_version1 => {
            warnings.push("no cgroup v1 hierarchy is mounted: the container gets no control groups".into());
            Layout::None
        }
        chosen => chosen,
    }
}

fn command(init: String, layout: Layout, guest: &Guest) -> Vec<String> {
    let mut command = vec![init];
    // In a container systemd takes its own arguments for the kernel command line (kernel-command-line(7)).
    if guest.first == FirstProcess::Systemd && layout == Layout::Version1 {
        command.push("systemd.unified_cgroup_hierarchy=0".into());
        command.push("systemd.legacy_systemd_cgroup_controller=1".into());
    }
    command
}

/// Environment of a container's first process.
#[must_use]
pub fn environment(config: &Config, guest: &Guest) -> Vec<(String, String)> {
    let mut environment = terms::environment(config);
    let notifies = guest.first == FirstProcess::Systemd;
    if notifies && !environment.iter().any(|(name, _)| name == "NOTIFY_SOCKET") {
        environment.push(("NOTIFY_SOCKET".into(), mounts::NOTIFY_SOCKET.into()));
    }
    environment
}

fn stop_request(guest: &Guest) -> StopRequest {
    match guest.first {
        FirstProcess::Systemd => StopRequest::Signal(Stop::RealtimePlus3),
        FirstProcess::Sysvinit => StopRequest::RunlevelZero,
        FirstProcess::OpenrcInit => StopRequest::Signal(Stop::Number(libc::SIGTERM)),
        FirstProcess::Runit => StopRequest::RunitFlags { in_run: guest.flags_in_run },
        FirstProcess::S6 | FirstProcess::Busybox | FirstProcess::Procd => {
            StopRequest::Signal(Stop::Number(libc::SIGUSR2))
        }
        FirstProcess::Other => StopRequest::Signal(Stop::Number(libc::SIGTERM)),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if matches!(self.root, RootSource::Image(_)) { "image " } else { "" };
        writeln!(f, "root {kind}{}", self.root.path())?;
        if let Some(Volatile { size }) = self.volatile {
            let size = size.map_or_else(|| "half of the memory".to_owned(), |size| size.to_string());
            writeln!(f, "volatile {size}")?;
        }
        writeln!(f, "hostname {}", self.hostname)?;
        let names: Vec<&str> = crate::host::namespace::KINDS
            .iter()
            .filter(|kind| self.namespaces & kind.flag != 0)
            .map(|kind| kind.file)
            .collect();
        writeln!(f, "namespaces {}", names.join(" "))?;
        writeln!(f, "cgroups {:?}", self.layout)?;
        for operation in &self.operations {
            writeln!(f, "mount {operation}")?;
        }
        for capability in &self.dropped {
            writeln!(f, "drop {}", capability.name)?;
        }
        for filter in &self.filters {
            writeln!(f, "filter {filter}")?;
        }
        for (name, value) in &self.environment {
            writeln!(f, "environment {name}={value}")?;
        }
        writeln!(f, "stop {:?}, SIGKILL after {} s", self.stop, self.stop_timeout_s)?;
        for warning in &self.warnings {
            writeln!(f, "warning {warning}")?;
        }
        write!(f, "exec {}", self.command.join(" "))
    }
}
