//! Calling the built `ds` with a private data folder.
//!
//! Owns `$DS_ROOT` below `target/` and the reading of `--json` answers, so that demo and bench neither see nor touch the
//! containers of the machine they run on.

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

/// How often a condition is looked at that `ds` has no waiting verb for.
const LOOK: Duration = Duration::from_millis(20);

/// A `ds` with a world of its own.
#[derive(Debug)]
pub struct Droidspaces {
    program: PathBuf,
    root: PathBuf,
}

impl Droidspaces {
    /// Uses `program` with everything it keeps below `root`.
    pub fn new(program: PathBuf, root: PathBuf) -> Self {
        Self { program, root }
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The folder in `$DS_ROOT`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A call of `ds`, ready to be started.
    pub fn command<Word: AsRef<OsStr>>(&self, words: &[Word]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg0("ds").args(words).env("DS_ROOT", &self.root).stdin(Stdio::null());
        command
    }

    /// Calls `ds` as in a shell's transcript: the line, then what it prints. Gives stdout.
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

    /// As [`Self::show`], whatever the exit code is.
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

    /// Calls `ds` without a word.
    ///
    /// # Errors
    /// When it does not end with exit code 0; the error has what it printed.
    pub fn quiet<Word: AsRef<OsStr>>(&self, words: &[Word]) -> Result<String> {
        let output = process::run_quietly(&mut self.command(words))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What `ds info NAME --json` says.
    ///
    /// # Errors
    /// If `ds` fails or answers with something else than one JSON document.
    pub fn info(&self, name: &str) -> Result<Value> {
        let text = self.quiet(&["info", name, "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("`ds info {name} --json` is not JSON"))
    }

    /// PID 1 of a running container, as the host numbers it.
    ///
    /// # Errors
    /// If the container is not running.
    pub fn pid(&self, name: &str) -> Result<i32> {
        let pid = self.info(name)?.get("pid").and_then(Value::as_i64).context("`ds info` names no pid")?;
        i32::try_from(pid).context("`ds info` names no possible pid")
    }

    /// Waits until the container runs with another PID 1 than `before`, and gives it.
    ///
    /// # Errors
    /// If that takes more than `limit`, or somebody interrupts.
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

    /// Ends whatever may still run, as far as that is possible, and removes the folder.
    ///
    /// # Errors
    /// If the folder cannot be removed.
    pub fn clear(&self) -> Result<()> {
        if self.root.exists() {
            // Nothing to stop, or no supervisor to stop it: both are what is wanted.
            let _ = self.quiet(&["stop", "--all", "--kill"]);
            let _ = self.quiet(&["supervisor", "stop"]);
        }
        fixture::remove(&self.root)
    }
}
