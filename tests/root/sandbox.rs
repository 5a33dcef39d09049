//! The sandbox of one test: namespaces, control groups, a private `$DS_ROOT`, and the check that it is clean
//! at the end.

use crate::done::Done;
use crate::process::{self, Process, below};
use crate::root_fs::Tree;
use crate::terminal::Terminal;
use crate::{given, wait_for};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::panicking;

/// The process name of the standby worker.
pub const STANDBY: &str = "ds:standby";

/// The timeout of one command, in seconds. It is longer than any timeout of ds, because a boot takes a minute on a busy
/// machine.
const TIMEOUT: u32 = 180;

/// The properties of the sandbox's machine.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The mounted control group hierarchies: `all`, `v1`, `v2`, `none`.
    pub groups: &'static str,
    /// Features that the kernel lacks, as arguments of `probe deny`.
    pub denied: Option<&'static str>,
    /// The injected fault, for the binary with fault injection: `STAGE:ACTION`.
    pub fault: Option<String>,
}

impl Default for Setting {
    fn default() -> Self {
        Self { groups: "all", denied: None, fault: None }
    }
}

/// One test's machine.
#[derive(Debug)]
pub struct Sandbox {
    setting: Setting,
    name: String,
    directory: tempfile::TempDir,
    /// The process that keeps the namespaces and removes them.
    keeper: Child,
    /// The process id of PID 1 outside.
    init: i32,
    /// The mounts before the first call of `ds`, and those that the test has made since.
    mounts: BTreeSet<String>,
    /// The processes of containers and commands at the last look.
    others: Mutex<Vec<Process>>,
}

impl Sandbox {
    /// An ordinary machine.
    pub fn new() -> Self {
        Self::with(Setting::default())
    }

    pub fn with(setting: Setting) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ds-test-{}-{count}", std::process::id());
        let directory = tempfile::Builder::new().prefix("ds-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        let mut keeper = Command::new(given("DS_PROBE"))
            .args(["sandbox", &name, setting.groups])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the probe");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().expect("stdout")).read_line(&mut line).expect("read");
        let init = line.trim().parse().expect("the sandbox did not come up");
        let directory = directory.expect("a temporary directory");
        let (mounts, others) = (BTreeSet::new(), Mutex::default());
        let mut sandbox = Self { setting, name, directory, keeper, init, mounts, others };
        sandbox.mounts = sandbox.mounts_now();
        if sandbox.setting.denied.is_some() || sandbox.setting.fault.is_some() {
            sandbox.launch_supervisor();
        }
        sandbox
    }

    /// The process id of the sandbox's PID 1 outside.
    pub fn init_pid(&self) -> i32 {
        self.init
    }

    /// `$DS_ROOT`.
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    pub fn data(&self, path: &str) -> PathBuf {
        self.root().join("data").join(path)
    }

    pub fn run_directory(&self, path: &str) -> PathBuf {
        self.root().join("run").join(path)
    }

    /// A path for a file of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join("own").join(name)
    }

    /// The tested binary: the release build, or the debug build if faults are injected.
    pub fn binary(&self) -> PathBuf {
        if self.setting.fault.is_some() { env!("CARGO_BIN_EXE_ds").into() } else { given("DS_BIN") }
    }

    /// A command line that runs in the sandbox.
    pub fn command(&self, words: &[impl AsRef<OsStr>]) -> Command {
        self.command_within(TIMEOUT, words)
    }

    /// The same, with this timeout in seconds.
    pub fn command_within(&self, seconds: u32, words: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(given("DS_PROBE"));
        command.args(["enter", &self.init.to_string(), &seconds.to_string()]).args(words);
        command
            .env("DS_ROOT", self.root())
            .env_remove("DS_SUPERVISOR")
            .env("TERM", "linux")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command in the sandbox.
    pub fn run(&self, words: &[impl AsRef<OsStr>]) -> Done {
        let output = self.command(words).output().expect("run");
        let words: Vec<_> = words.iter().map(|word| word.as_ref().to_string_lossy()).collect();
        Done::new(words.join(" "), output)
    }

    /// Runs `ds`.
    pub fn ds(&self, words: &[&str]) -> Done {
        let mut done = self.run(&self.ds_words(words));
        done.shown = format!("ds {}", words.join(" "));
        done
    }

    /// Runs `ds` with this standard input.
    pub fn ds_with_input(&self, words: &[&str], input: &[u8]) -> Done {
        let mut child = self.spawn_ds(words);
        let mut stdin = child.stdin.take().expect("stdin");
        let input = input.to_owned();
        let feeder = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().expect("wait");
        // A command that does not read closes its end.
        let _ = feeder.join().expect("join");
        Done::new(format!("ds {}", words.join(" ")), output)
    }

    /// `ds` in the background, with pipes on all its streams.
    pub fn spawn_ds(&self, words: &[&str]) -> Child {
        let mut command = self.command(&self.ds_words(words));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("run")
    }

    /// `ds` on a terminal.
    pub fn ds_on_terminal(&self, words: &[&str]) -> Terminal {
        self.on_terminal(&self.ds_words(words))
    }

    /// Any command on a terminal.
    pub fn on_terminal(&self, words: &[impl AsRef<OsStr>]) -> Terminal {
        let words = words.iter().map(|word| word.as_ref().to_owned());
        Terminal::spawn(self.command(&std::iter::once("--terminal".into()).chain(words).collect::<Vec<_>>()))
    }

    fn ds_words(&self, words: &[&str]) -> Vec<std::ffi::OsString> {
        std::iter::once(self.binary().into_os_string()).chain(words.iter().map(Into::into)).collect()
    }

    /// Launches a supervisor that is denied something, or fails somewhere.
    fn launch_supervisor(&self) {
        let mut words = Vec::new();
        if let Some(denied) = self.setting.denied {
            words.extend([given("DS_PROBE").into_os_string(), "deny".into(), denied.into(), "--".into()]);
        }
        words.extend(self.ds_words(&["supervise"]));
        let mut command = self.command(&words);
        command.envs(self.setting.fault.iter().map(|fault| ("DS_FAIL_AT", fault)));
        Done::new("launch the supervisor".into(), command.output().expect("run")).succeeds();
    }

    /// The next supervisor has no injected fault.
    pub fn forget_fault(&mut self) {
        self.setting.fault = None;
    }

    /// A tree with the probe, and a container of this name that boots it.
    pub fn container(&self, name: &str, settings: &[&str]) -> Tree {
        let tree = Tree::with_probe(&self.path(name));
        self.create(name, &tree.0, settings);
        tree
    }

    /// A container that boots this tree; its configuration is written directly.
    pub fn create(&self, name: &str, tree: &Path, settings: &[&str]) {
        let mut sections = BTreeMap::from([("container", format!("rootfs = {}\n", tree.display()))]);
        for setting in settings {
            let (key, value) = setting.split_once('=').expect("KEY=VALUE");
            let (section, key) = key.split_once('.').unwrap_or(("container", key));
            sections.entry(section).or_default().push_str(&format!("{key} = {value}\n"));
        }
        let text: String = sections.iter().map(|(section, keys)| format!("[{section}]\n{keys}\n")).collect();
        let file = self.data(&format!("containers/{name}/container.ini"));
        fs::create_dir_all(file.parent().expect("a parent")).expect("mkdir");
        fs::write(file, text).expect("write container.ini");
    }

    /// A private, writable view of a distribution's tree, and a container that boots it.
    pub fn distribution(&mut self, name: &str, fixture: &str, settings: &[&str]) -> Tree {
        let (tree, changes, work) =
            (self.path(name), self.path(&format!("{name}.changes")), self.path(&format!("{name}.work")));
        for directory in [&tree, &changes, &work] {
            fs::create_dir_all(directory).expect("mkdir");
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            given("DS_FIXTURES").join(fixture).display(),
            changes.display(),
            work.display()
        );
        let target = tree.to_str().expect("UTF-8");
        self.run(&["mount", "-t", "overlay", "overlay", "-o", &options, target]).succeeds();
        self.mounts = self.mounts_now();
        self.create(name, &tree, settings);
        Tree(changes)
    }

    /// Makes a mount for the test.
    pub fn mount(&mut self, words: &[&str]) {
        let line: Vec<&str> = std::iter::once("mount").chain(words.iter().copied()).collect();
        self.run(&line).succeeds();
        self.mounts = self.mounts_now();
    }

    /// `ds info NAME --json`.
    pub fn info(&self, name: &str) -> Value {
        self.ds(&["info", name, "--json"]).json()
    }

    /// The state of a container, as one word.
    pub fn state(&self, name: &str) -> String {
        self.info(name)["state"].as_str().expect("a state").to_owned()
    }

    pub fn wait_for_state(&self, name: &str, state: &str) {
        wait_for(&format!("{name} to be {state}"), || (self.state(name) == state).then_some(()));
    }

    /// Waits for the end of a container's monitor: it answers a stop just before it ends.
    pub fn wait_for_end(&self, name: &str) {
        wait_for(&format!("the end of {name}"), || self.monitor(name).is_none().then_some(()));
    }

    /// All processes inside: those of `ds` and of its containers.
    pub fn processes(&self) -> Vec<Process> {
        below(self.init)
    }

    /// The process with this command line.
    pub fn process(&self, command: &[&str]) -> Option<Process> {
        self.processes().into_iter().find(|process| process.command == command)
    }

    /// The supervisor, if there is one: the process that its lock names.
    pub fn supervisor(&self) -> Option<Process> {
        let text = fs::read_to_string(self.run_directory("supervisor.lock")).ok()?;
        let number: i32 = text.trim().parse().ok()?;
        let is_supervisor =
            |one: &Process| one.name == "ds" && one.state != 'Z' && one.inner_pid() == Some(number);
        self.processes().into_iter().find(is_supervisor)
    }

    /// The monitor of a container, if it runs.
    pub fn monitor(&self, name: &str) -> Option<Process> {
        let wanted: String = format!("ds:{name}").chars().take(15).collect();
        self.processes().into_iter().find(|process| process.name == wanted && process.state != 'Z')
    }

    /// PID 1 of a container, by its process id on the machine.
    pub fn first_process(&self, name: &str) -> Option<Process> {
        let monitor = self.monitor(name)?;
        let is_first = |process: &Process| process.parent == monitor.pid && process.inner_pid() == Some(1);
        self.processes().into_iter().find(is_first)
    }

    /// The container's directory in every control group hierarchy, from outside.
    pub fn group_directories(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for top in self.group_roots() {
            let entries = fs::read_dir(top).into_iter().flatten().filter_map(Result::ok);
            found.extend(
                entries
                    .map(|entry| entry.path())
                    .filter(|path| path.is_dir() && path.file_name().is_some_and(|name| name != "inside")),
            );
        }
        found
    }

    /// The groups of the sandbox's own processes, from outside.
    pub fn own_groups(&self) -> Vec<PathBuf> {
        self.group_roots().iter().map(|top| top.join("inside")).collect()
    }

    /// The sandbox's own group in every hierarchy of the machine.
    fn group_roots(&self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let groups = mounts.lines().filter(|line| line.contains(" - cgroup"));
        let mut found = Vec::new();
        for target in groups.filter_map(|line| line.split(' ').nth(4)) {
            found.extend(find_directory(Path::new(target), &self.name, 4));
        }
        found
    }

    fn mounts_now(&self) -> BTreeSet<String> {
        let text = fs::read_to_string(format!("/proc/{}/mountinfo", self.init)).expect("mountinfo");
        text.lines().map(str::to_owned).collect()
    }

    /// The supervisor's log, for the analysis of a failure.
    pub fn log(&self) -> String {
        fs::read_to_string(self.data("log/supervisor.log")).unwrap_or_default()
    }

    /// Ends everything as a user would, and checks for remains.
    fn check_nothing_is_left(&self) {
        if !self.processes().is_empty() {
            self.ds(&["stop", "--all", "--kill"]).succeeds();
            self.ds(&["supervisor", "stop"]).succeeds();
        }
        self.assert_clean();
        assert!(!self.log().contains("internal error"), "a process of ds panicked; see its log");
    }

    /// Asserts that no remains of any container exist, and no supervisor.
    pub fn assert_clean(&self) {
        wait_for("the end of all processes", || self.processes().is_empty().then_some(()));
        self.assert_no_containers();
    }

    /// Asserts that no remains of any container exist. Waits for processes that are ending, and for a supervisor that
    /// has not noticed yet that a monitor was killed.
    #[track_caller]
    pub fn assert_no_containers(&self) {
        wait_for("the end of the containers", || self.has_no_containers().then_some(()));
    }

    /// Whether no remains of any container exist now.
    pub fn has_no_containers(&self) -> bool {
        self.only_supervisor() && self.left().is_empty() && self.sockets().is_empty()
    }

    /// Whether only the supervisor and its standby worker run.
    pub fn only_supervisor(&self) -> bool {
        let supervisor = self.supervisor().map(|process| process.pid);
        let mut others = self.processes();
        others.retain(|one| Some(one.pid) != supervisor && one.name != STANDBY);
        let is_empty = others.is_empty();
        *self.others.lock().unwrap_or_else(PoisonError::into_inner) = others;
        is_empty
    }

    /// Mounts, groups and loop devices of containers.
    fn left(&self) -> Vec<String> {
        let mut left: Vec<String> = self.mounts_now().difference(&self.mounts).cloned().collect();
        left.extend(self.group_directories().iter().map(|path| path.display().to_string()));
        left.extend(loop_devices_below(self.root()));
        left
    }

    fn sockets(&self) -> Vec<String> {
        let is_socket =
            |path: &Path| fs::symlink_metadata(path).is_ok_and(|about| about.file_type().is_socket());
        let found = files_below(&self.run_directory("containers"), &is_socket);
        found.iter().map(|path| path.display().to_string()).collect()
    }

    /// Prints information about a failure.
    fn show(&self) {
        let left = [self.left(), self.sockets()].concat();
        eprintln!("--- supervisor.log\n{}--- left: {left:?}; before: {:?}", self.log(), self.others);
        for process in self.processes() {
            let Process { pid, parent, name, state, command } = process;
            eprintln!("--- process {pid} of {parent}: {state} {name}: {}", command.join(" "));
            if state == 'D' {
                eprintln!("{}", fs::read_to_string(format!("/proc/{pid}/stack")).unwrap_or_default());
            }
        }
        for log in files_below(&self.data("containers"), &|path| path.ends_with("console.log")) {
            let text = fs::read(&log).unwrap_or_default();
            let last = &text[text.len().saturating_sub(2000)..];
            eprintln!("--- {}\n{}", log.display(), String::from_utf8_lossy(last));
        }
        eprintln!("---");
    }

    /// Kills all processes, like a power cut.
    pub fn kill_everything(&self) {
        for process in self.processes() {
            process::kill(process.pid);
        }
        wait_for("the end of all processes", || self.processes().is_empty().then_some(()));
    }

    pub fn kill_supervisor(&self) {
        let supervisor = self.supervisor().expect("a supervisor");
        process::kill(supervisor.pid);
        wait_for("the end of the supervisor", || Process::of(supervisor.pid).is_none().then_some(()));
    }

    /// Waits until only the supervisor and its standby worker run, i.e. its startup is complete.
    pub fn wait_for_standby(&self) {
        wait_for("the supervisor to be idle", || self.only_supervisor().then_some(()));
    }

    /// Waits for the end of the supervisor and its workers, which have its socket open at their beginning.
    pub fn wait_for_workers(&self) {
        let is_left =
            || self.processes().iter().any(|one| ["ds", STANDBY, "ds:worker"].contains(&&*one.name));
        wait_for("the end of the workers", || (!is_left()).then_some(()));
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let failed = panicking();
        if failed {
            self.show();
        }
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            if !failed {
                self.check_nothing_is_left();
            }
        }));
        if checked.is_err() {
            self.show();
        }
        // At the end of its stdin, the keeper removes everything.
        drop(self.keeper.stdin.take());
        let status = self.keeper.wait().expect("wait for the keeper");
        if let Err(fault) = checked {
            std::panic::resume_unwind(fault);
        }
        assert!(failed || status.success(), "the sandbox could not be removed: {status}");
    }
}

fn find_directory(top: &Path, name: &str, depth: u32) -> Option<PathBuf> {
    let candidate = top.join(name);
    if candidate.is_dir() {
        return Some(candidate);
    }
    let entries = fs::read_dir(top).ok().filter(|_| depth > 0)?.filter_map(Result::ok);
    let mut directories =
        entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink());
    directories.find_map(|directory| find_directory(&directory, name, depth - 1))
}

/// Files below a directory that are of a kind.
pub fn files_below(top: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(top).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        if wanted(&path) {
            found.push(path.clone());
        }
        if path.is_dir() && !path.is_symlink() {
            found.extend(files_below(&path, wanted));
        }
    }
    found
}

fn loop_devices_below(top: &Path) -> Vec<String> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().filter_map(Result::ok);
    let files = devices.filter_map(|entry| fs::read_to_string(entry.path().join("loop/backing_file")).ok());
    files.filter(|file| Path::new(file.trim()).starts_with(top)).collect()
}
