//! `ds doctor`: collects the data for a bug report in one archive.
//!
//! Owns the list of contents. It only reads. Unreadable files are listed in `notes.txt` and do not stop the command.
//! Secrets are removed (`redact`), and only root can read the archive.

mod redact;

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::check::Report;
use super::state::{known, names};
use super::version::{PROTOCOL, VERSION};
use super::{info, print};
use crate::archive::writer::Writer;
use crate::cli;
use crate::clock::unix_s;
use crate::config::value::Name;
use crate::exit::ExitCode;
use crate::network::store;
use crate::screen;
use crate::storage::export::{refuse_existing, refuse_terminal};
use crate::tool::Tool;
use crate::units;
use crate::worker::Env;

/// The top directory of the archive.
const TOP: &str = "ds-doctor";
/// Maximum size of a file in the archive, in bytes. Of a longer file, logs keep their end and all others their
/// beginning.
const MAX: u64 = 512 << 10;
/// Kernel files that are included unchanged, below `TOP/kernel/`.
const KERNEL: [&str; 9] = [
    "/proc/version",
    "/proc/filesystems",
    "/proc/misc",
    "/proc/meminfo",
    "/proc/cgroups",
    "/proc/self/cgroup",
    "/proc/self/mountinfo",
    "/proc/self/status",
    "/proc/self/attr/current",
];
/// Kernel files about the network, below `TOP/network/`.
const NETWORK: [&str; 6] = [
    "/proc/net/dev",
    "/proc/net/route",
    "/proc/net/ipv6_route",
    "/proc/net/if_inet6",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/net/ip_tables_names",
];
/// Programs whose output describes the network, if they are installed.
const TABLES: [(&str, &str, &[&str]); 9] = [
    ("links", "ip", &["-details", "link"]),
    ("addresses", "ip", &["addr"]),
    ("rules", "ip", &["rule"]),
    ("rules-6", "ip", &["-6", "rule"]),
    ("routes", "ip", &["route", "show", "table", "all"]),
    ("routes-6", "ip", &["-6", "route", "show", "table", "all"]),
    ("iptables", "iptables-save", &[]),
    ("ip6tables", "ip6tables-save", &[]),
    ("nftables", "nft", &["list", "ruleset"]),
];
const GETPROP: &str = "/system/bin/getprop";

/// Collects the data, and writes the archive to a file, whose path it prints, or to standard output.
///
/// # Errors
/// If the archive cannot be written.
pub fn run(arguments: &cli::Doctor, env: &Env) -> Result<ExitCode> {
    let is_stdout = arguments.output.as_deref() == Some(Path::new("-"));
    if is_stdout {
        refuse_terminal()?;
    }
    let now = unix_s();
    let mut bytes = Vec::new();
    let mut bundle =
        Bundle { archive: Writer::new(&mut bytes), time: i64::try_from(now)?, notes: String::new() };
    bundle.collect(env)?;
    bundle.finish()?;
    if is_stdout {
        io::stdout().write_all(&bytes).context("cannot write the archive")?;
        return Ok(ExitCode::Done);
    }
    let path = match &arguments.output {
        Some(path) => {
            let path = env.path(path)?;
            refuse_existing(&path, true)?;
            write(&path, &bytes, true)?;
            path
        }
        None => write_somewhere(env, &format!("{TOP}-{now}.tar"), &bytes)?,
    };
    let size = units::size(u64::try_from(bytes.len())?);
    let path = path.to_string_lossy();
    let text = format!("{}: {size}; values of [environment] are left out\n", screen::line(&path));
    print(&mut io::stdout(), &text)
}

/// Into the client's working directory; if that fails, into the data directory of ds.
fn write_somewhere(env: &Env, name: &str, bytes: &[u8]) -> Result<PathBuf> {
    let here = env.directory.as_ref().map(|directory| directory.join(name));
    if let Some(path) = here.filter(|path| write(path, bytes, false).is_ok()) {
        return Ok(path);
    }
    let path = env.paths.data.join(name);
    write(&path, bytes, false)?;
    Ok(path)
}

/// Creates a file that only root can read. If `replace`, replaces an existing file or link; never writes into one.
fn write(path: &Path, bytes: &[u8], replace: bool) -> Result<()> {
    if replace && fs::symlink_metadata(path).is_ok_and(|status| !status.is_dir()) {
        fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?;
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("create {}", path.display()))?;
    file.write_all(bytes).with_context(|| format!("write {}", path.display())).inspect_err(|_| {
        // An incomplete archive is of no use.
        let _ = fs::remove_file(path);
    })
}

struct Bundle<'a> {
    archive: Writer<'a>,
    /// Time of all files, seconds since 1970.
    time: i64,
    /// Notes about missing data.
    notes: String,
}

impl Bundle<'_> {
    fn collect(&mut self, env: &Env) -> Result<()> {
        let host = &env.host;
        let version =
            format!("ds {VERSION} (protocol {PROTOCOL})\nkernel {} {}\n", host.release, host.machine);
        self.add("version.txt", Ok(version.into_bytes()))?;
        let report = Report::new(host);
        self.add("check.txt", Ok(report.text()?.into_bytes()))?;
        self.add("check.json", Ok(serde_json::to_vec_pretty(&report)?))?;
        for path in KERNEL {
            self.add(&format!("kernel{path}"), read(Path::new(path)))?;
        }
        self.kernel_config(&host.release)?;
        self.add("kernel/dmesg.txt", kernel_log())?;
        for path in NETWORK {
            self.add(&format!("network{path}"), read(Path::new(path)))?;
        }
        for (name, program, arguments) in TABLES {
            self.add(&format!("network/{name}.txt"), said(program, arguments))?;
        }
        let networks = serde_json::to_vec_pretty(&store::members(&env.paths)).context("encode");
        self.add("network/members.json", networks)?;
        self.add("groups.txt", Ok(groups(env).into_bytes()))?;
        self.add("supervisor.ini", read(&env.paths.supervisor_ini()))?;
        let log = env.paths.supervisor_log();
        self.add("supervisor.log.1", tail(&log.with_extension("log.1")))?;
        self.add("supervisor.log", tail(&log))?;
        for name in names(env) {
            self.container(env, &name)?;
        }
        if Path::new(GETPROP).exists() {
            self.add("getprop.txt", properties())?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        let notes = std::mem::take(&mut self.notes);
        self.add("notes.txt", Ok(notes.into_bytes()))?;
        self.archive.end()
    }

    /// Adds a file, or a note about why it is missing.
    fn add(&mut self, name: &str, content: Result<Vec<u8>>) -> Result<()> {
        match content {
            Ok(content) => self.archive.file(&format!("{TOP}/{name}"), &content, self.time),
            Err(error) => Ok(writeln!(self.notes, "{name}: {error:#}")?),
        }
    }

    fn kernel_config(&mut self, release: &str) -> Result<()> {
        let packed = read(Path::new("/proc/config.gz"));
        if packed.is_ok() {
            return self.add("kernel/config.gz", packed);
        }
        self.add("kernel/config", read(Path::new(&format!("/boot/config-{release}"))).or(packed))
    }

    fn container(&mut self, env: &Env, name: &Name) -> Result<()> {
        let below = format!("containers/{name}");
        let text = read(&env.paths.container_ini(name));
        let text = text.map(|bytes| redact::configuration(&String::from_utf8_lossy(&bytes)).into_bytes());
        self.add(&format!("{below}/container.ini"), text)?;
        self.add(&format!("{below}/last-exit.json"), read(&env.paths.last_exit(name)))?;
        let known = match known(env, name) {
            Ok(known) => known,
            Err(error) => return self.add(&format!("{below}/state.json"), Err(error)),
        };
        if let Some(pid) = known.summary.pid {
            self.add(&format!("{below}/mountinfo"), read(Path::new(&format!("/proc/{pid}/mountinfo"))))?;
            self.add(&format!("{below}/cgroup"), read(Path::new(&format!("/proc/{pid}/cgroup"))))?;
        }
        let state = serde_json::to_vec_pretty(&info::document(known, env)).context("encode");
        self.add(&format!("{below}/state.json"), state)
    }
}

/// Reads the beginning of a file.
fn read(path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = open(path)?;
    file.take(MAX).read_to_end(&mut content).with_context(|| format!("read {}", path.display()))?;
    Ok(content)
}

/// Reads the end of a file, in whole lines.
fn tail(path: &Path) -> Result<Vec<u8>> {
    let mut file = open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX)))?;
    let mut content = Vec::new();
    file.take(MAX).read_to_end(&mut content).with_context(|| format!("read {}", path.display()))?;
    let skipped = match content.iter().position(|byte| *byte == b'\n') {
        Some(end) if length > MAX => end + 1,
        _ => 0,
    };
    Ok(content.split_off(skipped))
}

fn open(path: &Path) -> Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    file.with_context(|| format!("open {}", path.display()))
}

/// The last records of the kernel's log, as dmesg(1) shows them: /dev/kmsg, one record in each read
/// (Documentation/ABI/testing/dev-kmsg).
fn kernel_log() -> Result<Vec<u8>> {
    let mut log = open(Path::new("/dev/kmsg"))?;
    let mut records = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        match log.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => records.extend(record(&String::from_utf8_lossy(&buffer[..length]))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // EPIPE: the record was overwritten before the read; EINVAL: it is longer than the buffer.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPIPE | libc::EINVAL)) => {}
            Err(error) => return Err(error).context("read /dev/kmsg"),
        }
    }
    let most = usize::try_from(MAX).unwrap_or(usize::MAX);
    let mut size = 0;
    let fits = |line: &&String| {
        size += line.len();
        size <= most
    };
    let last = records.iter().rev().take_while(fits).count();
    Ok(records.split_off(records.len() - last).concat().into_bytes())
}

/// Formats a record `6,339,5140900,-;text`. Further lines with details begin with a blank.
fn record(text: &str) -> Option<String> {
    let (prefix, message) = text.lines().next()?.split_once(';')?;
    let microseconds: u64 = prefix.split(',').nth(2)?.parse().ok()?;
    Some(format!("[{:5}.{:06}] {message}\n", microseconds / 1_000_000, microseconds % 1_000_000))
}

/// The control groups of ds in every hierarchy: path, processes, delegated controllers.
fn groups(env: &Env) -> String {
    let cgroups = &env.host.cgroups;
    let mounted = cgroups.version2.iter().map(|hierarchy| &hierarchy.root.path);
    let mounted = mounted.chain(cgroups.version1.iter().map(|hierarchy| &hierarchy.root.path));
    let mut text = format!("{cgroups:#?}\n\n");
    for hierarchy in mounted {
        list_groups(&hierarchy.join(&env.paths.cgroup), 6, &mut text);
    }
    text
}

fn list_groups(group: &Path, depth: u32, text: &mut String) {
    let file = |name: &str| fs::read_to_string(group.join(name)).unwrap_or_default();
    let entries: Vec<_> = fs::read_dir(group).into_iter().flatten().filter_map(Result::ok).collect();
    if entries.is_empty() {
        return;
    }
    let pids = file("cgroup.procs").lines().collect::<Vec<_>>().join(" ");
    let passed = file("cgroup.subtree_control");
    text.push_str(&format!(
        "{} processes [{pids}] controllers of children [{}]\n",
        group.display(),
        passed.trim()
    ));
    let below = entries.iter().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    for entry in below.filter(|_| depth > 0) {
        list_groups(&entry.path(), depth - 1, text);
    }
}

/// The output of a program.
fn said(program: &str, arguments: &[&str]) -> Result<Vec<u8>> {
    let tool = Tool::find(program).with_context(|| format!("{program} is not installed"))?;
    let output = Command::new(tool.path()).args(arguments).output();
    let mut text = output.with_context(|| format!("run {program}"))?.stdout;
    text.truncate(usize::try_from(MAX).unwrap_or(usize::MAX));
    Ok(text)
}

fn properties() -> Result<Vec<u8>> {
    let output = Command::new(GETPROP).output().with_context(|| format!("run {GETPROP}"))?;
    Ok(redact::properties(&String::from_utf8_lossy(&output.stdout)).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn records_of_the_kernel_look_as_dmesg_shows_them() {
        let text = "6,339,5140900,-;NET: Registered PF_INET6\n SUBSYSTEM=acpi\n";
        assert_eq!(record(text).unwrap(), "[    5.140900] NET: Registered PF_INET6\n");
        assert_eq!(record("garbage"), None);
        assert_eq!(record(""), None);
    }

    #[test]
    fn the_end_of_a_log_begins_with_a_whole_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "short\n").unwrap();
        assert_eq!(tail(file.path()).unwrap(), b"short\n");
        let line = format!("{}\n", "x".repeat(99));
        fs::write(file.path(), line.repeat(6000)).unwrap();
        let end = tail(file.path()).unwrap();
        assert!(end.len() as u64 <= MAX && end.len() as u64 > MAX - 100);
        assert_eq!(end.len() % 100, 0);
        assert!(tail(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn the_archive_is_private_and_follows_no_link() {
        let directory = tempfile::tempdir().unwrap();
        let (path, victim) = (directory.path().join("ds.tar"), directory.path().join("victim"));
        fs::write(&victim, "kept").unwrap();
        symlink(&victim, &path).unwrap();
        assert!(write(&path, b"archive", false).is_err());
        write(&path, b"archive", true).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"kept");
        assert_eq!(fs::read(&path).unwrap(), b"archive");
        assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
