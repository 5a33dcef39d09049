//! Joins a running container: one more process in its namespaces and control groups.
//!
//! Everything is derived from one process that was verified to be the container's PID 1: its pidfd or open /proc/PID,
//! and its start time according to its monitor. The worker itself joins only the PID namespace, which applies to its
//! children; the child joins the groups, then all other namespaces. setns(2), pidfd_open(2), namespaces(7).

use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Error, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::prctl;
use nix::sys::stat::{self, Mode, fstat};
use nix::unistd::{Pid, chroot, fchdir, getpid};

use super::talk::Talk;
use crate::call;
use crate::cgroup::{Joining, Leaf};
use crate::child::program::{Failure, Program, Running};
use crate::child::wire::{FromChild, Wire};
use crate::config::value::Name;
use crate::host::Host;
use crate::host::namespace::KINDS;
use crate::monitor::protocol::{Answer, ControlRequest, State, Status};
use crate::mount::perform::trusted_proc;
use crate::paths::Paths;
use crate::plan::privileges::Filter;
use crate::plan::terms::Terms;
use crate::privilege;
use crate::proc_stat;
use crate::pty::{self, Pty};
use crate::rootfs::root::Root;
use crate::socket;
use crate::sys::process::{self, Fork};
use crate::sys::{errno_of, unsupported};
use crate::worker::client::Client;

/// A running container, by its PID 1.
#[derive(Debug)]
pub struct Target {
    /// /proc/PID of the process; the descriptor never refers to a later process with the same number.
    process: OwnedFd,
    handle: Handle,
    /// `CLONE_NEW*` of the namespaces that belong to the container.
    namespaces: libc::c_int,
    terms: Option<Box<Terms>>,
    root: Root,
}

/// The arguments for setns(2).
#[derive(Debug)]
enum Handle {
    /// By the process itself (5.8).
    Process(OwnedFd),
    /// One file for each namespace.
    Files(Vec<(libc::c_int, OwnedFd)>),
}

/// The error for a container that ended during the operation.
const GONE: &str = "it ended in the meantime";

fn ended(error: impl Into<Error>) -> Error {
    let error = error.into();
    match errno_of(&error) {
        Some(Errno::ENOENT | Errno::ESRCH) => Error::msg(GONE),
        _ => error,
    }
}

/// A container's PID 1, to check later whether it has ended.
#[derive(Debug)]
pub struct Life {
    process: OwnedFd,
}

impl Life {
    /// Replaces an error that the end of the container has caused.
    #[must_use]
    pub fn explain(&self, error: Error) -> Error {
        let lives = stat(&self.process).is_some_and(|text| !proc_stat::is_exiting(&text));
        // ESRCH: a process that was looked up by its number.
        if lives && errno_of(&error) != Some(Errno::ESRCH) { error } else { Error::msg(GONE) }
    }
}

impl Target {
    /// Finds PID 1 of a running container. `said` is the last status of its monitor, which saves a request: if the
    /// process is still the same, it is still the container's.
    ///
    /// # Errors
    /// If the container is not running.
    pub fn find(paths: &Paths, client: &Client, name: &Name, said: Option<&Status>) -> Result<Self> {
        if let Some(status) = said.filter(|status| status.state == State::Running)
            && let Ok(target) = Self::of(status)
        {
            return Ok(target);
        }
        let talk = Talk::open(paths, client, name)?;
        match talk.map(|talk| talk.status()).transpose()?.flatten() {
            Some(status) if status.state == State::Starting || status.state == State::Restarting => {
                bail!("it is {}; wait with 'ds start --wait {name}'", status.state.as_str())
            }
            Some(status) => Self::of(&status),
            None if paths.container(name).is_dir() => bail!("not running; start it with 'ds start {name}'"),
            None => bail!("no such container; see 'ds list'"),
        }
    }

    fn of(status: &Status) -> Result<Self> {
        let (Some(pid), Some(started)) = (status.pid, status.pid_started) else { bail!(GONE) };
        let pid = Pid::from_raw(pid);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let path = format!("/proc/{pid}");
        let process =
            call!(nix::fcntl::open(path.as_str(), flags, Mode::empty()), "open({path})").map_err(ended)?;
        let pidfd = match process::pidfd_open(pid) {
            Ok(pidfd) => Some(pidfd),
            Err(errno) if unsupported(errno) || errno == Errno::EPERM => None,
            Err(errno) => Some(call!(Err(errno), "pidfd_open({pid})").map_err(ended)?),
        };
        // Checked after both were opened: if it holds, the number referred to that process all the time.
        if stat(&process).and_then(|text| proc_stat::start_time(&text)) != Some(started) {
            bail!(GONE);
        }
        let root =
            call!(openat(&process, "root", flags, Mode::empty()), "open({path}/root)").map_err(ended)?;
        let identity = |status: stat::FileStat| (status.st_dev, status.st_ino);
        if identity(call!(fstat(&root), "fstat")?) == identity(call!(stat::stat("/"), "stat(/)")?) {
            bail!("its root directory is the host's");
        }
        let handle = pidfd.map_or_else(|| Handle::Files(Vec::new()), Handle::Process);
        let (namespaces, terms) = (status.namespaces, status.terms.clone());
        Ok(Self { process, handle, namespaces, terms, root: Root::new(root) })
    }

    /// Returns a handle to check later whether the container has ended.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn life(&self) -> Result<Life> {
        Ok(Life { process: self.process.try_clone().context("dup")? })
    }

    /// The settings for every process in the container, if its monitor sent them.
    #[must_use]
    pub fn terms(&self) -> Option<&Terms> {
        self.terms.as_deref()
    }

    /// The container's file tree.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Makes later children of this process members of the container's PID namespace.
    fn children_join(&mut self) -> Result<()> {
        if self.namespaces & libc::CLONE_NEWPID == 0 {
            return Ok(());
        }
        if let Handle::Process(pidfd) = &self.handle {
            match process::setns(pidfd.as_fd(), libc::CLONE_NEWPID) {
                Err(Errno::EINVAL) => self.handle = Handle::Files(Vec::new()),
                other => return Ok(call!(other, "setns(pidfd, CLONE_NEWPID)")?),
            }
        }
        let files = self.open_files()?;
        for (flag, file) in &files {
            if *flag == libc::CLONE_NEWPID {
                call!(process::setns(file.as_fd(), *flag), "setns(ns/pid)")?;
            }
        }
        self.handle = Handle::Files(files);
        Ok(())
    }

    /// The namespace files, mnt last: after it, host paths cannot be resolved.
    fn open_files(&self) -> Result<Vec<(libc::c_int, OwnedFd)>> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let mut files = Vec::new();
        for kind in KINDS.iter().rev().filter(|kind| self.namespaces & kind.flag != 0) {
            let path = format!("ns/{}", kind.file);
            let file = call!(openat(&self.process, path.as_str(), flags, Mode::empty()), "open({path})")?;
            files.push((kind.flag, file));
        }
        Ok(files)
    }

    /// Joins all namespaces except the PID namespace, and changes to the root directory of PID 1.
    fn join(&self) -> Result<()> {
        match &self.handle {
            Handle::Process(pidfd) => {
                let flags = self.namespaces & !libc::CLONE_NEWPID;
                call!(process::setns(pidfd.as_fd(), flags), "setns(pidfd, {flags:#x})")?;
            }
            Handle::Files(files) => {
                for (flag, file) in files.iter().filter(|(flag, _)| *flag != libc::CLONE_NEWPID) {
                    call!(process::setns(file.as_fd(), *flag), "setns({flag:#x})")?;
                }
            }
        }
        let identity = |status: stat::FileStat| (status.st_dev, status.st_ino);
        let wanted = identity(call!(fstat(self.root.directory()), "fstat(the root)")?);
        if identity(call!(stat::stat("/"), "stat(/)")?) != wanted {
            // PID 1 has changed its root directory since its start, for example from an initial RAM disk.
            call!(fchdir(self.root.directory()), "fchdir(the root)")?;
            call!(chroot("."), "chroot(.)")?;
        }
        Ok(())
    }
}

/// The content of /proc/PID/stat, from the directory of a process in /proc.
fn stat(process: &OwnedFd) -> Option<String> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(process, "stat", flags, Mode::empty()).ok()?);
    // The kernel returns the line in one read: 52 numbers and a name of at most 64 bytes.
    let mut buffer = [0_u8; 2048];
    let length = file.read(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// The input for starting a program in a running container.
#[derive(Debug)]
pub struct Attachment<'a> {
    /// The container.
    pub target: Target,
    /// The program.
    pub program: &'a Program,
    /// The settings for every process in the container.
    pub terms: &'a Terms,
    /// Whether to allocate a terminal.
    pub terminal: bool,
}

impl Attachment<'_> {
    /// Starts the program. The worker stays in its own namespaces, but must not start anything else afterwards.
    ///
    /// # Errors
    /// If the container is frozen or ends in the meantime, or the kernel refuses.
    pub fn start(&mut self, host: &Host, paths: &Paths, name: &Name) -> Result<Running> {
        match self.start_in(Leaf::Present, host, paths, name) {
            Err(error) if errno_of(&error).is_some_and(group_refuses) => self.start_again(host, paths, name),
            other => other,
        }
    }

    /// Starts the program again, after its control group was found to kill new processes.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn start_again(&mut self, host: &Host, paths: &Paths, name: &Name) -> Result<Running> {
        self.start_in(Leaf::Renewed, host, paths, name)
    }

    fn start_in(&mut self, leaf: Leaf, host: &Host, paths: &Paths, name: &Name) -> Result<Running> {
        let proc = trusted_proc()?;
        let terminal = self.terminal.then(|| pty::open(self.target.root())).transpose()?;
        if let Some(terminal) = &terminal {
            terminal.give_to(self.program.user())?;
        }
        let joining = Joining::of_session(&host.cgroups, &paths.cgroup, name.as_str(), leaf)?;
        take_oom_score(proc.as_fd(), self.terms.oom_score)?;
        call!(prctl::set_dumpable(false), "prctl(PR_SET_DUMPABLE)")?;
        self.target.children_join()?;
        // Connected here: the child has another file tree.
        let answers = self.terms.filters.contains(&Filter::Processes);
        let monitor = answers.then(|| socket::connect_to(&paths.control(name))?.context(GONE)).transpose()?;
        privilege::drop_capabilities(&self.terms.dropped)?;
        let (ours, theirs) = socket::pair()?;
        let cloned = call!(process::clone(0, joining.directory()), "clone")?;
        match cloned.side {
            Fork::Parent(child) => {
                let (says_begun, groups) = (cloned.in_cgroup, Some(joining));
                Ok(Running { child, wire: ours, terminal, says_begun, groups })
            }
            Fork::Child => {
                drop(ours);
                let in_cgroup = cloned.in_cgroup;
                let child = SessionProcess { attachment: self, joining, in_cgroup, proc, monitor };
                child.run(terminal.as_ref(), &Wire::new(theirs))
            }
        }
    }
}

/// Whether a group accepts no process: it is threaded, has controllers for groups below it, or has reached its limit of
/// processes.
fn group_refuses(errno: Errno) -> bool {
    matches!(errno, Errno::EOPNOTSUPP | Errno::EBUSY | Errno::EAGAIN)
}

/// The new process, until it executes the program.
struct SessionProcess<'a> {
    attachment: &'a Attachment<'a>,
    joining: Joining,
    in_cgroup: bool,
    proc: OwnedFd,
    /// Connected to the monitor, if that answers the calls of the container's processes.
    monitor: Option<OwnedFd>,
}

impl SessionProcess<'_> {
    fn run(&self, terminal: Option<&Pty>, wire: &Wire) -> ! {
        if self.in_cgroup {
            // The end of the process also ends a session that has already continued.
            let _ = wire.send(&FromChild::Begun);
        }
        let Err(Failure { code, error }) = self.become_program(terminal, wire);
        wire.fail(&error);
        process::exit_immediately(code.number().into())
    }

    fn become_program(&self, terminal: Option<&Pty>, wire: &Wire) -> Result<Infallible, Failure> {
        let peer = terminal.map(|terminal| terminal.peer.as_fd());
        // Before the namespaces: if the hierarchy is delegated by namespace, joining from inside is not permitted.
        self.joining.join(self.in_cgroup)?;
        self.attachment.target.join()?;
        let own = getpid();
        let hand_over = |listener: &OwnedFd| self.hand_over(listener, own);
        Err(self.attachment.program.execute(peer, self.proc.as_fd(), wire, &hand_over))
    }

    /// The monitor answers the calls of this process from now on.
    fn hand_over(&self, listener: &OwnedFd, own: Pid) -> Result<()> {
        let monitor = self.monitor.as_ref().context(GONE)?;
        let request = ControlRequest::Listener { process: own.as_raw() };
        socket::send(monitor, &request, &[listener.as_fd()])?;
        match socket::receive::<Answer>(monitor)?.map(|received| received.message) {
            Some(Answer::Done) => Ok(()),
            Some(Answer::Failed(text)) => bail!("{text}"),
            _ => bail!(GONE),
        }
    }
}

/// The worker has the supervisor's score, which protects it from the OOM killer; its child gets the container's score.
pub(super) fn take_oom_score(proc: BorrowedFd<'_>, score: i32) -> Result<()> {
    let path = Path::new("self/oom_score_adj");
    let file =
        call!(openat(proc, path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()), "open({path:?})")?;
    match File::from(file).write_all(score.to_string().as_bytes()) {
        // Lowering it needs CAP_SYS_RESOURCE; without it, the score is unchanged.
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => Ok(()),
        other => other.context("set oom_score_adj"),
    }
}
