//! Ends single processes that the freezer of version 1 has frozen, freezer-subsystem.rst.
//!
//! Such a process handles no signal, not even SIGKILL, and keeps its descriptors open. A killed one that is moved to a
//! group that is not frozen ends without running. Kills only the processes that the caller names.

use std::fs;
use std::iter;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::cgroup::{Hierarchies, Version1};
use crate::proc_stat;

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

    /// The list of processes of this process's own group, if another process is frozen.
    fn way_out(&self, process: Pid) -> Option<PathBuf> {
        let state = fs::read_to_string(self.group(&process.to_string())?.join("freezer.state")).ok()?;
        let is_frozen = matches!(state.trim(), "FROZEN" | "FREEZING");
        is_frozen.then(|| Some(self.group("self")?.join("cgroup.procs")))?
    }

    fn group(&self, of: &str) -> Option<PathBuf> {
        let text = fs::read_to_string(format!("/proc/{of}/cgroup")).ok()?;
        let mut fields = text.lines().map(|line| line.splitn(3, ':').skip(1));
        let path = fields.find_map(|mut line| (line.next()? == self.0.label()).then(|| line.next())?)?;
        Some(self.0.root.path.join(path.trim_start_matches('/')))
    }
}
