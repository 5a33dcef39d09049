//! Searches the machine for remains of containers.
//!
//! Owns the list of places: mounts, loop devices, cgroups, processes. Reads only, and uses only files of the kernel,
//! never `ds`. See proc_pid_mountinfo(5), proc_pid_cgroup(5), loop(4).

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The prefix of the supervisor's cgroups.
const CGROUP: &str = "droidspaces";

/// The remains at one point in time, one line each.
#[derive(Debug)]
pub struct Traces(BTreeSet<String>);

impl Traces {
    /// Searches the whole machine for remains of the data folder `root`.
    ///
    /// # Errors
    /// If /proc or /sys cannot be read.
    pub fn look(root: &Path) -> Result<Self> {
        let mut found = BTreeSet::new();
        mounts(root, &mut found)?;
        loop_devices(root, &mut found)?;
        cgroups(Path::new("/sys/fs/cgroup"), 0, &mut found);
        processes(root, &mut found)?;
        Ok(Self(found))
    }

    /// The remains that did not exist `before`.
    pub fn since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a str> {
        self.0.difference(&before.0).map(String::as_str)
    }
}

fn mounts(root: &Path, found: &mut BTreeSet<String>) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    let root = root.to_string_lossy();
    let ours = table.lines().filter(|line| line.contains(&*root) || line.contains("/Droidspaces"));
    found.extend(ours.filter_map(|line| line.split(' ').nth(4)).map(|at| format!("mount {at}")));
    Ok(())
}

fn loop_devices(root: &Path, found: &mut BTreeSet<String>) -> Result<()> {
    for device in fs::read_dir("/sys/block").context("cannot read /sys/block")? {
        let device = device?;
        // The file only exists while a file is attached.
        let Ok(file) = fs::read_to_string(device.path().join("loop/backing_file")) else { continue };
        if Path::new(file.trim()).starts_with(root) {
            found.insert(format!("loop device {} of {}", device.file_name().to_string_lossy(), file.trim()));
        }
    }
    Ok(())
}

/// The cgroups of ds are at the root of every hierarchy, as `droidspaces` or `droidspaces-…`; deeper ones of that name
/// belong to other programs. An unreadable cgroup has been removed in the meantime.
fn cgroups(folder: &Path, depth: usize, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let ours = entry.file_name().to_string_lossy().starts_with(CGROUP);
        if !is_folder || (depth == 1 && !ours) {
            // On a host with only cgroup v2, the first level is the root of the hierarchy.
            continue;
        }
        if depth > 0 || ours {
            found.insert(format!("cgroup {}", entry.path().display()));
        }
        cgroups(&entry.path(), if depth == 0 && ours { 2 } else { depth + 1 }, found);
    }
}

/// A process belongs to `root` if `root` is in its environment, if it is in a cgroup of ds, or if it has the tree
/// mounted. This finds the supervisor, the monitors, and all processes in containers.
fn processes(root: &Path, found: &mut BTreeSet<String>) -> Result<()> {
    let root = root.to_string_lossy();
    let told = format!("DS_ROOT={root}\0");
    let own = std::process::id().to_string();
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == own || !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let has = |text: &[u8], part: &str| String::from_utf8_lossy(text).contains(part);
        let ours = has(&read("environ"), &told)
            || has(&read("cgroup"), &format!(":/{CGROUP}"))
            || has(&read("mountinfo"), &root);
        if ours {
            let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
            found.insert(format!("process {name} {}", command.trim()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Traces;
    use std::path::Path;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_with_the_folder_in_its_environment_is_found() {
        let root = Path::new("/nowhere/for-a-test-of-traces");
        let before = Traces::look(root).unwrap();
        let mut sleeper = Command::new("sleep")
            .arg("60")
            .env("DS_ROOT", root)
            .env("LAST", "1")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let after = Traces::look(root).unwrap();
        let line = format!("process {} sleep 60", sleeper.id());
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(after.since(&before).any(|trace| trace == line));
        assert!(!Traces::look(root).unwrap().since(&before).any(|trace| trace == line));
    }
}
