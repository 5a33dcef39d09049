//! `ds info`: everything about one container.
//!
//! What the container itself can write (its os-release, its init system) is read through `rootfs::root` and only
//! shown.

use std::fmt::Write;
use std::io;
use std::path::Path;
use std::slice::from_ref;

use anyhow::Result;
use serde::Serialize;

use super::state::{Known, Summary, existing, known};
use super::{Env, output, print};
use crate::cli;
use crate::config::{Config, RootSource};
use crate::exit::ExitCode;
use crate::monitor::protocol::Exit;
use crate::rootfs::guest::{Guest, os_release};
use crate::rootfs::image::inspect;
use crate::rootfs::root::Root;
use crate::rootfs::size::Usage;
use crate::rootfs::superblock::FileSystem;

/// What `--json` prints.
#[derive(Serialize)]
pub(super) struct Document {
    #[serde(flatten)]
    summary: Summary,
    init: Option<String>,
    rootfs: Option<RootFileSystem>,
    cgroup: Option<String>,
    hostname: Option<String>,
    network: Option<Network>,
    os: Option<String>,
    boots: u32,
    last_exit: Option<Exit>,
}

#[derive(Serialize)]
struct RootFileSystem {
    kind: &'static str,
    path: String,
    volatile: bool,
    /// Of an image: what is in it.
    filesystem: Option<&'static str>,
    /// Bytes that fit into an image.
    size: Option<u64>,
    /// Bytes of them that are taken; of an image that is not mounted, as of its last unmount.
    used: Option<u64>,
}

#[derive(Serialize)]
struct Network {
    mode: String,
    addresses: Vec<String>,
}

/// Prints what is known about a container.
///
/// # Errors
/// When there is no such container.
pub fn run(arguments: &cli::Info, env: &Env) -> Result<ExitCode> {
    let name = existing(env, &arguments.name)?;
    let known = known(env, &name)?;
    if arguments.pid {
        let pid = known.summary.pid;
        print(&mut io::stdout(), &pid.map_or_else(|| "NONE\n".to_owned(), |pid| format!("{pid}\n")))?;
        return Ok(if pid.is_some() { ExitCode::Done } else { ExitCode::Failed });
    }
    let document = document(known);
    if arguments.json { output::json(&document) } else { print(&mut io::stdout(), &text(&document)?) }
}

/// Puts it together.
pub(super) fn document(known: Known) -> Document {
    let Known { summary, config, status, last_exit } = known;
    let root = config.as_ref().and_then(|config| root(config, summary.pid));
    let init = status.as_ref().map(|status| status.init.clone()).or_else(|| {
        let init = config.as_ref()?.container.init.as_str();
        Guest::inspect(root.as_ref()?, Path::new(init)).ok().map(|guest| guest.to_string())
    });
    let mode = status.as_ref().map(|status| status.network.clone());
    let mode = mode.or_else(|| Some(config.as_ref()?.network.mode.to_string()));
    Document {
        init,
        rootfs: config.as_ref().map(|config| root_file_system(config, summary.pid)),
        cgroup: status.as_ref().and_then(|status| status.cgroup.clone()),
        hostname: status
            .as_ref()
            .map(|status| status.hostname.clone())
            .or_else(|| Some(config.as_ref()?.hostname().to_string())),
        network: mode.map(|mode| Network {
            mode,
            addresses: status.as_ref().map(|status| status.addresses.clone()).unwrap_or_default(),
        }),
        os: root.as_ref().and_then(|root| os_release(root, "PRETTY_NAME")),
        boots: status.as_ref().map_or(0, |status| status.boots),
        summary,
        last_exit,
    }
}

/// The tree of a container; what is in an image shows only while it runs.
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

fn root_file_system(config: &Config, pid: Option<i32>) -> RootFileSystem {
    let volatile = config.container.volatile;
    let (filesystem, size, used) = (None, None, None);
    match &config.container.root {
        RootSource::Directory(path) => {
            RootFileSystem { kind: "directory", path: path.to_string(), volatile, filesystem, size, used }
        }
        RootSource::Image(path) => {
            let facts = inspect(path.as_path()).ok();
            // A volatile container sees the memory that its changes are in.
            let mounted = pid.filter(|_| !volatile).and_then(root_of);
            let now = mounted.and_then(|root| Usage::of(root.directory()));
            let then = facts.as_ref().and_then(|facts| match &facts.system {
                FileSystem::Ext(ext) => Some(Usage::recorded(ext)),
                _ => None,
            });
            let usage = now.or(then);
            RootFileSystem {
                kind: "image",
                path: path.to_string(),
                volatile,
                filesystem: facts.as_ref().map(|facts| facts.system.name()),
                size: usage.map(|usage| usage.size).or_else(|| Some(facts.as_ref()?.size)),
                used: usage.map(|usage| usage.used),
            }
        }
    }
}

impl RootFileSystem {
    fn text(&self) -> String {
        let mut parts = vec![self.kind.to_owned()];
        parts.extend(self.filesystem.map(str::to_owned));
        parts.extend(
            self.used
                .zip(self.size)
                .map(|(used, size)| format!("{} of {} used", output::size(used), output::size(size))),
        );
        parts.extend(self.volatile.then(|| "volatile".to_owned()));
        format!("{} ({})", self.path, parts.join(", "))
    }
}

fn text(document: &Document) -> Result<String> {
    let summary = &document.summary;
    let mut text = String::new();
    let mut line = |key: &str, value: Option<String>| match value {
        Some(value) => writeln!(text, "{key:<11} {value}"),
        None => Ok(()),
    };
    line("name", Some(summary.name.to_string()))?;
    let readiness = if summary.ready { " (up)" } else { "" };
    line("state", Some(format!("{}{readiness}", summary.state.as_str())))?;
    line("problem", summary.problem.clone())?;
    line("restarts", summary.restart_in_s.map(|seconds| format!("in {}", output::duration(seconds))))?;
    line("waits for", summary.waits_for.as_ref().map(|what| format!("the {what}")))?;
    line("pid", summary.pid.map(|pid| pid.to_string()))?;
    line("uptime", summary.uptime_s.map(output::duration))?;
    line("boots", Some(document.boots.to_string()).filter(|_| document.boots > 1))?;
    line("os", document.os.clone())?;
    line("init", document.init.clone())?;
    line("rootfs", document.rootfs.as_ref().map(RootFileSystem::text))?;
    line("hostname", document.hostname.clone())?;
    line(
        "network",
        document
            .network
            .as_ref()
            .map(|network| [from_ref(&network.mode), &network.addresses].concat().join(" ")),
    )?;
    line("cgroup", document.cgroup.clone())?;
    let autostart =
        if summary.autostart { format!("yes, priority {}", summary.priority) } else { "no".to_owned() };
    line("autostart", Some(autostart))?;
    let hint = if summary.waits_for.is_none() {
        format!("; 'ds set {} autostart=yes' tries again", summary.name)
    } else {
        String::new()
    };
    line("", summary.autostart_off.as_ref().map(|reason| format!("{reason}{hint}")))?;
    line("last exit", document.last_exit.as_ref().map(exit))?;
    Ok(text)
}

/// How a container ended, for people.
fn exit(exit: &Exit) -> String {
    use crate::monitor::protocol::ExitReason::{Exited, Killed, Lost, PoweredOff, StartFailed, Stopped};
    let how = match exit.reason {
        Stopped => "stopped".to_owned(),
        PoweredOff => "powered off from inside".to_owned(),
        Exited => format!("its init exited with {}", exit.code.unwrap_or_default()),
        Killed => format!("its init was ended by signal {}", exit.signal.unwrap_or_default()),
        StartFailed => "it did not start".to_owned(),
        Lost => "its monitor was killed".to_owned(),
    };
    let message = exit.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    format!("{how} after {}{message}", output::duration(exit.uptime_s))
}
