//! The resource usage of a running container: processor time, memory, processes.
//!
//! The numbers come from the container's control groups if their hierarchy has the controller (cgroups(7),
//! cgroup-v2.rst, cpuacct.rst, memory.rst), otherwise from the processes in its PID namespace (proc_pid_stat(5),
//! proc_pid_smaps(5)). Only reads.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::host::Hierarchies;
use crate::peer::PidNamespace;
use crate::proc_stat::field;

/// One second in the times of /proc: `USER_HZ` is 100 on every supported machine.
const TICKS: u64 = 100;

/// The control groups of one container.
#[derive(Debug)]
pub struct Groups<'a> {
    hierarchies: &'a Hierarchies,
    /// The container's directory in each hierarchy.
    below: PathBuf,
}

impl<'a> Groups<'a> {
    /// The groups of `container` below the directory `base` of each hierarchy.
    #[must_use]
    pub fn new(hierarchies: &'a Hierarchies, base: &str, container: &str) -> Self {
        Self { hierarchies, below: Path::new(base).join(container) }
    }

    fn version2(&self, file: &str) -> Option<String> {
        let hierarchy = self.hierarchies.version2.as_ref()?;
        fs::read_to_string(hierarchy.root.path.join(&self.below).join(file)).ok()
    }

    fn version1(&self, controller: &str, file: &str) -> Option<u64> {
        let hierarchy = self.hierarchies.version1_with(controller)?;
        let text = fs::read_to_string(hierarchy.root.path.join(&self.below).join(file)).ok()?;
        text.trim().parse().ok()
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.version2(file)?.trim().parse().ok()
    }

    /// Processor time of all processes that were ever in the groups.
    #[must_use]
    pub fn processor_time(&self) -> Option<Duration> {
        let version2 = || {
            let text = self.version2("cpu.stat")?;
            let microseconds = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
            Some(Duration::from_micros(microseconds.parse().ok()?))
        };
        version2().or_else(|| Some(Duration::from_nanos(self.version1("cpuacct", "cpuacct.usage")?)))
    }

    /// Memory in bytes, including the page cache of the container.
    #[must_use]
    pub fn memory(&self) -> Option<u64> {
        self.number("memory.current").or_else(|| self.version1("memory", "memory.usage_in_bytes"))
    }

    /// Processes and threads.
    #[must_use]
    pub fn tasks(&self) -> Option<u64> {
        self.number("pids.current").or_else(|| self.version1("pids", "pids.current"))
    }
}

/// The processes of one container.
#[derive(Debug)]
pub struct Processes {
    list: BTreeMap<i32, Stat>,
}

/// The fields of /proc/PID/stat that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: i32,
    /// Its own time, and that of its terminated and reaped children.
    ticks: u64,
    threads: u64,
}

impl Processes {
    /// The processes in the PID namespace of `init`, or what stands for it, and their descendants.
    #[must_use]
    pub fn of(init: i32) -> Self {
        let namespace = |pid: i32| PidNamespace::of(&pid.to_string()).ok();
        let Some(own) = namespace(init) else { return Self { list: BTreeMap::new() } };
        let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let all: BTreeMap<i32, (Stat, bool)> = pids
            .filter_map(|pid| {
                let stat = parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
                Some((pid, (stat, namespace(pid) == Some(own))))
            })
            .collect();
        Self { list: belonging(&all) }
    }

    /// Processor time of running processes, and of terminated and reaped ones.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        Duration::from_millis(self.list.values().map(|stat| stat.ticks).sum::<u64>() * (1000 / TICKS))
    }

    /// Memory in bytes; shared pages are divided among the processes that share them.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let kibibytes = |pid: &i32| {
            // smaps_rollup since 4.14.
            labelled(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
                .or_else(|| labelled(&format!("/proc/{pid}/status"), "VmRSS:"))
        };
        self.list.keys().filter_map(kibibytes).sum::<u64>() * 1024
    }

    /// Processes and threads.
    #[must_use]
    pub fn tasks(&self) -> u64 {
        self.list.values().map(|stat| stat.threads).sum()
    }
}

/// The processes inside (`true`), and all their descendants.
fn belonging(all: &BTreeMap<i32, (Stat, bool)>) -> BTreeMap<i32, Stat> {
    let is_inside = |pid: i32| {
        // A chain of parents is never longer than the list, unless the list changed while it was read.
        let mut next = pid;
        for _ in 0..=all.len() {
            match all.get(&next) {
                Some((_, true)) => return true,
                Some((stat, false)) => next = stat.parent,
                None => return false,
            }
        }
        false
    };
    all.iter().filter(|(pid, _)| is_inside(**pid)).map(|(pid, (stat, _))| (*pid, *stat)).collect()
}

/// Parses /proc/PID/stat.
fn parse(text: &str) -> Option<Stat> {
    let number = |number| field(text, number)?.parse::<u64>().ok();
    Some(Stat {
        parent: field(text, 4)?.parse().ok()?,
        ticks: (14..18).map(number).sum::<Option<u64>>()?,
        threads: number(20)?,
    })
}

/// A line such as `Pss:   123 kB`.
fn labelled(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cgroup::{Root, Version1, Version2};
    use proptest::prelude::*;

    #[test]
    fn the_fields_of_a_process_are_found_behind_any_name() {
        let text = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 5 0 1234 1 1";
        assert_eq!(parse(text), Some(Stat { parent: 7, ticks: 100, threads: 5 }));
        assert_eq!(parse("42 (a) S 7"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn descendants_in_nested_namespaces_belong_and_sessions_too() {
        let stat = |parent| Stat { parent, ticks: 1, threads: 1 };
        // 1 host, 10 container init, 11 nested init, 12 its child, 20 a session whose parent is outside.
        let all = [
            (1, (stat(0), false)),
            (10, (stat(1), true)),
            (11, (stat(10), false)),
            (12, (stat(11), false)),
            (20, (stat(1), true)),
            (30, (stat(31), false)),
            (31, (stat(30), false)),
        ];
        let found: Vec<i32> = belonging(&all.into()).into_keys().collect();
        assert_eq!(found, [10, 11, 12, 20]);
    }

    #[test]
    fn groups_of_both_versions_are_read() {
        let machine = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = machine.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("v2/base/web/cpu.stat", "usage_usec 1500000\nuser_usec 1\n");
        write("v2/base/web/pids.current", "7\n");
        write("memory/base/web/memory.usage_in_bytes", "4096\n");
        write("cpuacct/base/old/cpuacct.usage", "2000000000\n");
        let version1 = |controller: &str| Version1 {
            controllers: vec![controller.to_owned()],
            name: None,
            noprefix: false,
            root: Root::at(&machine.path().join(controller)),
        };
        let hierarchies = Hierarchies {
            version1: vec![version1("memory"), version1("cpuacct")],
            version2: Some(Version2 { controllers: vec![], root: Root::at(&machine.path().join("v2")) }),
            knows_version2: true,
        };
        let web = Groups::new(&hierarchies, "base", "web");
        assert_eq!(web.processor_time(), Some(Duration::from_millis(1500)));
        assert_eq!((web.memory(), web.tasks()), (Some(4096), Some(7)));
        let old = Groups::new(&hierarchies, "base", "old");
        assert_eq!(old.processor_time(), Some(Duration::from_secs(2)));
        assert_eq!((old.memory(), old.tasks()), (None, None));
    }

    #[test]
    fn processes_of_our_own_namespace_are_counted() {
        let processes = Processes::of(std::process::id().try_into().unwrap());
        assert!(processes.tasks() >= 2, "the harness has threads");
        assert!(processes.memory() > 1 << 20);
        assert!(Processes::of(i32::MAX).list.is_empty());
    }

    proptest! {
        #[test]
        fn any_text_does_not_panic(text: String) {
            let _ = parse(&text);
            let _ = parse(&format!("1 (x) {text}"));
        }
    }
}
