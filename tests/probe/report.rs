//! The environment of a process in a container, as one JSON document.
//!
//! Owns the collection. It does not interpret the data and, except for opening paths for writing, changes nothing.
//! proc(5), capabilities(7), namespaces(7), cgroups(7).

use crate::{inherit, sys};
use anyhow::Result;
use nix::sys::stat::{major, minor};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Files that reveal information about the host, or can harm it.
const SENSITIVE: &[&str] = &[
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/sched_debug",
    "/proc/timer_list",
    "/proc/sysrq-trigger",
    "/proc/latency_stats",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/sysrq",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/net/ipv4/ip_forward",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/ksm/run",
    "/sys/power/state",
    "/sys/firmware/acpi",
    "/proc/irq",
    "/proc/bus",
    "/proc/acpi",
    "/proc/fs",
];

/// Collects the document.
pub fn collect() -> Result<Value> {
    Ok(json!({
        "pid": std::process::id(),
        "ppid": nix::unistd::getppid().as_raw(),
        "session": nix::unistd::getsid(None)?.as_raw(),
        "hostname": nix::unistd::gethostname()?.to_string_lossy(),
        "cwd": env::current_dir().map(|path| path.display().to_string()).unwrap_or_default(),
        "argv": env::args().collect::<Vec<_>>(),
        "environment": env::vars().collect::<BTreeMap<_, _>>(),
        "status": status()?,
        "capabilities_bounding": bounding(),
        "parent_death_signal": sys::parent_death_signal(),
        "oom_score": read("/proc/self/oom_score_adj"),
        "limits": limits(),
        "inherited": inherit::collect(),
        "descriptors": descriptors()?,
        "namespaces": namespaces()?,
        "mounts": mounts(),
        "devices": devices(Path::new("/dev"))?,
        "files": SENSITIVE.iter().map(|path| ((*path).to_owned(), access(path))).collect::<Map<_, _>>(),
        "cgroup": read("/proc/self/cgroup").lines().collect::<Vec<_>>(),
        "cgroup_tree": cgroup_tree(),
        "interfaces": interfaces(),
        "loopback_up": read("/sys/class/net/lo/flags").ends_with('9'),
        "terminal": terminal(),
        "programs": programs(),
        "kernel_modules": format!("{:?}", sys::init_module()),
    }))
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default().trim_end().to_owned()
}

/// Every field of /proc/self/status: ids, capability sets, seccomp, signals, umask.
fn status() -> Result<Map<String, Value>> {
    let text = fs::read_to_string("/proc/self/status")?;
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    Ok(fields.map(|(name, value)| (name.to_owned(), value.trim().into())).collect())
}

fn bounding() -> Vec<u32> {
    (0..64)
        .map_while(|number| Some((number, sys::bounding(number)?)))
        .filter(|(_, has)| *has)
        .map(|(n, _)| n)
        .collect()
}

fn limits() -> Map<String, Value> {
    // proc_pid_limits(5): a name of up to 26 characters, then soft and hard limit.
    let text = read("/proc/self/limits");
    let rows = text.lines().skip(1).filter_map(|line| line.split_at_checked(26));
    rows.map(|(name, rest)| {
        (
            name.trim().to_owned(),
            rest.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>().into(),
        )
    })
    .collect()
}

/// Open descriptors, without that of the listing.
fn descriptors() -> Result<Map<String, Value>> {
    let mut found = Map::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let link = fs::read_link(format!("/proc/self/fd/{name}"));
        if let Ok(link) = link
            && !link.starts_with(format!("/proc/{}/fd", std::process::id()))
        {
            found.insert(name, link.display().to_string().into());
        }
    }
    Ok(found)
}

fn namespaces() -> Result<Map<String, Value>> {
    let mut found = Map::new();
    for entry in fs::read_dir("/proc/self/ns")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        found.insert(name.clone(), read_link(&format!("/proc/self/ns/{name}")).into());
    }
    Ok(found)
}

fn read_link(path: &str) -> String {
    fs::read_link(path).map(|link| link.display().to_string()).unwrap_or_default()
}

fn mounts() -> Vec<Value> {
    let row = |line: &str| -> Option<Value> {
        let (before, after) = line.split_once(" - ")?;
        let before: Vec<&str> = before.split(' ').collect();
        let after: Vec<&str> = after.split(' ').collect();
        Some(json!({
            "device": before.get(2)?, "root": before.get(3)?, "target": before.get(4)?, "options": before.get(5)?,
            "propagation": before.get(6..)?, "kind": after.first()?, "source": after.get(1)?, "super": after.get(2)?,
        }))
    };
    read("/proc/self/mountinfo").lines().filter_map(row).collect()
}

/// Everything below a directory, by path, without the file system of terminals.
fn devices(directory: &Path) -> Result<Map<String, Value>> {
    let mut found = Map::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let about = path.symlink_metadata()?;
        let kind = about.file_type();
        let word = match () {
            () if kind.is_dir() => "directory",
            () if kind.is_symlink() => "link",
            () if kind.is_char_device() => "character",
            () if kind.is_block_device() => "block",
            () if kind.is_file() => "file",
            () => "other",
        };
        let mut row = json!({
            "kind": word, "mode": format!("{:04o}", about.mode() & 0o7777), "uid": about.uid(), "gid": about.gid(),
        });
        if word == "character" || word == "block" {
            row["number"] = format!("{}:{}", major(about.rdev()), minor(about.rdev())).into();
        }
        if word == "link" {
            row["to"] = fs::read_link(&path)?.display().to_string().into();
        }
        found.insert(path.display().to_string(), row);
        if word == "directory" {
            found.extend(devices(&path)?);
        }
    }
    Ok(found)
}

/// The results of opening a path for reading (with the first bytes, or the entries of a directory) and for writing.
fn access(path: &str) -> Value {
    if Path::new(path).is_dir() {
        let entries = fs::read_dir(path).map(Iterator::count).unwrap_or_default();
        let create = Path::new(path).join("probe");
        let made = OpenOptions::new().create_new(true).write(true).open(&create);
        if made.is_ok() {
            let _ = fs::remove_file(&create);
        }
        return json!({ "entries": entries, "write": outcome(made.map(drop)) });
    }
    let mut bytes = [0_u8; 32];
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let read = file.and_then(|mut file| file.read(&mut bytes));
    let length = *read.as_ref().unwrap_or(&0);
    let write = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path);
    json!({ "bytes": length, "read": outcome(read.map(drop)), "write": outcome(write.map(drop)) })
}

fn outcome(result: std::io::Result<()>) -> String {
    match result {
        Ok(()) => "yes".into(),
        Err(error) => format!("{:?}", nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0))),
    }
}

/// Directories of the mounted hierarchies, two levels deep, and whether the files there that set limits can be written.
fn cgroup_tree() -> Map<String, Value> {
    let mut found = Map::new();
    let mut list = |directory: &Path| -> Vec<std::path::PathBuf> {
        let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
        let (directories, files): (Vec<_>, Vec<_>) =
            entries.map(|entry| entry.path()).partition(|path| path.is_dir() && !path.is_symlink());
        let names =
            files.iter().filter_map(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
        found.insert(directory.display().to_string(), names.collect::<Vec<_>>().into());
        directories
    };
    for first in list(Path::new("/sys/fs/cgroup")) {
        for second in list(&first) {
            list(&second);
        }
    }
    found
}

fn interfaces() -> Vec<String> {
    let text = read("/proc/net/dev");
    text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

fn terminal() -> Value {
    let console =
        fs::metadata("/dev/console").map(|about| format!("{}:{}", major(about.rdev()), minor(about.rdev())));
    json!({
        "stdin": read_link("/proc/self/fd/0"),
        "console": console.unwrap_or_default(),
        "controlling": File::open("/dev/tty").is_ok(),
        "size": sys::window_size(std::os::fd::AsFd::as_fd(&std::io::stdin())).ok(),
    })
}

/// Every process: its program, and the result of opening that program for writing.
fn programs() -> Vec<Value> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.map(|pid| {
        let program = format!("/proc/{pid}/exe");
        let write = OpenOptions::new().write(true).open(&program);
        json!({
            "pid": pid, "program": read_link(&program), "name": read(format!("/proc/{pid}/comm")),
            "write": outcome(write.map(drop)),
        })
    })
    .collect()
}
