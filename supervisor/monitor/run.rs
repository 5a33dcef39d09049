//! The lifecycle of a monitor: detaches from the worker, prepares the container, boots it and runs until it ends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::sys::prctl;
use nix::sys::socket::{Backlog, listen};
use nix::unistd::{chdir, setsid};

use super::clients::Clients;
use super::early::Early;
use super::firmware;
use super::last_exit;
use super::protocol::{Answer, Report};
use super::setup::{Origin, Setup};
use super::state::{Monitor, STOPPED};
use crate::call;
use crate::host::Host;
use crate::log::{self as sinks, Role};
use crate::mount::perform::trusted_proc;
use crate::socket;
use crate::subprocess::release_streams;
use crate::sys::{descriptor, process};

/// The main function of the monitor. Runs in the newly forked process and never returns.
pub fn run(setup: Setup) -> ! {
    match begin(setup) {
        Some(monitor) => process::exit_immediately(monitor.live()),
        None => process::exit_immediately(1),
    }
}

/// Boots the container; `None` if that failed and everything is undone. Not inlined: what it has on the stack would stay
/// in memory for as long as the container runs.
#[inline(never)]
fn begin(setup: Setup) -> Option<Box<Monitor>> {
    let Setup { config, once, paths, host, settings, origin } = setup;
    let name = config.name.clone();
    let Origin { listener, report } = origin;
    let clients = Clients::new(listener);
    // The state that a failure must undo; control groups are removed when they are dropped.
    let detached = detach(clients.listener(), report.as_fd(), &host, name.as_str())
        .inspect(|_| sinks::take_role(Role::daemon(&settings, &paths.supervisor_log(), false)));
    let mut early = Early::new(clients);
    let started = detached
        .and_then(|proc| Monitor::prepare((config, once), paths.clone(), host, proc, &report, &mut early))
        .and_then(|monitor| monitor.first_boot(&report, &mut early));
    match started {
        Ok(monitor) => {
            let _ = socket::send(&report, &Report::Running, &[]);
            Some(Box::new(monitor))
        }
        Err(error) => {
            firmware::take_back(&paths, &name);
            let text = if early.is_stopped() { STOPPED.to_owned() } else { format!("{error:#}") };
            last_exit::write_failed_start(&paths, &name, &text, early.is_stopped());
            let _ = std::fs::remove_file(paths.notify(&name));
            let _ = std::fs::remove_file(paths.control(&name));
            early.fail(&Answer::Failed(text.clone()));
            let _ = socket::send(&report, &Report::Failed(text), &[]);
            None
        }
    }
}

/// Detaches from the worker's session, client and descriptors.
fn detach(listener: BorrowedFd<'_>, report: BorrowedFd<'_>, host: &Host, name: &str) -> Result<OwnedFd> {
    call!(setsid(), "setsid")?;
    // Called again in this process, so that the kernel names it as the monitor to clients (SO_PEERCRED).
    call!(listen(&listener, Backlog::MAXCONN), "listen")?;
    // The worker's log must close its descriptors itself.
    sinks::take_role(Role::Client);
    let proc = trusted_proc()?;
    let kept: Vec<_> = [listener, report].into_iter().chain(host.cgroups.roots()).collect();
    call!(descriptor::close_others(&kept, proc.as_fd()), "close the worker's descriptors")?;
    release_streams()?;
    call!(chdir("/"), "chdir(/)")?;
    // For ps(1); at most 15 characters.
    let title = std::ffi::CString::new(format!("ds:{name}")).context("the name")?;
    let _ = prctl::set_name(&title);
    Ok(proc)
}
