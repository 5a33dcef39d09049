//! The programs that `ds` is measured against, in the same setup: each with its own copy of the same root file system,
//! the host's network, a PID, mount, UTS, IPC and (if supported) cgroup namespace, no user namespace.
//!
//! Owns their command lines and configuration, and ends the processes that it started. See lxc.container.conf(5),
//! systemd-nspawn(1), bwrap(1), crun(1).

use super::stopwatch::{self, Samples};
use crate::process;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The timeout for a boot.
const BOOT_LIMIT: Duration = Duration::from_secs(60);

/// The timeout for a shutdown.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// The empty cgroups and folders that these programs leave on a machine without systemd. They are removed when this is
/// dropped.
#[derive(Debug)]
pub struct Leftovers(BTreeSet<PathBuf>);

impl Leftovers {
    /// Records the existing ones, which are kept.
    pub fn note() -> Self {
        Self(leftovers())
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        // Children sort after their parents. rmdir(2) does not remove a directory in use.
        for folder in leftovers().iter().rev().filter(|folder| !self.0.contains(*folder)) {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// The cgroups of LXC and systemd-nspawn, and nspawn's folders.
fn leftovers() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup"), PathBuf::from("/run/systemd/nspawn/propagate")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = entry.path().to_string_lossy().into_owned();
                let theirs = ["/lxc.", "/payload", "/supervisor", "/propagate/"]
                    .iter()
                    .any(|part| path.contains(part));
                if theirs && !path.contains("/droidspaces") {
                    found.insert(entry.path());
                }
                open.push(entry.path());
            }
        }
    }
    found
}

/// A container of LXC.
#[derive(Debug)]
pub struct Lxc {
    folder: PathBuf,
    name: String,
}

impl Lxc {
    /// Writes its configuration below `folder`; `rootfs` is booted in place.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn new(folder: &Path, name: &str, rootfs: &Path) -> Result<Self> {
        fs::create_dir_all(folder.join(name))?;
        let config = format!(
            "lxc.uts.name = {name}\nlxc.rootfs.path = dir:{}\nlxc.net.0.type = none\n\
             lxc.mount.auto = proc:mixed sys:mixed cgroup:mixed\nlxc.apparmor.profile = unconfined\n\
             lxc.tty.max = 0\nlxc.pty.max = 1024\nlxc.signal.halt = SIGRTMIN+3\n",
            rootfs.display()
        );
        fs::write(folder.join(name).join("config"), config)?;
        Ok(Self { folder: folder.to_owned(), name: name.to_owned() })
    }

    /// Boots in the background, until the program returns.
    ///
    /// # Errors
    /// If it fails; the error contains its log.
    pub fn start(&self) -> Result<Duration> {
        stopwatch::time(self.command("lxc-start").arg("--daemon"))
    }

    /// Waits until systemd reports that it is up.
    ///
    /// # Errors
    /// If it reports anything else.
    pub fn wait(&self) -> Result<()> {
        // The bus does not exist immediately, and `--wait` waits for the boot, not for the bus.
        let started = Instant::now();
        loop {
            let ask = ["--", "systemctl", "is-system-running", "--wait"];
            let output = self.command("lxc-attach").args(ask).stdin(Stdio::null()).output()?;
            match output.stdout.trim_ascii() {
                b"running" => return Ok(()),
                b"degraded" => bail!("systemd is degraded under LXC"),
                _ if started.elapsed() > BOOT_LIMIT => bail!("systemd is not up under LXC"),
                _ => {}
            }
        }
    }

    /// Shuts it down.
    ///
    /// # Errors
    /// If it does not end.
    pub fn stop(&self) -> Result<Duration> {
        stopwatch::time(self.command("lxc-stop").args(["--timeout", "20"]))
    }

    /// Kills it.
    ///
    /// # Errors
    /// If it is not running.
    pub fn kill(&self) -> Result<()> {
        process::run_quietly(self.command("lxc-stop").arg("--kill")).map(drop)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--lxcpath").arg(&self.folder).args(["--name", &self.name]);
        command
    }
}

impl Drop for Lxc {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Boots `rootfs` with systemd-nspawn and shuts it down; returns the time until the guest reported that it is up.
///
/// # Errors
/// If it cannot be started, or sends no notification.
pub fn nspawn(folder: &Path, rootfs: &Path) -> Result<Duration> {
    let socket = folder.join("notify");
    let _ = fs::remove_file(&socket);
    let listener = UnixDatagram::bind(&socket)?;
    listener.set_read_timeout(Some(BOOT_LIMIT))?;
    let mut command = Command::new("systemd-nspawn");
    command.args(["--quiet", "--keep-unit", "--register=no", "--notify-ready=yes", "--boot", "--directory"]);
    command.arg(rootfs).env("NOTIFY_SOCKET", &socket);
    let started = Instant::now();
    let log = fs::File::create(folder.join("nspawn.log"))?;
    let mut child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    let ready = wait_for_ready(&listener, started);
    let ended = shut_down(&mut child)?;
    ready.with_context(|| {
        let log = fs::read_to_string(folder.join("nspawn.log")).unwrap_or_default();
        let last = log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
        format!("systemd-nspawn {}: {last}", process::ending(ended))
    })
}

/// The first SIGTERM requests a shutdown from the guest, the second one ends it; nspawn ends with its guest.
fn shut_down(child: &mut Child) -> Result<ExitStatus> {
    let pid = Pid::from_child(child);
    kill_process(pid, Signal::TERM)?;
    let asked = Instant::now();
    let mut insisted = false;
    loop {
        if let Some(ended) = child.try_wait()? {
            return Ok(ended);
        }
        if asked.elapsed() > STOP_LIMIT && !insisted {
            kill_process(pid, Signal::TERM)?;
            insisted = true;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// sd_notify(3): nspawn forwards the guest's READY=1, after some messages of its own without it.
fn wait_for_ready(listener: &UnixDatagram, started: Instant) -> Result<Duration> {
    let mut buffer = [0; 4096];
    loop {
        let length = listener.recv(&mut buffer).context("the guest sent no notification")?;
        let message = buffer.get(..length).unwrap_or_default();
        if message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            return Ok(started.elapsed());
        }
    }
}

/// Runs `true` in `rootfs` with bubblewrap.
pub fn bubblewrap(rootfs: &Path) -> Command {
    let mut command = Command::new("bwrap");
    command
        .args(["--unshare-pid", "--unshare-uts", "--unshare-ipc", "--unshare-cgroup", "--bind"])
        .arg(rootfs)
        .arg("/");
    command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run", "true"]);
    command
}

/// A bundle for crun.
#[derive(Debug)]
pub struct Crun {
    bundle: PathBuf,
    /// crun refuses hosts with cgroup v1 and v2 side by side; it then runs in a mount namespace without the second one.
    pub without_unified: bool,
}

impl Crun {
    /// Writes crun's default bundle, for `true` in `rootfs` and without a network namespace.
    ///
    /// # Errors
    /// If crun is not installed, or cannot run it.
    pub fn new(bundle: &Path, rootfs: &Path) -> Result<Self> {
        fs::create_dir_all(bundle)?;
        let path = bundle.join("config.json");
        let _ = fs::remove_file(&path);
        process::run_quietly(Command::new("crun").arg("spec").current_dir(bundle))?;
        let mut config: Value = serde_json::from_slice(&fs::read(&path)?)?;
        set(&mut config, "/process/args", json!(["true"]))?;
        set(&mut config, "/process/terminal", json!(false))?;
        set(&mut config, "/root", json!({ "path": rootfs, "readonly": false }))?;
        let kinds = ["pid", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({ "type": kind }));
        set(&mut config, "/linux/namespaces", json!(kinds))?;
        fs::write(&path, config.to_string())?;
        let mut crun = Self { bundle: bundle.to_owned(), without_unified: false };
        if let Err(error) = crun.run(1) {
            crun.without_unified = true;
            crun.run(1).map_err(|_| error)?;
        }
        Ok(crun)
    }

    /// Runs it this number of times.
    ///
    /// # Errors
    /// If it fails.
    pub fn run(&self, times: usize) -> Result<Samples> {
        let script = if self.without_unified {
            "umount -l /sys/fs/cgroup/unified && exec \"$@\""
        } else {
            "exec \"$@\""
        };
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation=private", "sh", "-c", script, "sh"]).arg(env::current_exe()?);
        command
            .args(["stopwatch", &times.to_string(), "crun", "run", "--bundle"])
            .arg(&self.bundle)
            .arg("ds-bench");
        let lines = String::from_utf8(process::run_quietly(&mut command)?.stdout)?;
        let parsed: Result<Vec<f64>, _> = lines.lines().map(str::parse).collect();
        Ok(parsed.context("the stopwatch did not print seconds")?.into_iter().collect())
    }
}

fn set(document: &mut Value, pointer: &str, value: Value) -> Result<()> {
    *document
        .pointer_mut(pointer)
        .with_context(|| format!("crun's default configuration has no {pointer}"))? = value;
    Ok(())
}
