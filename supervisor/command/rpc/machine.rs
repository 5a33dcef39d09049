//! The usage of the machine: processor and memory. proc_stat(5), proc_meminfo(5).

use std::fs;

use serde::Serialize;

/// A reading of /proc.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reading {
    busy: u64,
    all: u64,
    processors: usize,
}

/// The usage of the machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Load {
    /// 100 is all processors.
    pub cpu_percent: f64,
    /// Processors.
    pub processors: usize,
    /// Bytes that are in use and cannot be freed.
    pub memory: u64,
    /// Bytes.
    pub memory_total: u64,
}

impl Reading {
    /// Reads it now.
    #[must_use]
    pub fn now() -> Self {
        fs::read_to_string("/proc/stat").map(|text| Self::of(&text)).unwrap_or_default()
    }

    fn of(text: &str) -> Self {
        let mut lines = text.lines().filter(|line| line.starts_with("cpu"));
        let first = lines.next().unwrap_or_default();
        // Guest time is part of user time.
        let ticks: Vec<u64> =
            first.split_whitespace().skip(1).take(8).filter_map(|word| word.parse().ok()).collect();
        let all = ticks.iter().sum();
        let idle: u64 = ticks.iter().skip(3).take(2).sum();
        Self { busy: all - idle, all, processors: lines.count() }
    }

    /// The usage since an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Load {
        let (busy, all) = (self.busy.saturating_sub(earlier.busy), self.all.saturating_sub(earlier.all));
        let tenths = (busy * 1000).checked_div(all).unwrap_or(0);
        let (memory, memory_total) = memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default());
        let cpu_percent = f64::from(u32::try_from(tenths).unwrap_or(1000)) / 10.0;
        Load { cpu_percent, processors: self.processors, memory, memory_total }
    }
}

/// Bytes in use and in all.
fn memory(text: &str) -> (u64, u64) {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let (total, free) = (field("MemTotal:").unwrap_or(0), field("MemAvailable:").unwrap_or(0));
    (total.saturating_sub(free) * 1024, total * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_read_from_proc() {
        let first = Reading::of("cpu  10 0 10 70 10 0 0 0 5 0\ncpu0 1 2\ncpu1 1 2\nintr 5\n");
        let last = Reading::of("cpu  60 0 10 110 20 0 0 0 5 0\ncpu0 1 2\ncpu1 1 2\n");
        assert_eq!((first.processors, last.since(&first).cpu_percent), (2, 50.0));
        assert_eq!(
            memory("MemTotal: 100 kB\nMemFree: 1 kB\nMemAvailable:  40 kB\n"),
            (60 * 1024, 100 * 1024)
        );
        assert_eq!(Reading::of("").since(&Reading::default()).cpu_percent, 0.0);
    }
}
