//! `cargo xtask demo`: a real Debian booted, used, rebooted from inside, shut down, and no trace of it afterwards.
//!
//! Owns the story and its checks. Everything it makes is below `target/demo/`, and goes whatever happens: at the end,
//! after an error, after Ctrl-C.

use crate::binary::{self, Profile};
use crate::droidspaces::Droidspaces;
use crate::interrupt::Interrupt;
use crate::traces::Traces;
use crate::workspace::Workspace;
use crate::{fixture, terminal};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// More than a slow machine needs to boot.
const REBOOT_LIMIT: Duration = Duration::from_secs(90);

/// Where a `ds` that ignored `$DS_ROOT` would leave something.
const HOST_PLACES: &[&str] = &["/run/droidspaces", "/var/lib/droidspaces", "/mnt/Droidspaces"];

/// Runs the demo.
///
/// # Errors
/// The first thing that is not as it must be; whatever was started is gone by then.
pub fn run(workspace: &Workspace) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the demo boots a container and needs root");
    }
    let program = binary::build(workspace, Profile::Release)?;
    let [bookworm] = &fixture::ensure(workspace, &["bookworm"])?[..] else { bail!("no bookworm fixture") };
    let interrupt = Interrupt::catch()?;
    let ds = Droidspaces::new(program, workspace.target("demo"));
    ds.clear().context("cannot put the last demo away")?;
    let before = Traces::look(ds.root())?;
    let host_before = existing(HOST_PLACES);
    let story = tell(&ds, bookworm, &interrupt);
    let cleared = ds.clear();
    story?;
    cleared?;
    let after = Traces::look(ds.root())?;
    let left: Vec<_> = after.since(&before).collect();
    if !left.is_empty() {
        bail!("left behind:\n  {}", left.join("\n  "));
    }
    if existing(HOST_PLACES) != host_before {
        bail!("left behind: one of {}", HOST_PLACES.join(", "));
    }
    terminal::line("\nNothing is left: no mount, loop device, cgroup, process or file.");
    Ok(())
}

fn tell(ds: &Droidspaces, bookworm: &Path, interrupt: &Interrupt) -> Result<()> {
    let rootfs = ds.root().join("rootfs");
    fs::create_dir_all(ds.root())?;
    terminal::line(format_args!("\n$ cp --archive {} {}", bookworm.display(), rootfs.display()));
    fixture::copy(bookworm, &rootfs)?;
    let before = Traces::look(ds.root())?;
    let rootfs = rootfs.to_str().context("the path of the source tree is not UTF-8")?;
    ds.show(&["create", "demo", "--rootfs", rootfs])?;
    ds.show(&["start", "demo", "--wait"])?;
    interrupt.check()?;
    ds.show(&["list"])?;
    ds.show(&["info", "demo"])?;
    must_be_running(ds)?;
    interrupt.check()?;

    let pid = ds.pid("demo")?;
    // The answer may be cut off by the very reboot it asks for.
    ds.transcript(&["run", "demo", "--", "systemctl", "reboot"])?;
    let new = ds.wait_for_new_pid("demo", pid, REBOOT_LIMIT, interrupt)?;
    terminal::line(format_args!("# rebooted: PID 1 was {pid} on the host and is now {new}"));
    // Returns at once for a container that is already up.
    ds.show(&["start", "demo", "--wait"])?;
    must_be_running(ds)?;
    interrupt.check()?;

    ds.show(&["stop", "demo"])?;
    ds.show(&["list"])?;
    ds.show(&["rm", "demo"])?;
    ds.show(&["supervisor", "stop"])?;
    interrupt.check()?;
    // Before anything is put away by force: a clean end needs no help.
    let after = Traces::look(ds.root())?;
    let left: Vec<_> = after.since(&before).collect();
    if !left.is_empty() {
        bail!("still there after `ds supervisor stop`:\n  {}", left.join("\n  "));
    }
    for gone in ["data/containers/demo", "run/containers/demo", "run/supervisor.sock"] {
        if ds.root().join(gone).exists() {
            bail!("still there after `ds rm` and `ds supervisor stop`: {gone}");
        }
    }
    Ok(())
}

/// systemd's own word that every unit it was asked for is up; anything less names the units.
fn must_be_running(ds: &Droidspaces) -> Result<()> {
    let output = ds.transcript(&["run", "demo", "--", "systemctl", "is-system-running"])?;
    if output.stdout.trim_ascii() == b"running" && output.status.success() {
        return Ok(());
    }
    ds.transcript(&["run", "demo", "--", "systemctl", "--no-pager", "--failed"])?;
    bail!("systemd is not `running`");
}

fn existing(places: &[&str]) -> Vec<bool> {
    places.iter().map(|place| Path::new(place).exists()).collect()
}
