//! A temporary container: a separate mount namespace for one program, without an init system or a monitor.
//!
//! Its control groups only enforce its device policy. They are named after the worker, which removes them.
//! worker ─ clone → PID 1 (of ds: reaps children, forwards signals) ─ fork → the program. All mounts are in the child's
//! mount namespace and end with it. PID 1 dies with the worker, and every process inside with PID 1. On kernels without
//! PID namespaces, the same process does the same work with another process id.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{Pid, fchdir, getpid, sethostname};

use super::attach::take_oom_score;
use super::shell_calls;
use crate::cgroup::{self, Cgroup};
use crate::child::clocks::Clocks;
use crate::child::init::enter_tree;
use crate::child::program::{Program, Running};
use crate::child::wire::{FromChild, Wire};
use crate::host::Host;
use crate::host::namespace::NEW_TIME;
use crate::mount::perform::{Performer, bind_onto_itself, enter_proc, show_as_first, trusted_proc};
use crate::network::Attachment;
use crate::paths::Paths;
use crate::plan::privileges::Filter;
use crate::plan::shell::ShellPlan;
use crate::pty::{self, Pty};
use crate::rootfs::root::Root;
use crate::subprocess::Subprocess;
use crate::sys::process::{self, Ended, Fork};
use crate::sys::{descriptor, network};
use crate::{call, privilege, socket};

/// Exit code of PID 1 if it fails: that of `ds` for a program that was not started.
const FAILED: i32 = 125;

/// Prefix of the groups of temporary containers. No container has such a name.
const GROUP: &str = ".shell-";

/// Creates the groups of the temporary container of this worker; dropping them removes them.
///
/// # Errors
/// If the kernel refuses.
pub fn groups(host: &Host, paths: &Paths, plan: &ShellPlan) -> Result<Cgroup> {
    let name = group(getpid());
    // They also identify its processes.
    let kept = plan.terms.filters.contains(&Filter::Processes);
    Cgroup::for_devices(&host.cgroups, &paths.cgroup, &name, &plan.devices, kept)
}

fn group(worker: Pid) -> String {
    format!("{GROUP}{worker}")
}

/// Removes the groups of killed workers.
pub fn sweep(host: &Host, paths: &Paths) {
    for name in cgroup::names(&host.cgroups, &paths.cgroup) {
        let pid = name.strip_prefix(GROUP).and_then(|number| number.parse().ok());
        if pid.is_some_and(|pid| process::kill(Pid::from_raw(pid), 0) == Err(Errno::ESRCH)) {
            cgroup::sweep(&host.cgroups, &paths.cgroup, &name);
        }
    }
    cgroup::sweep_bases(&host.cgroups, &paths.cgroup);
}

/// The input of a temporary container.
#[derive(Debug)]
pub struct ThrowAway<'a> {
    /// The plan.
    pub plan: &'a ShellPlan,
    /// The directory.
    pub path: &'a Path,
    /// The same directory, opened when it was inspected.
    pub root: &'a Root,
    /// The control groups that enforce its device policy.
    pub groups: &'a Cgroup,
    /// The name of the directory of all control groups of ds.
    pub base: String,
    /// The program to run.
    pub program: &'a Program,
    /// Whether to allocate a terminal.
    pub terminal: bool,
    /// Its place in a network, with `network.mode = nat`.
    pub network: Option<&'a Attachment>,
}

impl ThrowAway<'_> {
    /// Creates the container and starts the program. Without a PID namespace, the second process answers its calls.
    ///
    /// # Errors
    /// Errors before the clone; later ones are reported on the wire.
    pub fn start(&self) -> Result<(Running, Option<Subprocess>)> {
        let proc = trusted_proc()?;
        take_oom_score(proc.as_fd(), self.plan.terms.oom_score)?;
        call!(prctl::set_dumpable(false), "prctl(PR_SET_DUMPABLE)")?;
        let (ours, theirs) = socket::pair()?;
        let answers = self.program.is_answered().then(socket::pair).transpose()?;
        let worker = getpid();
        let joining = self.groups.joining_payload()?;
        let mut flags = self.plan.namespaces & !(libc::CLONE_NEWCGROUP | NEW_TIME);
        let inside = self.network.map(Attachment::enter).transpose()?;
        if inside.is_some() {
            // The child is born in the namespace that is ready for it.
            flags &= !libc::CLONE_NEWNET;
        }
        // This worker clones nothing else.
        let _clocks = Clocks::begin(proc.as_fd(), self.plan.namespaces)?;
        let cloned = call!(process::clone(flags, joining.directory()), "clone({flags:#x})")?;
        let child = match cloned.side {
            Fork::Parent(child) => {
                drop(inside);
                child
            }
            Fork::Child => {
                drop(ours);
                let wire = Wire::new(theirs);
                let joined = joining.join(cloned.in_cgroup);
                let Err(error) = joined
                    .and_then(|()| self.become_first(&proc, &wire, answers.as_ref().map(|pair| &pair.1)));
                wire.fail(&error);
                process::exit_immediately(FAILED)
            }
        };
        drop(theirs);
        let answers = answers.map(|pair| pair.0);
        let group = group(worker);
        let begin =
            |connection: &OwnedFd| shell_calls::begin(connection, child, [&self.base, &group], self.groups);
        let answers = answers.as_ref().map(begin).transpose()?;
        let terminal = if self.terminal { Some(hear_of_terminal(&ours)?) } else { None };
        Ok((Running { child, wire: ours, terminal, says_begun: false, groups: None }, answers))
    }

    /// The main function of PID 1.
    fn become_first(&self, proc: &OwnedFd, wire: &Wire, answers: Option<&OwnedFd>) -> Result<Infallible> {
        call!(process::set_parent_death_signal(Signal::SIGKILL), "prctl(PR_SET_PDEATHSIG)")?;
        if wire.is_abandoned() {
            bail!("the worker has ended");
        }
        if self.plan.namespaces & libc::CLONE_NEWCGROUP != 0 {
            // Only now, so that the namespace begins at the group that was just joined.
            call!(unshare(CloneFlags::CLONE_NEWCGROUP), "unshare(CLONE_NEWCGROUP)")?;
        }
        if answers.is_some() {
            call!(prctl::set_child_subreaper(true), "prctl(PR_SET_CHILD_SUBREAPER)")?;
        }
        let (terminal, silent) = self.build_tree(proc, wire)?;
        enter_tree(self.plan.shared)?;
        if self.plan.namespaces & libc::CLONE_NEWUTS != 0 {
            call!(sethostname(&self.plan.hostname), "sethostname({})", self.plan.hostname)?;
        }
        if self.plan.namespaces & libc::CLONE_NEWNET != 0 {
            call!(network::bring_loopback_up(), "bring lo up")?;
        }
        privilege::drop_capabilities(&self.plan.terms.dropped)?;
        // Signals are pending until they are read. The program unblocks all of them for itself.
        call!(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None), "sigprocmask")?;
        match call!(process::fork(), "fork")? {
            Fork::Child => {
                let peer = terminal.as_ref().map(|terminal| terminal.peer.as_fd());
                let failure = self
                    .program
                    .execute(peer, proc.as_fd(), wire, &|listener| shell_calls::hand_over(answers, listener));
                wire.fail(&failure.error);
                process::exit_immediately(failure.code.number().into())
            }
            Fork::Parent(program) => {
                // One descriptor is kept, because processes in the container read from it. All others are closed, so
                // that the end of the program's output is visible outside.
                if let Some(silent) = &silent {
                    call!(descriptor::make_standard(silent.as_fd(), 0), "dup2(silent, 0)")?;
                }
                let first = u32::from(silent.is_some());
                call!(descriptor::close_from(first, proc.as_fd()), "close_range({first})")?;
                process::exit_immediately(tend(program))
            }
        }
    }

    /// Builds the tree, makes it the working directory, and opens the terminal of the program. The second part of the
    /// result keeps readers of silent files blocked.
    fn build_tree(&self, proc: &OwnedFd, wire: &Wire) -> Result<(Option<Pty>, Option<OwnedFd>)> {
        enter_proc(proc.as_fd())?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        call!(mount(None::<&str>, "/", None::<&str>, private, None::<&str>), "mount(/, private)")?;
        let performer = Performer::new(bind_onto_itself(self.path, self.root.directory())?)?;
        for operation in &self.plan.operations {
            if let Some(warning) = performer.perform(operation)? {
                // Standard error is still the client's.
                log::warn!("{warning}");
            }
        }
        if self.program.is_answered() {
            show_as_first(&performer, getpid())?;
        }
        let terminal = self.terminal.then(|| pty::open(performer.root())).transpose()?;
        if let Some(terminal) = &terminal {
            terminal.give_to(self.program.user())?;
            wire.send_terminal(terminal, None)?;
        }
        call!(fchdir(performer.root().directory()), "fchdir(the new root)")?;
        Ok((terminal, performer.take_silent()))
    }
}

/// Waits for the terminal that the child opens in the container's tree.
fn hear_of_terminal(wire: &OwnedFd) -> Result<Pty> {
    let received = socket::receive::<FromChild>(wire)?.context("the new process died")?;
    let mut descriptors = received.descriptors.into_iter();
    match (received.message, descriptors.next(), descriptors.next()) {
        (FromChild::Console, Some(master), Some(peer)) => Ok(Pty { master, peer }),
        (FromChild::Failed(failed), ..) => Err(failed.into()),
        _ => bail!("the new process sent an unexpected message"),
    }
}

/// The loop of PID 1 until the program has ended: reaps orphans and forwards signals. Returns the program's exit code,
/// as a shell would.
fn tend(program: Pid) -> i32 {
    let all = SigSet::all();
    loop {
        while let Ok(Some((pid, ended))) = process::reap(None) {
            match ended {
                _ if pid != program => {}
                Ended::Exited(code) => return code.into(),
                Ended::Signalled(signal) => return 128 + i32::from(signal),
            }
        }
        match all.wait() {
            Ok(Signal::SIGCHLD) => {}
            Ok(signal) => {
                let number = signal as i32;
                // The program leads a process group as soon as it runs.
                if process::kill(Pid::from_raw(-program.as_raw()), number) == Err(Errno::ESRCH) {
                    let _ = process::kill(program, number);
                }
            }
            // A real-time signal, which ds does not use.
            Err(_) => {}
        }
    }
}
