//! `ds check`: the features of this kernel that containers need.
//!
//! Owns the output and the summary. `host::kernel` owns the features and their probes. Changes nothing.

use std::fmt::Write;
use std::io;

use anyhow::{Result, ensure};
use nix::unistd::geteuid;
use serde::Serialize;

use super::{output, print, state};
use crate::cli;
use crate::config::Config;
use crate::exit::ExitCode;
use crate::host::Host;
use crate::host::kernel::{self, Found};
use crate::host::security::{Seccomp, Selinux};
use crate::mount::sockets::find;
use crate::plan::profiles;
use crate::worker::Env;

/// The results, as `--json` prints them.
#[derive(Debug, Serialize)]
pub struct Report {
    ok: bool,
    kernel: String,
    machine: String,
    android: bool,
    selinux: Selinux,
    seccomp: Seccomp,
    summary: String,
    features: Vec<Row>,
    /// Configured servers of the host that are not running, one line each.
    servers: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    present: bool,
    required: bool,
    since: &'static str,
    option: &'static str,
    purpose: &'static str,
    without: &'static str,
}

/// Prints the features. The exit code says whether containers with an init system can run.
///
/// # Errors
/// Without root, which the probes need; if standard output cannot be written.
pub fn run(arguments: &cli::Check, env: &Env) -> Result<ExitCode> {
    ensure!(geteuid().is_root(), "probing the kernel needs root; use 'su' or 'sudo'");
    let mut report = Report::new(&env.host);
    report.servers = missing_servers(env);
    if arguments.json {
        output::json(&report)?;
    } else {
        print(&mut io::stdout(), &report.text()?)?;
    }
    Ok(if report.ok { ExitCode::Done } else { ExitCode::Failed })
}

impl Report {
    /// Probes all features.
    #[must_use]
    pub fn new(host: &Host) -> Self {
        let found = kernel::probe(host);
        Self {
            ok: missing(&found, true).is_empty(),
            kernel: host.release.clone(),
            machine: host.machine.clone(),
            android: host.android,
            selinux: Selinux::probe(),
            seccomp: Seccomp::probe(),
            summary: summary(&found),
            features: found.into_iter().map(Row::from).collect(),
            servers: Vec::new(),
        }
    }

    /// The report as text.
    ///
    /// # Errors
    /// None in practice.
    pub fn text(&self) -> Result<String> {
        let Self { kernel, machine, selinux, seccomp, .. } = self;
        let system = if self.android { "Android" } else { "Linux" };
        let mut text = format!(
            "{system}, kernel {kernel} ({machine}), SELinux {selinux}, system call filters: {seccomp}\n\n"
        );
        let heading = ["FEATURE", "PRESENT", "USED FOR", "KERNEL OPTION", "IF MISSING"].map(str::to_owned);
        let rows: Vec<_> = [heading].into_iter().chain(self.features.iter().map(Row::cells)).collect();
        writeln!(text, "{}\n{}", output::columns(&rows), self.summary)?;
        for line in &self.servers {
            writeln!(text, "{line}")?;
        }
        Ok(text)
    }
}

impl Report {
    /// The report for an installer: the summary, then one sentence for each missing feature.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let missing = self.features.iter().filter(|row| !row.present).map(|row| {
            let option =
                if row.option.is_empty() { String::new() } else { format!(" (needs {})", row.option) };
            format!("no {}: {}{option}", row.name, row.without)
        });
        [format!("kernel {}: {}", self.kernel, self.summary)].into_iter().chain(missing).collect()
    }
}

impl From<Found> for Row {
    fn from(found: Found) -> Self {
        let kernel::Feature { name, required, since, option, purpose, without, .. } = *found.feature;
        Self { name, present: found.present, required, since, option, purpose, without }
    }
}

impl Row {
    /// Kernel option and consequence are shown only for missing features.
    fn cells(&self) -> [String; 5] {
        let (there, option, without) =
            if self.present { ("yes", "", "") } else { ("no", self.option, self.without) };
        let purpose =
            if self.required { format!("required: {}", self.purpose) } else { self.purpose.to_owned() };
        [self.name.to_owned(), there.to_owned(), purpose, option.to_owned(), without.to_owned()]
    }
}

/// The servers that containers need and that are not running. Containers with an invalid configuration are skipped.
fn missing_servers(env: &Env) -> Vec<String> {
    let mut lines = Vec::new();
    for name in state::names(env) {
        let Ok(config) = Config::load(&env.paths.container_ini(&name), &name) else { continue };
        for profile in profiles::of(&config) {
            if !profile.sockets.iter().any(|(top, path)| find(top, path).is_some()) {
                lines.push(format!("{name}: {}: no server on the host; {}", profile.setting, profile.remedy));
            }
        }
    }
    lines
}

fn missing(found: &[Found], required: bool) -> Vec<&Found> {
    let answered = found.iter().any(|found| found.feature.name == ANSWERS && found.present);
    let stands_in = |name: &str| answered && name == NAMESPACES;
    let is_missing = |found: &&Found| !found.present && !stands_in(found.feature.name);
    found.iter().filter(|found| is_missing(found) && found.feature.required == required).collect()
}

/// The required feature that another one can replace.
const NAMESPACES: &str = "PID namespaces";
const ANSWERS: &str = "system call notification";

/// The summary, in one line.
fn summary(found: &[Found]) -> String {
    let lacks = |name: &str| found.iter().any(|found| found.feature.name == name && !found.present);
    let required = missing(found, true);
    let names: Vec<&str> = required.iter().map(|found| found.feature.name).collect();
    if !required.is_empty() {
        let who = match names[..] {
            [NAMESPACES] => "only 'ds shell' is supported here, no init system",
            _ => "no container can run here",
        };
        let options: Vec<&str> =
            required.iter().flat_map(|found| found.feature.option.split_whitespace()).collect();
        let remedy = match options[..] {
            [] => String::new(),
            _ => format!("; set {} in the kernel's configuration", options.join(" ")),
        };
        return format!("{who}: no {}{remedy}", names.join(", no "));
    }
    if lacks("cgroup v1") && lacks("cgroup v2") {
        return "containers with an init system can run here, except systemd; set CONFIG_CGROUPS in the \
                kernel's configuration"
            .to_owned();
    }
    if lacks(NAMESPACES) {
        return "containers with an init system can run here, without PID namespaces: see docs/stock-kernels.md"
            .to_owned();
    }
    match missing(found, false).len() {
        0 => "containers with an init system can run here".to_owned(),
        1 => "containers with an init system can run here; 1 optional feature is missing".to_owned(),
        count => {
            format!("containers with an init system can run here; {count} optional features are missing")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::kernel::FEATURES;

    fn without(names: &[&str]) -> Vec<Found> {
        for name in names {
            assert!(FEATURES.iter().any(|feature| feature.name == *name), "{name}");
        }
        FEATURES.iter().map(|feature| Found { feature, present: !names.contains(&feature.name) }).collect()
    }

    #[test]
    fn the_verdict_names_what_is_missing_and_what_to_set() {
        assert_eq!(summary(&without(&[])), "containers with an init system can run here");
        assert_eq!(
            summary(&without(&["PID namespaces", "system call notification", "openat2"])),
            "only 'ds shell' is supported here, no init system: no PID namespaces; \
             set CONFIG_PID_NS in the kernel's configuration"
        );
        let answered = without(&["PID namespaces", "IPC namespaces"]);
        assert!(missing(&answered, true).is_empty());
        assert!(summary(&answered).ends_with("without PID namespaces: see docs/stock-kernels.md"));
        assert_eq!(
            summary(&without(&["mount namespaces", "devpts instances"])),
            "no container can run here: no mount namespaces, no devpts instances; \
             set CONFIG_NAMESPACES CONFIG_UNIX98_PTYS in the kernel's configuration"
        );
        assert_eq!(summary(&without(&["root"])), "no container can run here: no root");
        assert!(summary(&without(&["cgroup v1", "cgroup v2"])).contains("except systemd"));
        assert!(summary(&without(&["cgroup v1"])).ends_with("1 optional feature is missing"));
        assert!(summary(&without(&["openat2", "erofs"])).contains("; 2 optional features"));
    }

    #[test]
    fn the_table_explains_what_is_missing_and_is_quiet_about_the_rest() {
        let report = |names: &[&str]| {
            let found = without(names);
            Report {
                ok: missing(&found, true).is_empty(),
                kernel: "5.10.1".into(),
                machine: "aarch64".into(),
                android: true,
                selinux: Selinux::Permissive,
                seccomp: Seccomp { mode: 0, filters: 1 },
                summary: summary(&found),
                features: found.into_iter().map(Row::from).collect(),
                servers: vec!["web: no server".into()],
            }
        };
        let text = report(&["IPC namespaces"]).text().unwrap();
        assert!(text.starts_with(
            "Android, kernel 5.10.1 (aarch64), SELinux permissive, system call filters: 1 inactive"
        ));
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(line("IPC namespaces").contains("no       separate System V IPC"));
        assert!(line("IPC namespaces").ends_with("else a warning; the container shares the host's"));
        assert!(line("UTS namespaces").ends_with("yes      a separate host name for each container"));
        assert!(line("PID namespaces").contains("required: "));
        assert!(text.ends_with("\nweb: no server\n"), "{text}");
        assert!(
            text.lines().rev().nth(1).unwrap().starts_with("containers with an init system can run here")
        );
        let json = serde_json::to_value(report(&["PID namespaces", "system call notification"])).unwrap();
        assert_eq!(json["ok"], false);
        let feature = &json["features"][2];
        assert_eq!(feature["name"], "PID namespaces");
        assert_eq!(feature["present"], false);
        assert_eq!(feature["required"], true);
        assert_eq!(feature["option"], "CONFIG_PID_NS");
    }
}
