//! The decisions for one start: configuration + host + guest → [`Plan`].
//!
//! Owns all decisions. Pure: no system call, no file, no descriptor. `ds start --dry-run` prints the result, and the
//! tests compare it.

pub mod cgroups;
pub mod devices;
pub mod hardware;
pub mod mounts;
mod namespaces;
pub mod privileges;
pub mod profiles;
pub mod seed;
pub mod shell;
pub mod stop;
mod systemd;
pub mod terms;

use std::fmt;

use anyhow::{Result, bail};

use self::cgroups::Layout;
use self::hardware::{Given, Selection, Surroundings};
use self::namespaces::WithoutPid;
use self::stop::StopRequest;
use crate::config::value::{HardwareAccess, PidNamespace, Size};
use crate::config::{Config, Limits, RootSource, Seeding};
use crate::host::Host;
use crate::host::devices::Node;
use crate::mount::op::Operation;
use crate::rootfs::guest::{FirstProcess, Guest};

/// The warning that the user must acknowledge once, and that each start shows.
pub const CAUTION: &str = "hardware.access = full gives it every device of the host, raw disks included: a program \
                           inside can destroy partitions and data for good, or make the device unusable";

/// How a volatile container keeps its changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volatile {
    /// Maximum memory for them; half of the machine's memory if `None`.
    pub size: Option<Size>,
}

/// The complete plan of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Host name in the container.
    pub hostname: String,
    /// Root file system.
    pub root: RootSource,
    /// Changes are kept in memory.
    pub volatile: Option<Volatile>,
    /// Path of PID 1 in the container, and its arguments.
    pub command: Vec<String>,
    /// Environment of PID 1.
    pub environment: Vec<(String, String)>,
    /// `CLONE_NEW*` flags.
    pub namespaces: libc::c_int,
    /// Steps that build the file tree.
    pub operations: Vec<Operation>,
    /// Mounts made in the container propagate among its own namespaces.
    pub shared: bool,
    /// Capabilities to drop from the bounding set.
    pub dropped: Vec<privileges::Capability>,
    /// System call filters.
    pub filters: Vec<privileges::Filter>,
    /// Version of control groups.
    pub layout: Layout,
    /// Limits.
    pub limits: Limits,
    /// The devices that its processes may use.
    pub devices: devices::Policy,
    /// The devices of the host in it now.
    pub given: Vec<Given>,
    /// Selects further devices when they appear.
    pub selection: Selection,
    /// `oom_score_adj` of PID 1.
    pub oom_score: i32,
    /// The shutdown request.
    pub stop: StopRequest,
    /// Seconds from the request to SIGKILL.
    pub stop_timeout_s: u32,
    /// The word for the init system in the JSON output.
    pub init: String,
    /// The init system sends a readiness notification (sd_notify(3)).
    pub notifies: bool,
    /// Settings without effect, one line each.
    pub warnings: Vec<String>,
}

/// Makes the plan. Nothing has been changed if this fails.
///
/// # Errors
/// If the kernel lacks a required feature, or the configuration requests an unsupported one.
pub fn build(
    config: &Config,
    host: &Host,
    guest: &Guest,
    seeding: &Seeding,
    around: &Surroundings,
) -> Result<Plan> {
    if config.hardware.access == HardwareAccess::Full && !config.hardware.acknowledged {
        bail!("{CAUTION}; to start it anyway, use 'ds start {} --yes'", config.name);
    }
    let mut warnings = privileges::given_up(config);
    warnings.extend((config.hardware.access == HardwareAccess::Full).then(|| CAUTION.to_owned()));
    let without_pid = match config.container.pid_namespace {
        PidNamespace::Required => {
            WithoutPid::Refuse("container.pid-namespace = required; use auto or 'ds shell', see 'ds check'")
        }
        PidNamespace::Auto if host.answers => WithoutPid::Answer("the monitor"),
        PidNamespace::Auto => {
            WithoutPid::Refuse("Linux 5.5 or later is required without it; use 'ds shell', see 'ds check'")
        }
    };
    let namespaces = namespaces::available(config.network.mode, without_pid, host, &mut warnings)?;
    let layout = cgroups::layout(config, host, guest, &mut warnings);
    let selection = Selection::new(config, &around.groups);
    let given: Vec<Given> = around.nodes.iter().filter_map(|node| selection.give(node)).collect();
    let devices = devices::Policy::new(config, given.iter().map(|device| device.rule));
    warnings.extend(hardware::warnings(config, &selection, &around.nodes, &given));
    warnings.extend(unopenable(around, &devices));
    let privileged = config.security.privileged;
    let init = config.container.init.as_str().to_owned();
    let (mut filters, mut dropped) = (privileges::filters(config, host), privileges::dropped(config));
    if namespaces & libc::CLONE_NEWPID == 0 {
        privileges::answer(config, &mut filters, &mut dropped);
    }
    // systemd expects shared propagation, which it sets up on a machine: credentials are mounted in a separate
    // namespace, and services would not see them otherwise. Without mount namespaces, nothing propagates.
    let propagates =
        guest.first == FirstProcess::Systemd && !filters.contains(&privileges::Filter::Namespaces);
    Ok(Plan {
        hostname: config.hostname().to_string(),
        root: config.container.root.clone(),
        volatile: config.container.volatile.then_some(Volatile { size: config.container.volatile_size }),
        command: command(init, layout, guest),
        environment: environment(config, guest),
        namespaces,
        operations: mounts::operations(config, host, guest, layout, (seeding, &given)),
        shared: privileged.shared() || propagates,
        dropped,
        filters,
        layout,
        limits: config.limits,
        devices,
        given,
        selection,
        oom_score: config.container.oom_score,
        stop: stop::request(guest),
        stop_timeout_s: config.container.stop_timeout.get(),
        init: guest.to_string(),
        notifies: guest.first == FirstProcess::Systemd,
        warnings,
    })
}

/// A warning for each bound device that the container cannot open.
fn unopenable(around: &Surroundings, policy: &devices::Policy) -> impl Iterator<Item = String> {
    let refused = around.bound.iter().filter(|node| !policy.opens(node));
    refused.map(|Node { name, .. }| {
        format!(
            "mounts.bind: {name} is a device, and the device policy refuses to open it; \
             set hardware.devices = {name} instead"
        )
    })
}

fn command(init: String, layout: Layout, guest: &Guest) -> Vec<String> {
    let mut command = vec![init];
    // In a container, systemd parses its own arguments like the kernel command line (kernel-command-line(7)).
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
    let (name, value) = if guest.first == FirstProcess::Systemd {
        ("NOTIFY_SOCKET", mounts::NOTIFY_SOCKET)
    } else {
        // The policy is loaded: sysvinit, openrc-init and BusyBox init would load the container's policy into the kernel
        // of the host, and end if there is none and the host enforces its own.
        ("SELINUX_INIT", "YES")
    };
    if !environment.iter().any(|(other, _)| other == name) {
        environment.push((name.into(), value.into()));
    }
    environment
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
        for line in self.devices.lines() {
            writeln!(f, "device {line}")?;
        }
        for request in self.selection.lines() {
            writeln!(f, "follow {request}")?;
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
