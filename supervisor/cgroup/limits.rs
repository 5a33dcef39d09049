//! The limits as files of both versions: cgroup-v2.rst, memory.rst, sched-bwc.rst, pids.rst. Owns their format; writes
//! nothing.

use crate::config::Limits;

/// Period of the processor quota, microseconds.
const PERIOD: u64 = 100_000;

/// One limit.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) controller: &'static str,
    /// File and value of version 2.
    pub(super) version2: (&'static str, String),
    /// Files and values of version 1.
    pub(super) version1: Vec<(&'static str, String)>,
}

impl Row {
    /// Its key in the configuration.
    pub(super) fn key(&self) -> &'static str {
        if self.controller == "cpu" { "cpus" } else { self.controller }
    }
}

/// The limits to write.
pub(super) fn table(limits: &Limits) -> Vec<Row> {
    let mut table = Vec::new();
    if let Some(memory) = limits.memory {
        let bytes = memory.bytes().to_string();
        table.push(Row {
            controller: "memory",
            version2: ("memory.max", bytes.clone()),
            version1: vec![("memory.limit_in_bytes", bytes)],
        });
    }
    if let Some(cpus) = limits.cpus {
        let quota = cpus.quota_microseconds().to_string();
        table.push(Row {
            controller: "cpu",
            version2: ("cpu.max", format!("{quota} {PERIOD}")),
            version1: vec![("cpu.cfs_period_us", PERIOD.to_string()), ("cpu.cfs_quota_us", quota)],
        });
    }
    if let Some(pids) = limits.pids {
        table.push(Row {
            controller: "pids",
            version2: ("pids.max", pids.to_string()),
            version1: vec![("pids.max", pids.to_string())],
        });
    }
    table
}
