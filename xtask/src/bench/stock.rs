//! Kernels without PID namespaces, beside this one: the same container, with the namespaces switched off by a filter.
//!
//! Owns two supervisors under such a filter, so that the filter's own cost is the same on both sides: one is denied PID
//! namespaces, the other only time namespaces. `probe deny` of the tests installs it and asks for a host name of its own.

use super::resident::{count_calls, parent};
use super::setup::{Bench, Rounds};
use super::stopwatch::{self, Samples};
use super::table::Row;
use crate::droidspaces::Droidspaces;
use crate::process;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

const NAME: &str = "stock";

/// Calls in one measurement of a call.
const CALLS: u32 = 20_000;

/// Seconds in which calls of the monitor are counted.
const WATCHED: u32 = 5;

/// A supervisor on a machine that lacks something.
struct Machine(Droidspaces);

impl Machine {
    fn new(bench: &Bench, probe: &Path, folder: &str, denied: &str) -> Result<Self> {
        let root = bench.folder(folder);
        fs::create_dir_all(&root)?;
        let machine = Self(Droidspaces::new(bench.ds.program().to_owned(), root));
        let mut command = Command::new("unshare");
        command.args(["--uts", "--mount", "--propagation", "slave", "sh", "-c"]);
        command.args(["hostname sandbox && exec \"$@\"", "sh"]).arg(probe).args(["deny", denied, "--"]);
        command.arg(machine.0.program()).arg("supervise").env("DS_ROOT", machine.0.root());
        process::run_quietly(&mut command)?;
        let rootfs = bench.rootfs("bookworm", &format!("stock-{folder}"))?;
        machine.0.quiet(&["create", NAME, "--rootfs", &rootfs])?;
        Ok(machine)
    }

    /// Starts the container, as `words` say, and stops it again.
    fn boot(&self, words: &[&str], samples: &mut Samples) -> Result<()> {
        samples.push(stopwatch::time(&mut self.0.command(&[&["start", NAME], words].concat()))?);
        self.0.quiet(&["start", NAME, "--wait"])?;
        self.0.quiet(&["stop", NAME])?;
        Ok(())
    }

    /// How long one call takes inside, in microseconds: by its number on x86-64, less a call that is never passed on.
    fn call(&self, number: u32) -> Result<f64> {
        // clock_gettime(2): perl-base has no Time::HiRes.
        let clock = "sub now { my $time = qq(\\0) x 16; syscall(228, 1, $time); \
                     my ($s, $ns) = unpack q(qq), $time; $s + $ns / 1e9 }";
        let timed = |number: u32| {
            format!("$begin = now(); syscall({number}, 0, 0) for 1 .. {CALLS}; push @took, now() - $begin;")
        };
        let script = format!("{clock} {} {} print $took[0] - $took[1]", timed(number), timed(102));
        let text = self.0.quiet(&["run", NAME, "--", "perl", "-e", &script])?;
        let seconds: f64 = text.trim().parse().with_context(|| format!("perl wrote {text}"))?;
        Ok((seconds * 1e6 / f64::from(CALLS)).max(0.0))
    }

    /// System calls of the monitor while a program inside makes only calls that are not passed on.
    fn monitor_calls(&self, bench: &Bench) -> Result<u32> {
        let output = bench.folder("stock-strace");
        let script =
            format!("$end = time + {WATCHED} + 2; while (time < $end) {{ syscall(102) for 1 .. 1000 }}");
        let mut busy = self.0.command(&["run", NAME, "--", "perl", "-e", &script]).spawn()?;
        std::thread::sleep(std::time::Duration::from_secs(1));
        let monitor = parent(self.0.pid(NAME)?)?;
        std::thread::sleep(std::time::Duration::from_millis(500));
        let mut command = Command::new("timeout");
        command.args(["--signal=INT", &WATCHED.to_string(), "strace", "--quiet=all", "--follow-forks"]);
        command.arg("--output").arg(&output).arg("--attach").arg(monitor.to_string());
        let ended = command.status().context("cannot run strace")?;
        ensure!(ended.code() == Some(124), "strace {} before its time", process::ending(ended));
        ensure!(busy.wait()?.success(), "perl failed");
        Ok(count_calls(&fs::read_to_string(&output)?))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.clear();
    }
}

/// Measures; returns the rows.
///
/// # Errors
/// If `ds` fails.
pub fn measure(bench: &Bench, rounds: &Rounds) -> Result<Vec<Row>> {
    let probe = bench.probe.as_deref().context("the probe was not built")?;
    let ordinary = Machine::new(bench, probe, "ordinary", "newtime")?;
    let stock = Machine::new(bench, probe, "answered", "newpid")?;
    let mut starts = [Samples::default(), Samples::default()];
    let mut up = [Samples::default(), Samples::default()];
    rounds.each(NAME, |_| {
        for (machine, (start, up)) in [&stock, &ordinary].iter().zip(starts.iter_mut().zip(up.iter_mut())) {
            machine.boot(&[], start)?;
            machine.boot(&["--wait"], up)?;
        }
        Ok(())
    })?;
    stock.0.quiet(&["start", NAME, "--wait"])?;
    // getpid and getppid on x86-64.
    let own = stock.call(39)?;
    let parent = stock.call(110)?;
    let idle = stock.monitor_calls(bench)?;
    let [stock_start, ordinary_start] = starts;
    let [stock_up, ordinary_up] = up;
    Ok(vec![
        Row::ratio(
            "`ds start` without PID namespaces",
            &stock_start,
            "with them",
            &Ok(ordinary_start),
            Some(1.15),
        ),
        Row::ratio("systemd is `running` without them", &stock_up, "with them", &Ok(ordinary_up), Some(1.15)),
        Row::limit("getpid(2) without them, each call", own, 50.0, "µs"),
        Row::limit("getppid(2) without them, each call", parent, 200.0, "µs"),
        Row::limit("calls of the monitor while none is passed on to it", f64::from(idle), 0.0, "calls"),
    ])
}
