//! Measures the time of commands, from fork to the end of wait.
//!
//! Owns the clock (CLOCK_MONOTONIC behind `Instant`), the samples and their median. It does not depend on the measured
//! command. See clock_gettime(2), pidfd_open(2).

use crate::process;
use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The samples of one measurement, in seconds.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one sample.
    pub fn push(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64());
    }

    /// The middle sample; for an even number, the mean of the middle two; `None` without samples.
    pub fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let upper = sorted.get(middle)?;
        match sorted.len() % 2 {
            0 => sorted.get(middle - 1).map(|lower| f64::midpoint(*lower, *upper)),
            _ => Some(*upper),
        }
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<Seconds: IntoIterator<Item = f64>>(seconds: Seconds) -> Self {
        Self(seconds.into_iter().collect())
    }
}

/// Runs a command that must succeed, discards its output, and returns its time.
///
/// # Errors
/// If it fails; it is then run again to show its output.
pub fn time(command: &mut Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let status = command.status();
    let took = started.elapsed();
    match status {
        Ok(status) if status.success() => Ok(took),
        first => {
            let again = process::run_quietly(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
            let first = first.map_or_else(|error| error.to_string(), process::ending);
            match again {
                Ok(_) => bail!("{command:?} {first}, and succeeded at the second attempt"),
                Err(error) => Err(error),
            }
        }
    }
}

/// Adds a sample; the first failure replaces all samples and ends the attempts.
pub fn attempt(samples: &mut Result<Samples>, measure: impl FnOnce() -> Result<Duration>) {
    if let Ok(good) = samples {
        match measure() {
            Ok(time) => good.push(time),
            Err(error) => *samples = Err(error),
        }
    }
}

/// Records the time at which a process ends that is not a child of this one.
///
/// # Errors
/// If there is no such process.
pub fn watch_end(pid: i32) -> Result<JoinHandle<Result<Instant>>> {
    let pid = Pid::from_raw(pid).context("not a process id")?;
    let process = pidfd_open(pid, PidfdFlags::empty()).context("cannot watch PID 1 of the container")?;
    Ok(thread::spawn(move || {
        poll(&mut [PollFd::new(&process, PollFlags::IN)], None)?;
        Ok(Instant::now())
    }))
}

#[cfg(test)]
mod tests {
    use super::{Samples, attempt, time, watch_end};
    use anyhow::bail;
    use std::process::Command;
    use std::time::{Duration, Instant};

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!([3.0, 1.0, 2.0].into_iter().collect::<Samples>().median(), Some(2.0));
        assert_eq!([4.0, 1.0, 2.0, 3.0].into_iter().collect::<Samples>().median(), Some(2.5));
        assert_eq!(Samples::default().median(), None);
    }

    #[test]
    fn a_command_is_timed_to_its_end() {
        assert!(time(Command::new("sleep").arg("0.05")).unwrap() >= Duration::from_millis(50));
        let error = time(Command::new("sh").args(["-c", "echo why >&2; exit 1"])).unwrap_err().to_string();
        assert!(error.contains("why"), "{error}");
    }

    #[test]
    fn a_failure_is_kept_and_not_tried_again() {
        let mut samples = Ok(Samples::default());
        attempt(&mut samples, || Ok(Duration::from_secs(1)));
        attempt(&mut samples, || bail!("broken"));
        attempt(&mut samples, || Ok(Duration::from_secs(2)));
        assert_eq!(samples.unwrap_err().to_string(), "broken");
    }

    #[test]
    fn the_end_of_a_process_is_noticed() {
        let started = Instant::now();
        let mut child = Command::new("sleep").arg("0.05").spawn().unwrap();
        let watch = watch_end(i32::try_from(child.id()).unwrap()).unwrap();
        let ended = watch.join().unwrap().unwrap();
        child.wait().unwrap();
        assert!(ended - started >= Duration::from_millis(50));
    }
}
