//! The control groups of one container: cgroups(7), Documentation/admin-guide/cgroup-v2.rst of the kernel.
//!
//! In each hierarchy that is needed: `droidspaces/NAME/` carries the limits, its child `payload/` is the root of the
//! container's cgroup namespace. So the container cannot lift its own limits, and no process of ours sits in
//! a group that it delegates from. Nothing outside these directories is changed, except that version 2
//! controllers are switched on on the way down to them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use crate::config::Limits;
use crate::host::Hierarchies;
use crate::host::cgroup::{Version1, Version2};
use crate::plan::cgroups::Layout;
use crate::sys::{AsErrno, errno_of};

/// The namespace root inside a container's directory.
const PAYLOAD: &str = "payload";
/// Where sessions live on version 2: systemd forbids processes in the namespace root itself.
const SESSIONS: &str = "ds-session";
/// Period of the processor quota, microseconds.
const PERIOD: u64 = 100_000;
/// How long a group may need to become empty once all its processes are gone.
const EMPTYING: Duration = Duration::from_secs(5);

/// The groups of one container.
#[derive(Debug)]
pub struct Cgroup {
    version2: Option<Group>,
    version1: Vec<Group>,
    /// Removed at the end of life; sessions only borrow the groups.
    owned: bool,
}

/// A directory of a hierarchy, known again by its inode: after a sweep there may be another one of the same name.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    directory: PathBuf,
    inode: u64,
}

impl Group {
    fn at(directory: PathBuf) -> Result<Self> {
        let status = fs::metadata(&directory).with_context(|| format!("look at {}", directory.display()))?;
        Ok(Self { directory, inode: status.ino() })
    }

    fn is_still_there(&self) -> bool {
        fs::metadata(&self.directory).is_ok_and(|status| status.ino() == self.inode)
    }
}

/// Open files by which a new process joins: made before it is cloned.
#[derive(Debug)]
pub struct Joining {
    /// The version 2 group, for CLONE_INTO_CGROUP.
    directory: Option<OwnedFd>,
    tasks: Vec<File>,
}

impl Cgroup {
    /// Makes the groups. What cannot be had is a warning; a limit that cannot be set is one too.
    ///
    /// # Errors
    /// When the directories of the chosen layout cannot be made.
    pub fn create(
        hierarchies: &Hierarchies,
        base: &str,
        container: &str,
        layout: Layout,
        limits: &Limits,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let mut cgroup = Self { version2: None, version1: Vec::new(), owned: true };
        // In every hierarchy, shown or not: a container can mount any of them, and sees whatever lies below the group
        // that it was in when its namespace was made (cgroup_namespaces(7)).
        if let Some(hierarchy) = &hierarchies.version2 {
            let created = create_version2(hierarchy, base, container, warnings).and_then(Group::at);
            if let Some(group) = required(created, layout == Layout::Version2, "v2", warnings)? {
                cgroup.version2 = Some(group);
            }
        }
        for hierarchy in &hierarchies.version1 {
            // Without limits, and not shown, the namespace may as well begin at the directory itself.
            let payload = layout == Layout::Version1;
            let created = create_version1(hierarchy, base, container, payload).and_then(Group::at);
            cgroup.version1.extend(required(created, false, &hierarchy.label(), warnings)?);
        }
        for (controller, file2, value2, values1) in limit_table(limits) {
            if let Err(error) =
                cgroup.limit(hierarchies, base, container, controller, file2, &value2, &values1)
            {
                warnings.push(format!("limits.{} has no effect: {error:#}", limit_key(controller)));
            }
        }
        Ok(cgroup)
    }

    /// Writes one limit where its controller lives, whichever version that is.
    #[expect(clippy::too_many_arguments, reason = "one row of the table and where it goes")]
    fn limit(
        &mut self,
        hierarchies: &Hierarchies,
        base: &str,
        container: &str,
        controller: &str,
        file2: &str,
        value2: &str,
        values1: &[(&str, String)],
    ) -> Result<()> {
        if hierarchies.version2_has(controller) {
            let Some(group) = &self.version2 else {
                anyhow::bail!("cgroup v2 has the {controller} controller, and the container uses v1");
            };
            return write(&group.directory.join(file2), value2);
        }
        let Some(hierarchy) = hierarchies.version1_with(controller) else {
            anyhow::bail!("kernel has no {controller} controller; see 'ds check'");
        };
        let directory = create_version1(hierarchy, base, container, true)?;
        let group = Group::at(directory.clone())?;
        if !self.version1.contains(&group) {
            self.version1.push(group);
        }
        values1.iter().try_for_each(|(file, value)| write(&directory.join(file), value))
    }

    /// The groups of a running container, for sessions. `path` is the directory that the monitor told.
    #[must_use]
    pub fn existing(hierarchies: &Hierarchies, base: &str, container: &str) -> Self {
        let group = |mounted: &Path| Group::at(mounted.join(base).join(container)).ok();
        Self {
            version2: hierarchies.version2.as_ref().and_then(|hierarchy| group(&hierarchy.mounted)),
            version1: hierarchies.version1.iter().filter_map(|hierarchy| group(&hierarchy.mounted)).collect(),
            owned: false,
        }
    }

    /// The directory that carries the limits: version 2's, else the first of version 1.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.version2.as_ref().or_else(|| self.version1.first()).map(|group| group.directory.as_path())
    }

    /// The directories of this container, without any that was replaced since.
    fn directories(&self) -> impl Iterator<Item = &Path> {
        let groups = self.version2.iter().chain(&self.version1);
        groups.filter(|group| group.is_still_there()).map(|group| group.directory.as_path())
    }

    /// Opens what PID 1 needs to join.
    ///
    /// # Errors
    /// When a group has vanished.
    pub fn joining_payload(&self) -> Result<Joining> {
        self.joining(self.version2.as_ref().map(|group| group.directory.join(PAYLOAD)))
    }

    fn joining(&self, version2: Option<PathBuf>) -> Result<Joining> {
        let mut joining = Joining { directory: None, tasks: Vec::new() };
        if let Some(path) = version2 {
            joining.directory = Some(open_directory(&path)?);
        }
        for group in &self.version1 {
            joining.tasks.extend(open_tasks(&group.directory)?);
        }
        Ok(joining)
    }

    /// Whether all processes are frozen (cgroup.freeze).
    #[must_use]
    pub fn frozen(&self) -> bool {
        let state =
            self.version2.as_ref().map(|group| fs::read_to_string(group.directory.join("cgroup.events")));
        matches!(state, Some(Ok(text)) if text.lines().any(|line| line == "frozen 1"))
    }

    /// Lets frozen processes go on, so that they can take a signal.
    pub fn thaw(&self) {
        if let Some(group) = self.version2.as_ref().filter(|_| self.frozen()) {
            let _ = write(&group.directory.join("cgroup.freeze"), "0");
        }
    }

    /// Ends every process in the groups, whatever namespace it is in (cgroup.kill, 5.14; else one by one).
    pub fn kill(&self) {
        for directory in self.directories() {
            if write(&directory.join("cgroup.kill"), "1").is_err() {
                kill_below(directory);
            }
        }
    }

    /// Removes the groups once they are empty.
    ///
    /// # Errors
    /// The first group that stays; the others are removed all the same.
    pub fn remove(&mut self) -> Result<()> {
        self.owned = false;
        let mut result = Ok(());
        for directory in self.directories() {
            let removed = remove_tree(directory);
            if result.is_ok() {
                result = removed.with_context(|| format!("remove cgroup {}", directory.display()));
            }
            if let Some(base) = directory.parent() {
                // The last container takes the common directory along.
                let _ = fs::remove_dir(base);
            }
        }
        result
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.owned {
            self.kill();
            if let Err(error) = self.remove() {
                log::warn!("{error:#}");
            }
        }
    }
}

impl Joining {
    /// Opens what a session in a running container needs to join; makes the leaf that sessions live in.
    ///
    /// # Errors
    /// When the groups cannot be opened; a hierarchy without a group of the container is none of its.
    pub fn of_session(hierarchies: &Hierarchies, base: &str, container: &str) -> Result<Self> {
        let directory = |mounted: &Path| mounted.join(base).join(container);
        let mut joining = Self { directory: None, tasks: Vec::new() };
        if let Some(hierarchy) = &hierarchies.version2 {
            joining.directory = open_leaf(&directory(&hierarchy.mounted).join(PAYLOAD))?;
        }
        for hierarchy in &hierarchies.version1 {
            joining.tasks.extend(open_tasks(&directory(&hierarchy.mounted))?);
        }
        Ok(joining)
    }

    /// The version 2 group that clone3(2) can start a process in.
    #[must_use]
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.directory.as_ref().map(AsFd::as_fd)
    }

    /// Moves the calling process; `born_inside` says that it was cloned into the version 2 group already.
    ///
    /// Version 1 gets the one thread there is through `tasks`: unlike `cgroup.procs` it takes no lock that waits for
    /// every process of the machine.
    ///
    /// # Errors
    /// What the kernel answers to the write.
    pub fn join(&self, born_inside: bool) -> Result<()> {
        if let (false, Some(directory)) = (born_inside, &self.directory) {
            let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            let procs =
                openat(directory, "cgroup.procs", flags, Mode::empty()).context("open cgroup.procs")?;
            File::from(procs).write_all(b"0").context("join the cgroup (v2)")?;
        }
        for mut tasks in &self.tasks {
            tasks.write_all(b"0").context("join the cgroup (v1)")?;
        }
        Ok(())
    }
}

/// Removes whatever groups a container left behind: its monitor was killed, or the machine is another one now.
pub fn sweep(hierarchies: &Hierarchies, base: &str, container: &str) {
    let mut left = Cgroup::existing(hierarchies, base, container);
    if left.directory().is_some() {
        left.kill();
        if let Err(error) = left.remove() {
            log::warn!("{error:#}");
        }
    }
}

type LimitRow = (&'static str, &'static str, String, Vec<(&'static str, String)>);

/// Controller, file and value for version 2, files and values for version 1.
fn limit_table(limits: &Limits) -> Vec<LimitRow> {
    let mut table: Vec<LimitRow> = Vec::new();
    if let Some(memory) = limits.memory {
        let bytes = memory.bytes().to_string();
        table.push(("memory", "memory.max", bytes.clone(), vec![("memory.limit_in_bytes", bytes)]));
    }
    if let Some(cpus) = limits.cpus {
        let quota = cpus.quota_microseconds().to_string();
        let values = vec![("cpu.cfs_period_us", PERIOD.to_string()), ("cpu.cfs_quota_us", quota.clone())];
        table.push(("cpu", "cpu.max", format!("{quota} {PERIOD}"), values));
    }
    if let Some(pids) = limits.pids {
        table.push(("pids", "pids.max", pids.to_string(), vec![("pids.max", pids.to_string())]));
    }
    table
}

/// What cannot be had is an error where it is needed, and a warning elsewhere.
fn required(
    created: Result<Group>,
    needed: bool,
    hierarchy: &str,
    warnings: &mut Vec<String>,
) -> Result<Option<Group>> {
    match created {
        Err(error) if !needed => {
            warnings.push(format!("no cgroup in {hierarchy}: {error:#}"));
            Ok(None)
        }
        other => other.map(Some),
    }
}

fn limit_key(controller: &str) -> &str {
    if controller == "cpu" { "cpus" } else { controller }
}

fn create_version2(
    hierarchy: &Version2,
    base: &str,
    container: &str,
    warnings: &mut Vec<String>,
) -> Result<PathBuf> {
    let directory = hierarchy.mounted.join(base).join(container);
    make_directory(&directory.join(PAYLOAD))?;
    let enable: Vec<String> = hierarchy.controllers.iter().map(|name| format!("+{name}")).collect();
    for level in [&hierarchy.mounted, &hierarchy.mounted.join(base), &directory] {
        for controller in &enable {
            let file = level.join("cgroup.subtree_control");
            let there = fs::read_to_string(&file).unwrap_or_default();
            if there.split_whitespace().any(|name| Some(name) == controller.strip_prefix('+')) {
                continue;
            }
            if let Err(error) = write(&file, controller) {
                warnings.push(format!("controller {controller} is not delegated: {error:#}"));
            }
        }
    }
    Ok(directory)
}

fn create_version1(hierarchy: &Version1, base: &str, container: &str, payload: bool) -> Result<PathBuf> {
    let directory = hierarchy.mounted.join(base).join(container);
    let lowest = if payload { directory.join(PAYLOAD) } else { directory.clone() };
    make_directory(&lowest)?;
    if hierarchy.controllers.iter().any(|name| name == "cpuset") {
        // A new cpuset is empty and takes no process until it has processors and memory nodes.
        let prefix = if hierarchy.noprefix { "" } else { "cpuset." };
        for file in ["cpus", "mems"].map(|file| format!("{prefix}{file}")) {
            let value = fs::read_to_string(hierarchy.mounted.join(&file)).unwrap_or_default();
            for level in [&hierarchy.mounted.join(base), &directory, &lowest] {
                write(&level.join(&file), value.trim_end())?;
            }
        }
    }
    Ok(directory)
}

/// Opens the file by which a thread joins a version 1 group; none where the container has no group.
fn open_tasks(directory: &Path) -> Result<Option<File>> {
    match present(open_write(&directory.join(PAYLOAD).join("tasks")))? {
        Some(tasks) => Ok(Some(tasks)),
        None => present(open_write(&directory.join("tasks"))),
    }
}

fn make_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("create cgroup {}", path.display()))
}

fn write(path: &Path, value: &str) -> Result<()> {
    let mut file = open_write(path)?;
    file.write_all(value.as_bytes()).with_context(|| format!("write {value} to {}", path.display()))
}

fn open_write(path: &Path) -> Result<File> {
    OpenOptions::new().write(true).open(path).with_context(|| format!("open {}", path.display()))
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let directory = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path);
    Ok(directory.with_context(|| format!("open {}", path.display()))?.into())
}

/// Opens the leaf of sessions below a namespace root, making it first if need be; `None` without the root.
fn open_leaf(payload: &Path) -> Result<Option<OwnedFd>> {
    let leaf = payload.join(SESSIONS);
    if let Some(directory) = present(open_directory(&leaf))? {
        return Ok(Some(directory));
    }
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("create cgroup {}", leaf.display()));
        }
        _ => {}
    }
    open_directory(&leaf).map(Some)
}

/// What was opened, or `None` when it is not there.
fn present<T>(opened: Result<T>) -> Result<Option<T>> {
    match opened {
        Err(error) if errno_of(&error) == Some(Errno::ENOENT) => Ok(None),
        other => other.map(Some),
    }
}

/// Removes a group and everything below it, waiting for the last processes to be gone.
fn remove_tree(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries.filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if error.as_errno() == Errno::EBUSY => {
            wait_until_empty(directory);
            fs::remove_dir(directory)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Waits for `populated 0`. Version 2 tells by a poll event; version 1 has no event to wait for.
fn wait_until_empty(directory: &Path) {
    let deadline = Instant::now() + EMPTYING;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        let Ok(events) = File::open(directory.join("cgroup.events")) else {
            if fs::read_to_string(directory.join("tasks")).unwrap_or_default().is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        if io::read_to_string(&events).unwrap_or_default().lines().any(|line| line == "populated 0") {
            return;
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], timeout);
    }
}

/// SIGKILL for every process below a directory, until none is left or none can be killed.
fn kill_below(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            kill_below(&entry.path());
        }
    }
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    for pid in text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0) {
        let _ = crate::sys::process::kill(nix::unistd::Pid::from_raw(pid), libc::SIGKILL);
    }
}
