//! Calls the built `ds` with a private data folder.
//!
//! Owns `$DS_ROOT` below `target/` and the parsing of `--json` output, so that demo and bench do not affect the
//! containers of this machine.

use crate::interrupt::Interrupt;
use crate::{fixture, process, terminal};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The polling interval for conditions that no verb of `ds` waits for.
const LOOK: Duration = Duration::from_millis(20);

/// A `ds` with its own `$DS_ROOT`.
#[derive(Debug)]
pub struct Droidspaces {
    program: PathBuf,
    root: PathBuf,
}

impl Droidspaces {
    /// Uses `program` with `root` as `$DS_ROOT`.
    pub fn new(program: PathBuf, root: PathBuf) -> Self {
        Self { program, root }
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The value of `$DS_ROOT`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A command that calls `ds`.
    pub fn command<Word: AsRef<OsStr>>(&self, words: &[Word]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg0("ds").args(words).env("DS_ROOT", &self.root).stdin(Stdio::null());
        command
    }

    /// Calls `ds` and prints the command line and the output, as in a terminal. Returns stdout.
    ///
    /// # Errors
    /// If it does not end with exit code 0.
    pub fn show(&self, words: &[&str]) -> Result<String> {
        let output = self.transcript(words)?;
        if !output.status.success() {
            bail!("`ds {}` {}", words.join(" "), process::ending(output.status));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// As [`Self::show`], for any exit code.
    ///
    /// # Errors
    /// If `ds` cannot be started.
    pub fn transcript(&self, words: &[&str]) -> Result<Output> {
        terminal::line(format_args!("$ ds {}", words.join(" ")));
        let output = self
            .command(words)
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run the ds that was just built")?;
        terminal::raw(&output.stdout);
        Ok(output)
    }

    /// Calls `ds` and prints nothing.
    ///
    /// # Errors
    /// If it does not end with exit code 0; the error contains its output.
    pub fn quiet<Word: AsRef<OsStr>>(&self, words: &[Word]) -> Result<String> {
        let output = process::run_quietly(&mut self.command(words))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The output of `ds info NAME --json`.
    ///
    /// # Errors
    /// If `ds` fails or does not print one JSON document.
    pub fn info(&self, name: &str) -> Result<Value> {
        let text = self.quiet(&["info", name, "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("`ds info {name} --json` is not JSON"))
    }

    /// The host's process ID of a container's PID 1.
    ///
    /// # Errors
    /// If the container is not running.
    pub fn pid(&self, name: &str) -> Result<i32> {
        let pid = self.info(name)?.get("pid").and_then(Value::as_i64).context("`ds info` reports no pid")?;
        i32::try_from(pid).context("`ds info` reports an invalid pid")
    }

    /// Waits until the container runs with another PID 1 than `before`, and returns it.
    ///
    /// # Errors
    /// If that takes more than `limit`, or the user interrupts.
    pub fn wait_for_new_pid(
        &self,
        name: &str,
        before: i32,
        limit: Duration,
        interrupt: &Interrupt,
    ) -> Result<i32> {
        let started = Instant::now();
        loop {
            interrupt.check()?;
            let info = self.info(name)?;
            let pid = info.get("pid").and_then(Value::as_i64).and_then(|pid| i32::try_from(pid).ok());
            if let (Some("running"), Some(pid)) = (info.get("state").and_then(Value::as_str), pid)
                && pid != before
            {
                return Ok(pid);
            }
            if started.elapsed() > limit {
                bail!("{name} is not back after {} s: {info}", limit.as_secs());
            }
            thread::sleep(LOOK);
        }
    }

    /// Ends all remaining processes, as far as possible, and removes the folder.
    ///
    /// # Errors
    /// If the folder cannot be removed.
    pub fn clear(&self) -> Result<()> {
        if self.root.exists() {
            // Errors are ignored: there may be no container, or no supervisor.
            let _ = self.quiet(&["stop", "--all", "--kill"]);
            let _ = self.quiet(&["supervisor", "stop"]);
        }
        fixture::remove(&self.root)
    }
}
