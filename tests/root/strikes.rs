//! Faults of processes and control groups while verbs run: killed, interrupted, stopped, frozen, and later
//! continued and thawed.

use crate::process::{Process, below};
use crate::sandbox::{STANDBY, Sandbox};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

/// The file that freezes a group, and the values that freeze and thaw; version 1 and version 2.
const FREEZERS: [(&str, &str, &str); 2] =
    [("freezer.state", "FROZEN", "THAWED"), ("cgroup.freeze", "1", "0")];

/// xorshift64*: numbers that a seed repeats.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds begin far apart, and none is zero.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % limit
    }

    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        if all.is_empty() { None } else { Some(&all[self.below(all.len())]) }
    }
}

/// The actions of a round, for the message of its failure.
#[derive(Debug, Default)]
pub struct Story(pub Vec<String>);

impl Story {
    pub fn add(&mut self, what: impl fmt::Display) {
        self.0.push(what.to_string());
    }
}

/// A group that was frozen.
#[derive(Debug)]
struct Frozen {
    file: PathBuf,
    thawed: &'static str,
    /// The previous group of its processes, if the group was created for them.
    from: Option<PathBuf>,
}

/// The strikes of one round, and their undo information.
#[derive(Debug)]
pub struct Strikes<'a> {
    sandbox: &'a Sandbox,
    stopped: BTreeSet<i32>,
    frozen: Vec<Frozen>,
}

impl<'a> Strikes<'a> {
    pub fn new(sandbox: &'a Sandbox) -> Self {
        Self { sandbox, stopped: BTreeSet::new(), frozen: Vec::new() }
    }

    /// One strike.
    pub fn strike(&mut self, chance: &mut Chance, clients: &[Child], story: &mut Story) {
        match chance.below(10) {
            0..=2 => self.signal_one(chance, clients, story, Signal::SIGKILL),
            3 => {
                let signal = if chance.below(2) == 0 { Signal::SIGINT } else { Signal::SIGTERM };
                if let Some(client) = chance.one_of(&self.clients(clients)) {
                    story.add(format_args!("{signal} to the client {}", client.pid));
                    send(client.pid, signal);
                }
            }
            4..=6 => self.signal_one(chance, clients, story, Signal::SIGSTOP),
            7 => self.freeze_container(chance, story),
            8 => self.freeze_one(chance, story),
            _ => self.undo_one(chance, story),
        }
    }

    fn clients(&self, clients: &[Child]) -> Vec<Process> {
        let spawned = clients.iter().flat_map(|client| below(i32::try_from(client.id()).unwrap()));
        spawned.filter(|process| process.name == "ds").collect()
    }

    /// Sends a signal to a client, a worker, the supervisor, a monitor or any process, with equal probability.
    fn signal_one(&mut self, chance: &mut Chance, clients: &[Child], story: &mut Story, signal: Signal) {
        let all = self.sandbox.processes();
        let named = |wanted: &dyn Fn(&str) -> bool| -> Vec<Process> {
            all.iter().filter(|process| wanted(&process.name)).cloned().collect()
        };
        let candidates = match chance.below(5) {
            0 => self.clients(clients),
            1 => named(&|name| name == "ds:worker" || name == STANDBY),
            2 => self.sandbox.supervisor().into_iter().collect(),
            3 => named(&|name| name.starts_with("ds:") && name != "ds:worker" && name != STANDBY),
            _ => all.clone(),
        };
        let Some(victim) = chance.one_of(&candidates) else { return };
        story.add(format_args!("{signal} to {} ({})", victim.pid, victim.name));
        send(victim.pid, signal);
        if signal == Signal::SIGSTOP {
            self.stopped.insert(victim.pid);
        }
    }

    /// Freezes a container's group, or one below, in either version.
    fn freeze_container(&mut self, chance: &mut Chance, story: &mut Story) {
        let (file, frozen, thawed) = FREEZERS[chance.below(FREEZERS.len())];
        let mut groups = Vec::new();
        for top in self.sandbox.group_directories() {
            groups_with(&top, file, &mut groups);
        }
        let Some(group) = chance.one_of(&groups) else { return };
        let file = group.join(file);
        story.add(format_args!("{frozen} to {}", file.display()));
        // It may be removed at this moment.
        if fs::write(&file, frozen).is_ok() {
            self.frozen.push(Frozen { file, thawed, from: None });
        }
    }

    /// Freezes only the supervisor, a worker or a monitor, in a new group.
    fn freeze_one(&mut self, chance: &mut Chance, story: &mut Story) {
        let (file, frozen, thawed) = FREEZERS[chance.below(FREEZERS.len())];
        let ours: Vec<Process> =
            self.sandbox.processes().into_iter().filter(|one| one.name.starts_with("ds")).collect();
        let Some(victim) = chance.one_of(&ours) else { return };
        let Some(inside) = self.sandbox.own_groups().into_iter().find(|group| group.join(file).exists())
        else {
            return;
        };
        let group = inside.join(format!("frozen{}", self.frozen.len()));
        let moved = || -> std::io::Result<()> {
            fs::create_dir(&group)?;
            fs::write(group.join("cgroup.procs"), victim.pid.to_string())?;
            fs::write(group.join(file), frozen)
        };
        story.add(format_args!("{frozen} to {} ({}) alone", victim.pid, victim.name));
        // It may have ended.
        let _ = moved();
        self.frozen.push(Frozen { file: group.join(file), thawed, from: Some(inside) });
    }

    /// Continues one stopped or frozen process or group.
    fn undo_one(&mut self, chance: &mut Chance, story: &mut Story) {
        if !self.frozen.is_empty() && chance.below(2) == 0 {
            let frozen = self.frozen.swap_remove(chance.below(self.frozen.len()));
            story.add(format_args!("thaw {}", frozen.file.display()));
            thaw(&frozen);
        } else if let Some(pid) = self.stopped.pop_first() {
            story.add(format_args!("SIGCONT to {pid}"));
            send(pid, Signal::SIGCONT);
        }
    }

    /// Continues every process of `ds` except monitors: `stop --kill` works with any state of a container and its
    /// monitor, but not with a stopped supervisor or worker.
    pub fn undo_ours(&mut self) {
        let ours = ["ds", "ds:worker", "ds:job", STANDBY];
        let is_ours = |pid: &i32| Process::of(*pid).is_some_and(|one| ours.contains(&&*one.name));
        let stopped = self.stopped.iter().copied().filter(is_ours).collect();
        self.resume(&stopped);
        self.frozen.extract_if(.., |frozen| frozen.from.is_some()).for_each(|frozen| thaw(&frozen));
    }

    /// Continues everything.
    pub fn undo_all(&mut self) {
        self.resume(&self.stopped.clone());
        self.frozen.drain(..).for_each(|frozen| thaw(&frozen));
    }

    fn resume(&mut self, stopped: &BTreeSet<i32>) {
        self.stopped.retain(|pid| !stopped.contains(pid));
        stopped.iter().for_each(|pid| send(*pid, Signal::SIGCONT));
    }

    /// Continues a client and its job, because a stopped client cannot end.
    pub fn continue_clients(&mut self, clients: &[Child]) {
        let jobs = self.sandbox.processes().into_iter().filter(|one| one.name == "ds:job");
        for process in self.clients(clients).into_iter().chain(jobs) {
            send(process.pid, Signal::SIGCONT);
        }
    }
}

impl Drop for Strikes<'_> {
    fn drop(&mut self) {
        self.undo_all();
    }
}

/// The process may have ended by itself in the meantime.
fn send(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

/// The group may have been removed with its container.
fn thaw(frozen: &Frozen) {
    let _ = fs::write(&frozen.file, frozen.thawed);
    let (Some(from), Some(group)) = (&frozen.from, frozen.file.parent()) else { return };
    // Processes that were forked in it are moved as well; more may appear meanwhile.
    for _ in 0..1000 {
        let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        for pid in processes.lines() {
            let _ = fs::write(from.join("cgroup.procs"), pid);
        }
        if fs::remove_dir(group).is_ok() || !group.exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("{} cannot be removed", group.display());
}

fn groups_with(group: &Path, file: &str, found: &mut Vec<PathBuf>) {
    // The group that the containers' groups are in belongs to no container.
    let is_shared = group.file_name().is_some_and(|name| name.to_string_lossy().starts_with("droidspaces"));
    if !is_shared && group.join(file).exists() {
        found.push(group.to_owned());
    }
    for entry in fs::read_dir(group).into_iter().flatten().filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            groups_with(&entry.path(), file, found);
        }
    }
}
