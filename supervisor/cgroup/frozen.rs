//! Finds single processes that a freezer has frozen, and ends those of version 1: cgroups(7), freezer-subsystem.rst.
//!
//! Such a process handles no signal, not even SIGKILL, and keeps its descriptors open. A killed one that is moved to a
//! group that is not frozen ends without running. Kills only the processes that the caller names.

use std::fs;
use std::iter;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::cgroup::{Hierarchies, Version1};
use crate::proc_stat;

/// Whether the freezer of either version has frozen a process.
#[must_use]
pub fn is_frozen(process: Pid) -> bool {
    let Ok(found) = Hierarchies::probe() else { return false };
    let of = process.to_string();
    let by_version2 = found.version2.and_then(|version2| {
        // Version 2 has no label.
        let events = group(&version2.root.path, "", &of)?.join("cgroup.events");
        Some(fs::read_to_string(events).ok()?.lines().any(|line| line == "frozen 1"))
    });
    by_version2 == Some(true)
        || found.version1.into_iter().find(Version1::has_freezer).is_some_and(|one| Freezer1(one).holds(&of))
}

/// Kills a process, if version 1 has frozen it.
pub fn kill_frozen(process: Pid) {
    kill_those(|| iter::once(process.as_raw()));
}

/// Kills the processes of a process group that version 1 has frozen.
pub fn kill_frozen_group(leader: Pid) {
    let is_in_group = |process: &i32| {
        let stat = fs::read(format!("/proc/{process}/stat")).unwrap_or_default();
        proc_stat::field(&String::from_utf8_lossy(&stat), 5) == Some(leader.to_string().as_str())
    };
    let entries = || fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    kill_those(|| entries().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_in_group));
}

/// Kills those of the processes that version 1 has frozen; lists them only if it has a freezer.
fn kill_those<Processes: Iterator<Item = i32>>(list: impl FnOnce() -> Processes) {
    let Some(freezer) = Freezer1::find() else { return };
    for process in list().map(Pid::from_raw) {
        if let Some(thawed) = freezer.way_out(process) {
            let _ = kill(process, Signal::SIGKILL);
            let _ = fs::write(thawed, process.to_string());
        }
    }
}

/// The hierarchy with the freezer.
struct Freezer1(Version1);

impl Freezer1 {
    fn find() -> Option<Self> {
        Hierarchies::probe().ok()?.version1.into_iter().find(Version1::has_freezer).map(Self)
    }

    /// Whether it has frozen a process.
    fn holds(&self, process: &str) -> bool {
        let state = || fs::read_to_string(self.group(process)?.join("freezer.state")).ok();
        state().is_some_and(|state| matches!(state.trim(), "FROZEN" | "FREEZING"))
    }

    /// The list of processes of this process's own group, if another process is frozen.
    fn way_out(&self, process: Pid) -> Option<PathBuf> {
        self.holds(&process.to_string()).then(|| Some(self.group("self")?.join("cgroup.procs")))?
    }

    fn group(&self, of: &str) -> Option<PathBuf> {
        group(&self.0.root.path, &self.0.label(), of)
    }
}

/// The group of a process in the hierarchy with this mount point and label.
fn group(root: &Path, label: &str, of: &str) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{of}/cgroup")).ok()?;
    let mut fields = text.lines().map(|line| line.splitn(3, ':').skip(1));
    let path = fields.find_map(|mut line| (line.next()? == label).then(|| line.next())?)?;
    Some(root.join(path.trim_start_matches('/')))
}
