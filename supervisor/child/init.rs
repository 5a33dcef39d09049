//! From clone(2) to /sbin/init: the steps of the new process before it becomes PID 1 of the container.
//!
//! Owns their order. The monitor prepares everything that can be prepared before the clone; the child only makes system
//! calls, reports to its monitor on the wire, and never returns.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use nix::unistd::{chdir, chroot, execve, fchdir, getpid, pivot_root, sethostname, setsid};

use super::refusal;
use super::wire::{FromChild, Wire};
use crate::cgroup::Joining;
use crate::config::value::Size;
use crate::fault;
use crate::mount::op::Operation;
use crate::mount::perform::{Performer, bind_onto_itself, bind_over, enter_proc, show_as_first};
use crate::plan::{Plan, Volatile};
use crate::privilege::Filters;
use crate::rootfs::overlay;
use crate::rootfs::root::Root;
use crate::seed::apply::SeedMode;
use crate::sys::{descriptor, network, process, signal};
use crate::{call, privilege, pty, seed};

/// Magic number of ramfs, statfs(2): the root file system of a machine that still runs from its initramfs.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// The input of the child.
#[derive(Debug)]
pub struct Prepared<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Steps for this start, such as the notification socket.
    pub operations: &'a [Operation],
    /// The path of the root file system on the host.
    pub root_path: &'a Path,
    /// The same directory, opened when it was inspected.
    pub root: BorrowedFd<'a>,
    /// The trusted /proc.
    pub proc: BorrowedFd<'a>,
    /// The control groups to join.
    pub joining: &'a Joining,
    /// The seeding of the tree, and the path of its record.
    pub seed: (&'a seed::Facts, &'a Path),
    /// The lines of other containers of its network in /etc/hosts.
    pub names: &'a str,
    /// Compiled filters.
    pub filters: &'a Filters,
    /// The program of PID 1 with its arguments.
    pub command: &'a [CString],
    /// Its environment.
    pub environment: &'a [CString],
}

/// Becomes PID 1. On failure, reports to the monitor and ends.
pub fn run(prepared: &Prepared<'_>, wire: &Wire, in_cgroup: bool) -> ! {
    let Err(error) = boot(prepared, wire, in_cgroup);
    wire.fail(&error);
    process::exit_immediately(1)
}

fn boot(prepared: &Prepared<'_>, wire: &Wire, in_cgroup: bool) -> Result<Infallible> {
    let plan = prepared.plan;
    call!(process::set_parent_death_signal(Signal::SIGKILL), "prctl(PR_SET_PDEATHSIG)")?;
    fault::point("born")?;
    prepared.joining.join(in_cgroup)?;
    fault::point("joined")?;
    if prepared.filters.answered {
        // Orphans become its children, as they become those of a PID namespace's first process.
        call!(prctl::set_child_subreaper(true), "prctl(PR_SET_CHILD_SUBREAPER)")?;
    }
    if plan.namespaces & libc::CLONE_NEWCGROUP != 0 {
        // After joining, so that the namespace begins at the joined group.
        call!(unshare(CloneFlags::CLONE_NEWCGROUP), "unshare(CLONE_NEWCGROUP)")?;
    }
    set_oom_score(prepared.proc, plan.oom_score, wire)?;
    let console = build_tree(prepared, wire)?;
    fault::point("built")?;
    if let Some(warning) = enter_tree(plan.shared)? {
        wire.send(&FromChild::Warning(warning.to_owned()))?;
    }
    fault::point("entered")?;
    call!(sethostname(&plan.hostname), "sethostname({})", plan.hostname)?;
    if plan.namespaces & libc::CLONE_NEWNET != 0 {
        call!(network::bring_loopback_up(), "bring lo up")?;
    }
    call!(setsid(), "setsid")?;
    for number in 0..=2 {
        call!(descriptor::make_standard(console.as_fd(), number), "dup2(console, {number})")?;
    }
    drop(console);
    if let Some(listener) = privilege::give_up(&plan.dropped, prepared.filters)? {
        wire.send_listener(&listener)?;
    }
    call!(descriptor::close_on_exec_from(3, prepared.proc), "close_range(3, CLOEXEC)")?;
    call!(signal::reset_all(), "sigaction")?;
    umask(Mode::from_bits_truncate(0o022));
    if !call!(process::working_directory_is_inside(), "getcwd")? {
        bail!("the working directory is outside the container");
    }
    fault::point("stripped")?;
    wire.send(&FromChild::Ready)?;
    fault::point("ready")?;
    execute(prepared)
}

fn set_oom_score(proc: BorrowedFd<'_>, score: i32, wire: &Wire) -> Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let file = call!(openat(proc, "self/oom_score_adj", flags, Mode::empty()), "open(self/oom_score_adj)")?;
    if let Err(error) = File::from(file).write_all(score.to_string().as_bytes()) {
        wire.send(&FromChild::Warning(format!("cannot set the oom score {score}: {error}")))?;
    }
    Ok(())
}

/// Builds the container's file tree and opens its console.
fn build_tree(prepared: &Prepared<'_>, wire: &Wire) -> Result<OwnedFd> {
    let plan = prepared.plan;
    enter_proc(prepared.proc)?;
    let operations = || plan.operations.iter().chain(prepared.operations);
    let follows = operations().any(|operation| matches!(operation, Operation::Follow { .. }));
    let propagation = if follows { MsFlags::MS_SLAVE } else { MsFlags::MS_PRIVATE };
    let flags = MsFlags::MS_REC | propagation;
    call!(mount(None::<&str>, "/", None::<&str>, flags, None::<&str>), "mount(/, {propagation:?})")?;
    let mut root = bind_onto_itself(prepared.root_path, prepared.root)?;
    if let Some(Volatile { size }) = plan.volatile {
        root = overlay::cover(&root, prepared.root_path, size.map(Size::bytes))?;
    }
    sow(prepared, &root, wire)?;
    let mut performer = Performer::new(root)?;
    if follows {
        performer.follow_what_is_asked_for()?;
    }
    for operation in operations() {
        if let Some(warning) = performer.perform(operation)? {
            wire.send(&FromChild::Warning(warning))?;
        }
    }
    if prepared.filters.answered {
        show_as_first(&performer, getpid())?;
    }
    let console = pty::open(performer.root()).context("open the console")?;
    bind_over(&performer, &console.peer, "/dev/console", 0o620)?;
    wire.send_terminal(&console, performer.take_silent().as_ref())?;
    call!(fchdir(performer.root().directory()), "fchdir(the new root)")?;
    Ok(console.peer)
}

/// Seeds the tree. An error is a warning: the container starts unseeded.
fn sow(prepared: &Prepared<'_>, root: &Root, wire: &Wire) -> Result<()> {
    let (facts, ledger) = prepared.seed;
    let mode = if prepared.plan.volatile.is_some() { SeedMode::Volatile } else { SeedMode::Persistent };
    let mut warnings = match seed::apply::apply(root, ledger, facts, mode) {
        Ok(report) => report.warnings,
        Err(error) => vec![format!("cannot seed its root file system: {error:#}")],
    };
    if !prepared.names.is_empty()
        && let Err(error) = seed::neighbours::write(root, prepared.names)
    {
        warnings.push(format!("cannot write the names of other containers: {error:#}"));
    }
    warnings.into_iter().try_for_each(|warning| wire.send(&FromChild::Warning(warning)))
}

/// Makes the working directory the root directory and detaches the host's tree; returns a warning if that can be
/// undone.
pub fn enter_tree(shared: bool) -> Result<Option<&'static str>> {
    let mut warning = None;
    match pivot_root(".", ".") {
        // The old root is now mounted over the new one, at the same path: pivot_root(2), "pivot_root(".", ".")".
        Ok(()) => call!(umount2(".", MntFlags::MNT_DETACH), "umount2(the old root)")?,
        Err(Errno::EINVAL) if is_initial_ramfs() => {
            // The initial root cannot be replaced by pivot_root(2). A mount over it hides it, and root can remove that
            // mount.
            warning = Some(
                "this machine runs from its initramfs: root in the container can reach the host's files",
            );
            call!(mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>), "mount(., /, move)")?;
            call!(chroot("."), "chroot(.)")?;
        }
        Err(errno) => call!(Err(errno), "pivot_root(., .)")?,
    }
    call!(chdir("/"), "chdir(/)")?;
    if shared {
        let shared = MsFlags::MS_REC | MsFlags::MS_SHARED;
        call!(mount(None::<&str>, "/", None::<&str>, shared, None::<&str>), "mount(/, shared)")?;
    }
    Ok(warning)
}

fn is_initial_ramfs() -> bool {
    statfs("/").is_ok_and(|status| [RAMFS_MAGIC, TMPFS_MAGIC].contains(&status.filesystem_type()))
}

fn execute(prepared: &Prepared<'_>) -> Result<Infallible> {
    let Some(program) = prepared.command.first() else { bail!("there is no program to execute") };
    let Err(errno) = execve(program, prepared.command, prepared.environment);
    Err(refusal::explain(program, errno))
}
