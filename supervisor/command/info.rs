//! `ds info`: shows one container.
//!
//! Owns the output. It reads files that the container can write (its os-release, its init system) through
//! `rootfs::root`, and uses them only for display.

use std::fmt::Write;
use std::io;
use std::path::Path;
use std::slice::from_ref;

use anyhow::Result;
use nix::sys::signal::Signal;
use serde::Serialize;

use super::state::{Known, Summary, existing, known};
use super::version::VERSION;
use super::{output, print};
use crate::cli;
use crate::config::{Config, RootSource};
use crate::exit::ExitCode;
use crate::monitor::protocol::{Exit, Status};
use crate::monitor::surroundings;
use crate::plan::devices::{Enforcement, Policy};
use crate::plan::hardware::Selection;
use crate::rootfs::guest::{Guest, os_release};
use crate::rootfs::image::inspect;
use crate::rootfs::root::Root;
use crate::rootfs::size::Usage;
use crate::rootfs::superblock::FileSystem;
use crate::screen;
use crate::seed::ledger::Ledger;
use crate::units;
use crate::worker::Env;

/// Maximum number of devices that are shown by name.
const SHOWN: usize = 16;

/// The document that `--json` prints.
#[derive(Serialize)]
pub(super) struct Document {
    #[serde(flatten)]
    summary: Summary,
    init: Option<String>,
    rootfs: Option<RootFileSystem>,
    /// Only for an image.
    filesystem: Option<Filesystem>,
    volatile: bool,
    cgroup: Option<String>,
    /// Whether it has a PID namespace; only while the container runs.
    pid_namespace: Option<bool>,
    devices: Option<DevicePolicy>,
    hostname: Option<String>,
    os: Option<String>,
    /// The configured items.
    seed: Option<String>,
    /// The changed files of its root file system.
    seeded: Vec<String>,
    boots: u32,
    /// Features that the running container lacks, one sentence each.
    warnings: Vec<String>,
    monitor_version: Option<String>,
    last_exit: Option<Exit>,
}

#[derive(Serialize)]
struct RootFileSystem {
    kind: &'static str,
    path: String,
}

/// The devices that it may use.
#[derive(Serialize)]
struct DevicePolicy {
    /// The mechanism that enforces the policy; only while the container runs.
    enforced_by: Option<Enforcement>,
    rules: Vec<String>,
    /// The paths of the devices of the host in it.
    nodes: Vec<String>,
}

/// The properties of an image.
#[derive(Serialize)]
struct Filesystem {
    kind: &'static str,
    /// Size of the file system, in bytes.
    size: u64,
    /// Used bytes. For an unmounted image, the state at its last unmount, if the file system records it.
    used: Option<u64>,
}

/// Prints the state of a container.
///
/// # Errors
/// If there is no such container.
pub fn run(arguments: &cli::Info, env: &Env) -> Result<ExitCode> {
    let name = existing(env, &arguments.name)?;
    let known = known(env, &name)?;
    if arguments.pid {
        let pid = known.summary.pid;
        print(&mut io::stdout(), &pid.map_or_else(|| "NONE\n".to_owned(), |pid| format!("{pid}\n")))?;
        return Ok(if pid.is_some() { ExitCode::Done } else { ExitCode::Failed });
    }
    let document = document(known, env);
    if arguments.json { output::json(&document) } else { print(&mut io::stdout(), &text(&document)?) }
}

/// Collects the document.
pub(super) fn document(known: Known, env: &Env) -> Document {
    let ledger = Ledger::load(&env.paths.seed_ledger(&known.summary.name)).unwrap_or_default();
    let Known { summary, config, status, last_exit } = known;
    let root = config.as_ref().and_then(|config| root(config, summary.pid));
    let init = status.as_ref().map(|status| status.init.clone()).or_else(|| {
        let init = config.as_ref()?.container.init.as_str();
        Guest::inspect(root.as_ref()?, Path::new(init)).ok().map(|guest| guest.to_string())
    });
    Document {
        init,
        rootfs: config.as_ref().map(|config| match &config.container.root {
            RootSource::Directory(path) => RootFileSystem { kind: "directory", path: path.to_string() },
            RootSource::Image(path) => RootFileSystem { kind: "image", path: path.to_string() },
        }),
        filesystem: config.as_ref().and_then(|config| filesystem(config, summary.pid)),
        volatile: config.as_ref().is_some_and(|config| config.container.volatile),
        devices: devices(config.as_ref(), status.as_ref()),
        pid_namespace: status
            .as_ref()
            .filter(|status| status.pid.is_some())
            .map(|status| status.namespaces & libc::CLONE_NEWPID != 0),
        cgroup: status.as_ref().and_then(|status| status.cgroup.clone()),
        hostname: status
            .as_ref()
            .map(|status| status.hostname.clone())
            .or_else(|| Some(config.as_ref()?.hostname().to_string())),
        seed: config.as_ref().map(|config| config.container.seed.to_string()),
        seeded: ledger.files.into_keys().collect(),
        os: root.as_ref().and_then(|root| os_release(root, "PRETTY_NAME")),
        monitor_version: status.as_ref().map(|status| status.version.clone()),
        boots: status.as_ref().map_or(0, |status| status.boots),
        warnings: status.map(|status| status.warnings).unwrap_or_default(),
        summary,
        last_exit,
    }
}

/// The policy in effect; for a stopped container, that of its next start. A monitor of an older version restricts
/// nothing.
fn devices(config: Option<&Config>, status: Option<&Status>) -> Option<DevicePolicy> {
    match status {
        Some(status) if status.pid.is_some() => Some(match &status.devices {
            Some(devices) => DevicePolicy {
                enforced_by: Some(devices.enforced_by),
                rules: devices.rules.clone(),
                nodes: devices.nodes.clone(),
            },
            None => DevicePolicy {
                enforced_by: Some(Enforcement::Nothing),
                rules: Policy::Everything.lines(),
                nodes: Vec::new(),
            },
        }),
        _ => config.map(next_devices),
    }
}

/// The policy of a start now.
fn next_devices(config: &Config) -> DevicePolicy {
    let around = surroundings::look(config, None);
    let selection = Selection::new(config, &around.groups);
    let given: Vec<_> = around.nodes.iter().filter_map(|node| selection.give(node)).collect();
    DevicePolicy {
        enforced_by: None,
        rules: Policy::new(config, given.iter().map(|device| device.rule)).lines(),
        nodes: given.iter().map(|device| format!("/dev/{}", device.name)).collect(),
    }
}

/// The policy in one line.
fn devices_line(devices: &DevicePolicy) -> String {
    let rules = devices.rules.join(", ");
    match devices.enforced_by {
        Some(enforcement) => format!("{rules} ({enforcement})"),
        None => rules,
    }
}

/// The devices of the host in one line: the first of many.
fn hardware_line(devices: &DevicePolicy) -> Option<String> {
    let more = devices.nodes.len().saturating_sub(SHOWN);
    let mut line = devices.nodes.get(..SHOWN).unwrap_or(&devices.nodes).join(" ");
    if more > 0 {
        let _ = write!(line, " and {more} more");
    }
    (!line.is_empty()).then_some(line)
}

/// The tree of a container. That of an image is available only while it runs.
fn root(config: &Config, pid: Option<i32>) -> Option<Root> {
    match &config.container.root {
        RootSource::Directory(path) => Root::open(path.as_path()).ok(),
        RootSource::Image(_) => root_of(pid?),
    }
}

/// The root directory of a running container.
pub(super) fn root_of(pid: i32) -> Option<Root> {
    Root::open(Path::new(&format!("/proc/{pid}/root"))).ok()
}

fn filesystem(config: &Config, pid: Option<i32>) -> Option<Filesystem> {
    let RootSource::Image(path) = &config.container.root else { return None };
    let facts = inspect(path.as_path(), config.container.image_partition).ok()?;
    // For a volatile container, the size of the memory that holds its changes.
    let mounted = pid.filter(|_| !config.container.volatile).and_then(root_of);
    let usage = mounted.and_then(|root| Usage::of(root.directory())).or(match &facts.system {
        FileSystem::Ext(ext) => Some(Usage::recorded(ext)),
        _ => None,
    });
    Some(Filesystem {
        kind: facts.system.name(),
        size: usage.map_or(facts.size, |usage| usage.size),
        used: usage.map(|usage| usage.used),
    })
}

/// The root file system in one line: its path, and its properties in parentheses.
fn root_line(document: &Document) -> Option<String> {
    let root = document.rootfs.as_ref()?;
    let mut parts = vec![root.kind.to_owned()];
    if let Some(Filesystem { kind, size, used }) = &document.filesystem {
        parts.push((*kind).to_owned());
        parts.extend(used.map(|used| format!("{} of {} used", units::size(used), units::size(*size))));
    }
    parts.extend(document.volatile.then(|| "volatile".to_owned()));
    Some(format!("{} ({})", root.path, parts.join(", ")))
}

fn text(document: &Document) -> Result<String> {
    let summary = &document.summary;
    let mut text = String::new();
    let mut line = |key: &str, value: Option<String>| match value {
        Some(value) => writeln!(text, "{key:<11} {}", screen::line(&value)),
        None => Ok(()),
    };
    line("name", Some(summary.name.to_string()))?;
    let readiness = if summary.ready { " (up)" } else { "" };
    line("state", Some(format!("{}{readiness}", summary.state.as_str())))?;
    line("problem", summary.problem.clone())?;
    line("restarts", summary.restart_in_s.map(|seconds| format!("in {}", units::duration(seconds))))?;
    line("waits for", summary.waits_for.as_ref().map(|what| format!("the {what}")))?;
    line("pid", summary.pid.map(|pid| pid.to_string()))?;
    line("uptime", summary.uptime_s.map(units::duration))?;
    line("boots", Some(document.boots.to_string()).filter(|_| document.boots > 1))?;
    let older = document.monitor_version.as_deref().filter(|version| *version != VERSION);
    line("monitor", older.map(|version| format!("version {version}, until the container restarts")))?;
    line("os", document.os.clone())?;
    line("init", document.init.clone())?;
    line("rootfs", root_line(document))?;
    line("hostname", document.hostname.clone())?;
    let network = summary.network.as_ref();
    line("network", network.map(|network| [from_ref(&network.mode), &network.addresses].concat().join(" ")))?;
    line("gateway", network.and_then(|network| network.gateway.clone()))?;
    let connected = network.filter(|network| !network.addresses.is_empty());
    line("uplink", connected.map(|network| network.uplink.clone().unwrap_or_else(|| "none".to_owned())))?;
    let ports = network.map(|network| network.ports.join(" "));
    line("ports", ports.filter(|ports| !ports.is_empty()))?;
    line("cgroup", document.cgroup.clone())?;
    let answered = document.pid_namespace == Some(false);
    line("processes", answered.then(|| "no PID namespace; the monitor answers calls about them".to_owned()))?;
    line("privileged", Some(summary.privileged.clone()).filter(|tags| tags != "no"))?;
    line("devices", document.devices.as_ref().map(devices_line))?;
    line("hardware", document.devices.as_ref().and_then(hardware_line))?;
    let seed = document.seed.iter().chain(&document.seeded);
    line("seed", document.seed.as_ref().map(|_| seed.map(String::as_str).collect::<Vec<_>>().join(" ")))?;
    let autostart =
        if summary.autostart { format!("yes, priority {}", summary.priority) } else { "no".to_owned() };
    line("autostart", Some(autostart))?;
    let hint = if summary.waits_for.is_none() {
        format!("; to retry, run 'ds set {} autostart=yes'", summary.name)
    } else {
        String::new()
    };
    line("", summary.autostart_off.as_ref().map(|reason| format!("{reason}{hint}")))?;
    document.warnings.iter().try_for_each(|text| line("warning", Some(text.clone())))?;
    line("last exit", document.last_exit.as_ref().map(exit))?;
    Ok(text)
}

/// The last exit, in words.
fn exit(exit: &Exit) -> String {
    use crate::monitor::protocol::ExitReason::{
        Exited, Killed, Lost, PoweredOff, Rebooted, Restarted, StartFailed, Stopped,
    };
    let killed = exit.signal == Some(libc::SIGKILL);
    let how = match exit.reason {
        Stopped if killed => "killed by 'ds stop'".to_owned(),
        Stopped => "stopped".to_owned(),
        Restarted if killed => "killed by 'ds restart'".to_owned(),
        Restarted => "restarted".to_owned(),
        Rebooted => "rebooted from inside".to_owned(),
        PoweredOff => "powered off from inside".to_owned(),
        Exited => format!("its init exited with {}", exit.code.unwrap_or_default()),
        Killed => format!("its init was killed by {}", signal_name(exit.signal.unwrap_or_default())),
        StartFailed => "it did not start".to_owned(),
        Lost => "its monitor was killed".to_owned(),
    };
    let message = exit.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    format!("{how} after {}{message}", units::duration(exit.uptime_s))
}

fn signal_name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |signal| signal.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::protocol::ExitReason;

    #[test]
    fn every_end_has_its_own_text() {
        let told =
            |reason, signal| exit(&Exit { reason, code: Some(3), signal, message: None, at: 0, uptime_s: 6 });
        let cases = [
            (ExitReason::Stopped, None, "stopped after 6 s"),
            (ExitReason::Stopped, Some(9), "killed by 'ds stop' after 6 s"),
            (ExitReason::Restarted, None, "restarted after 6 s"),
            (ExitReason::Restarted, Some(9), "killed by 'ds restart' after 6 s"),
            (ExitReason::Rebooted, None, "rebooted from inside after 6 s"),
            (ExitReason::PoweredOff, None, "powered off from inside after 6 s"),
            (ExitReason::Exited, None, "its init exited with 3 after 6 s"),
            (ExitReason::Killed, Some(11), "its init was killed by SIGSEGV after 6 s"),
            (ExitReason::Killed, Some(40), "its init was killed by signal 40 after 6 s"),
        ];
        for (reason, signal, expected) in cases {
            assert_eq!(told(reason, signal), expected);
        }
    }
}
