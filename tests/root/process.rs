//! The process table as /proc shows it, for looking at what a sandbox's processes do.

use std::collections::BTreeMap;
use std::fs;

/// One process, by its number on the machine.
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
    /// A process; `None` when it is gone.
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

    /// Its number in its own PID namespace.
    pub fn inner_pid(&self) -> Option<i32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().last()?.parse().ok()
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).map(Iterator::count).unwrap_or(0)
    }

    /// Its private memory in KiB: what it has written itself, proc_pid_smaps(5).
    pub fn private_kib(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).unwrap_or_default();
        let field = |name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        field("Private_Dirty:") + field("Private_Clean:")
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

/// SIGKILL, which needs no consent.
pub fn kill(pid: i32) {
    signal(pid, nix::sys::signal::Signal::SIGKILL);
}

/// A signal for one process.
pub fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("kill");
}
