//! The process table in /proc, for checks of a sandbox's processes.

use crate::wait_for;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Child;

/// One process, by its process id on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    /// Its name as in ps(1).
    pub name: String,
    /// `S`, `R`, `T`, `Z`…: proc_pid_stat(5).
    pub state: char,
    /// Its program and arguments; empty for a zombie.
    pub command: Vec<String>,
}

impl Process {
    /// A process; `None` if it has ended.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (before, after) = stat.rsplit_once(") ")?;
        let mut fields = after.split(' ');
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = command.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        Some(Self {
            pid,
            parent,
            name: before.split_once('(')?.1.to_owned(),
            state,
            command: words.filter(|word| !word.is_empty()).collect(),
        })
    }

    /// Its process id in its own PID namespace.
    pub fn inner_pid(&self) -> Option<i32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().last()?.parse().ok()
    }

    /// Whether it has a file open.
    pub fn has_open(&self, path: &Path) -> bool {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.pid)).into_iter().flatten().flatten();
        descriptors.into_iter().any(|one| fs::read_link(one.path()).is_ok_and(|target| target == path))
    }

    /// The number of its open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).map(Iterator::count).unwrap_or(0)
    }

    /// Its anonymous memory in KiB, proc_pid_smaps(5). Its private memory would depend on the pages of files that the
    /// kernel has just reclaimed, and on those that its children have copied.
    pub fn anonymous_kib(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).unwrap_or_default();
        let field = |name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        field("Anonymous:") + field("Swap:")
    }
}

/// Everything below a process: its children, their children, and so on.
pub fn below(ancestor: i32) -> Vec<Process> {
    let all: BTreeMap<i32, Process> = fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Process::of(pid)?)))
        .collect();
    let is_below = |process: &&Process| {
        let mut pid = process.pid;
        while let Some(parent) = all.get(&pid).map(|process| process.parent) {
            if parent == ancestor {
                return true;
            }
            pid = parent;
        }
        false
    };
    all.values().filter(is_below).cloned().collect()
}

/// The client that a command of the sandbox runs: the spawned process only enters the sandbox.
pub fn client(spawned: &Child) -> Process {
    let below = || below(spawned.id().try_into().unwrap());
    wait_for("the client", || below().into_iter().find(|one| one.name == "ds"))
}

/// Sends SIGKILL; ignores a process that has just ended.
pub fn kill(pid: i32) {
    let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
}

/// Sends SIGKILL to a process, if it still has this name.
pub fn kill_if_named(pid: i32, name: &str) {
    if Process::of(pid).is_some_and(|process| process.name == name) {
        kill(pid);
    }
}

/// Sends a signal to one process.
pub fn signal(pid: i32, signal: Signal) {
    nix::sys::signal::kill(Pid::from_raw(pid), signal).expect("kill");
}
