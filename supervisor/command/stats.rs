//! `ds stats`: the current resource usage of running containers.
//!
//! Owns the output. It reads the processor time twice, and reads the disk usage between the two readings. Changes
//! nothing.

use std::slice::from_ref;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::info::root_of;
use super::output;
use super::state::{Known, Summary, existing, known, names};
use crate::cli;
use crate::config::value::Name;
use crate::config::{Config, RootSource};
use crate::container::usage::{Groups, Processes};
use crate::exit::ExitCode;
use crate::rootfs::root::Root;
use crate::rootfs::size::{self, Usage};
use crate::units;
use crate::worker::Env;

/// Time between the two readings.
const SAMPLE: Duration = Duration::from_millis(250);

#[derive(Serialize)]
struct Document {
    containers: Vec<Row>,
}

/// The usage of one container; only the disk if it is not running.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Row {
    name: Name,
    cpu_s: Option<f64>,
    /// 100 is the full time of one processor.
    cpu_percent: Option<f64>,
    memory: Option<u64>,
    /// Processes and threads.
    pids: Option<u64>,
    disk: Option<u64>,
    uptime_s: Option<u64>,
}

/// Prints the usage of all running containers, or of the given one.
///
/// # Errors
/// If there is no container of that name.
pub fn run(arguments: &cli::Stats, env: &Env) -> Result<ExitCode> {
    let containers: Vec<Known> = match &arguments.name {
        Some(word) => vec![known(env, &existing(env, word)?)?],
        None => {
            let all = names(env).into_iter().filter_map(|name| known(env, &name).ok());
            all.filter(|known| known.summary.pid.is_some()).collect()
        }
    };
    let meters: Vec<Meter<'_>> = containers.iter().map(|known| Meter::new(env, &known.summary)).collect();
    let first: Vec<_> = meters.iter().map(Meter::read).collect();
    let disks: Vec<_> = containers
        .iter()
        .map(|known| known.config.as_ref().and_then(|config| disk(config, known.summary.pid)))
        .collect();
    let begun = first.iter().flatten().map(|reading| reading.at).min();
    if let Some(begun) = begun {
        thread::sleep(SAMPLE.saturating_sub(begun.elapsed()));
    }
    let rows = meters.iter().zip(&containers).zip(first.iter().zip(disks));
    let rows = rows.map(|((meter, known), (first, disk))| meter.row(known, first.as_ref(), disk)).collect();
    let document = Document { containers: rows };
    if arguments.json { output::json(&document) } else { table(&document) }
}

/// Size of the root file system, in bytes.
fn disk(config: &Config, pid: Option<i32>) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    match &config.container.root {
        RootSource::Directory(path) => size::of_tree(Root::open(path.as_path()).ok()?.directory()).ok(),
        RootSource::Image(path) => {
            let mounted = pid.filter(|_| !config.container.volatile).and_then(root_of);
            let used = mounted.and_then(|root| Some(Usage::of(root.directory())?.used));
            // The allocated size of a sparse image, not its maximum; st_blocks counts units of 512 bytes.
            used.or_else(|| Some(std::fs::metadata(path.as_path()).ok()?.blocks() * 512))
        }
    }
}

/// The sources of one container's numbers.
pub(super) struct Meter<'a> {
    groups: Groups<'a>,
    init: Option<i32>,
}

/// Processor time at a point in time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    at: Instant,
    time: Duration,
}

impl<'a> Meter<'a> {
    /// The meter of a container.
    pub fn new(env: &'a Env, summary: &Summary) -> Self {
        let groups = Groups::new(&env.host.cgroups, &env.paths.cgroup, summary.name.as_str());
        Self { groups, init: summary.pid }
    }

    /// Its processor time now; `None` if it is not running.
    pub fn read(&self) -> Option<Reading> {
        let init = self.init?;
        let time = self.groups.processor_time().unwrap_or_else(|| Processes::of(init).processor_time());
        Some(Reading { at: Instant::now(), time })
    }

    fn row(&self, known: &Known, first: Option<&Reading>, disk: Option<u64>) -> Row {
        self.row_at(&known.summary, first, self.read().as_ref(), disk)
    }

    /// Its usage, from two readings.
    pub fn row_at(
        &self,
        summary: &Summary,
        first: Option<&Reading>,
        last: Option<&Reading>,
        disk: Option<u64>,
    ) -> Row {
        let memory = self.groups.memory().or_else(|| Some(Processes::of(self.init?).memory()));
        let pids = self.groups.tasks().or_else(|| Some(Processes::of(self.init?).tasks()));
        Row {
            name: summary.name.clone(),
            cpu_s: last.map(|last| rounded(last.time.as_secs_f64(), 1000.0)),
            cpu_percent: first.zip(last).map(|(first, last)| percent(first, last)),
            memory: memory.filter(|_| self.init.is_some()),
            pids: pids.filter(|_| self.init.is_some()),
            disk,
            uptime_s: summary.uptime_s,
        }
    }
}

fn percent(first: &Reading, last: &Reading) -> f64 {
    let elapsed = last.at.duration_since(first.at).as_secs_f64().max(0.001);
    rounded(last.time.saturating_sub(first.time).as_secs_f64() / elapsed * 100.0, 10.0)
}

fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

fn table(document: &Document) -> Result<ExitCode> {
    let heading = ["NAME", "CPU", "CPU TIME", "MEMORY", "PIDS", "DISK", "UPTIME"].map(str::to_owned);
    let rows = document.containers.iter().map(cells);
    output::table(&[from_ref(&heading), &rows.collect::<Vec<_>>()].concat())
}

fn cells(row: &Row) -> [String; 7] {
    let shown = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        row.name.to_string(),
        shown(row.cpu_percent.map(|percent| format!("{percent:.1} %"))),
        shown(row.cpu_s.map(|seconds| format!("{seconds:.1} s"))),
        shown(row.memory.map(units::size)),
        shown(row.pids.map(|count| count.to_string())),
        shown(row.disk.map(units::size)),
        shown(row.uptime_s.map(units::duration)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_busy_processor_is_a_hundred_percent() {
        let at = Instant::now();
        let first = Reading { at, time: Duration::from_secs(10) };
        let last = |milliseconds| Reading {
            at: at + Duration::from_millis(250),
            time: first.time + Duration::from_millis(milliseconds),
        };
        assert_eq!(percent(&first, &last(250)), 100.0);
        assert_eq!(percent(&first, &last(500)), 200.0);
        assert_eq!(percent(&first, &last(0)), 0.0);
        assert_eq!(percent(&first, &Reading { at, time: Duration::ZERO }), 0.0, "a counter that was reset");
    }

    #[test]
    fn a_row_is_for_people_and_for_programs() {
        let name: Name = "web".parse().unwrap();
        let stopped = Row {
            name,
            cpu_s: None,
            cpu_percent: None,
            memory: None,
            pids: None,
            disk: Some(1536),
            uptime_s: None,
        };
        assert_eq!(cells(&stopped), ["web", "-", "-", "-", "-", "1.5 KiB", "-"]);
        let running = Row {
            cpu_s: Some(12.345),
            cpu_percent: Some(3.1),
            memory: Some(50 << 20),
            pids: Some(4),
            uptime_s: Some(61),
            ..stopped
        };
        assert_eq!(cells(&running), ["web", "3.1 %", "12.3 s", "50 MiB", "4", "1.5 KiB", "1 min 1 s"]);
        assert_eq!(
            serde_json::to_string(&running).unwrap(),
            r#"{"name":"web","cpu_s":12.345,"cpu_percent":3.1,"memory":52428800,"pids":4,"disk":1536,"uptime_s":61}"#
        );
    }
}
