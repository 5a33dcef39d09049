//! The machine of one test: a data and a run directory, and their supervisor.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ds::paths::Paths;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

pub struct Machine {
    directory: tempfile::TempDir,
    pub paths: Paths,
}

impl Machine {
    /// A machine without a supervisor; `None`, and a line for the summary, if this test cannot run here.
    pub fn new(test: &str) -> Option<Self> {
        if !geteuid().is_root() {
            skip(test, "needs root");
            return None;
        }
        let directory =
            tempfile::Builder::new().prefix("ds-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let paths = Paths::below(directory.path());
        Some(Self { directory, paths })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command line on this machine.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("DS_ROOT", self.directory.path()).env_remove("DS_SUPERVISOR").stdin(Stdio::null());
        command
    }

    pub fn ds_command(&self, words: &[&str]) -> Command {
        let mut command = self.command(binary());
        command.args(words);
        command
    }

    pub fn ds(&self, words: &[&str]) -> Done {
        Done::of(self.ds_command(words).output().unwrap())
    }

    /// `ds` in the background.
    pub fn spawn(&self, words: &[&str]) -> Child {
        self.ds_command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub fn json(&self, words: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.ds(words).succeeds()).unwrap()
    }

    /// The entry of a container in `ds list`.
    pub fn listed(&self, name: &str) -> serde_json::Value {
        let list = self.json(&["list", "--json"]);
        let containers = list["containers"].as_array().unwrap();
        containers.iter().find(|container| container["name"] == name).cloned().unwrap_or_default()
    }

    /// The supervisor's process id, if one is running.
    pub fn supervisor(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.paths.supervisor_lock()).ok()?;
        let pid = Pid::from_raw(text.trim().parse().ok()?);
        // The lock file of a killed supervisor still contains its process id.
        let name = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        name.starts_with("ds\0supervise").then_some(pid)
    }

    pub fn kill_supervisor(&self) {
        let pid = self.supervisor().expect("a supervisor");
        kill(pid, Signal::SIGKILL).unwrap();
        wait_for("the end of the supervisor", || self.supervisor().is_none().then_some(()));
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.paths.supervisor_log()).unwrap_or_default()
    }

    /// A directory that `ds create` accepts as a root file system; it has no init.
    pub fn tree(&self, name: &str) -> PathBuf {
        let tree = self.path(name);
        fs::create_dir_all(tree.join("etc")).unwrap();
        tree
    }

    /// A container that cannot start.
    pub fn container(&self, name: &str, settings: &[&str]) {
        let tree = self.tree("tree");
        let mut words = vec!["create", name, "--rootfs", tree.to_str().unwrap()];
        words.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        self.ds(&words).succeeds();
    }

    /// The processes that the supervisor has forked and not reaped.
    pub fn workers(&self) -> Vec<Pid> {
        let Some(supervisor) = self.supervisor() else { return Vec::new() };
        let children = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children"));
        let children = children.unwrap_or_default();
        let at_work = |pid: &&str| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == "ds:worker")
        };
        children.split_whitespace().filter(at_work).map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for worker in self.workers() {
            let _ = kill(worker, Signal::SIGKILL);
        }
        if let Some(supervisor) = self.supervisor() {
            let _ = kill(supervisor, Signal::SIGKILL);
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Its output; asserts that it has succeeded without output on stderr.
    #[track_caller]
    pub fn succeeds(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self.stdout
    }

    /// Asserts that it has failed with this exit code and this one line.
    #[track_caller]
    pub fn fails(self, code: i32, line: &str) {
        assert_eq!((self.code, self.stderr.as_str()), (Some(code), format!("{line}\n").as_str()), "{self:?}");
    }
}

pub fn binary() -> PathBuf {
    let path = std::env::var_os("DS_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_ds").into());
    fs::canonicalize(&path).unwrap_or_else(|error| panic!("{}: {error}", Path::new(&path).display()))
}

/// Reports that a test cannot run on this machine. The test must then return.
pub fn skip(test: &str, reason: &str) {
    eprintln!("skipped: {test}: {reason}");
    if let Some(log) = std::env::var_os("DS_SKIP_LOG") {
        let mut log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        writeln!(log, "{test}: {reason}").unwrap();
    }
}

/// Waits for a condition; panics after a generous timeout.
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(180), "timeout: {what}");
        sleep(Duration::from_millis(5));
    }
}
