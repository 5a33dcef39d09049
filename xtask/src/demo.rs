//! `cargo xtask demo`: boots a real Debian, uses it, reboots it from inside, shuts it down, and checks that nothing is
//! left.
//!
//! Owns the steps and their checks. Everything that it creates is in `target/demo/` and is removed in any case: at the
//! end, after an error, after Ctrl-C.

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

/// The timeout for a boot, also on a slow machine.
const REBOOT_LIMIT: Duration = Duration::from_secs(90);

/// The directories in which a `ds` that ignored `$DS_ROOT` would leave files.
const HOST_PLACES: &[&str] = &["/run/droidspaces", "/var/lib/droidspaces", "/mnt/Droidspaces"];

/// Runs the demo.
///
/// # Errors
/// The first failed check; everything that was started has then been removed.
pub fn run(workspace: &Workspace) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the demo boots a container and needs root");
    }
    let program = binary::build(workspace, Profile::Release)?;
    let [bookworm] = &fixture::ensure(workspace, &["bookworm"])?[..] else { bail!("no bookworm fixture") };
    let interrupt = Interrupt::catch()?;
    let ds = Droidspaces::new(program, workspace.target("demo"));
    ds.clear().context("cannot remove the files of the last demo")?;
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
    // The reboot may cut off the output of this command.
    ds.transcript(&["run", "demo", "--", "systemctl", "reboot"])?;
    let new = ds.wait_for_new_pid("demo", pid, REBOOT_LIMIT, interrupt)?;
    terminal::line(format_args!("# rebooted: PID 1 was {pid} on the host and is now {new}"));
    // Returns immediately for a container that is already up.
    ds.show(&["start", "demo", "--wait"])?;
    must_be_running(ds)?;
    interrupt.check()?;

    ds.show(&["stop", "demo"])?;
    ds.show(&["list"])?;
    ds.show(&["rm", "demo"])?;
    ds.show(&["supervisor", "stop"])?;
    interrupt.check()?;
    // Checked before anything is removed by force.
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

/// Checks that systemd reports all units as running; the error names the others.
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
