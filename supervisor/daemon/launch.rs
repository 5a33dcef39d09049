//! Launches the supervisor from a shell: refuses unsuitable shells, forks, and waits until the supervisor listens.
//!
//! Owns the launch lock and the readiness pipe. The process executes a protected copy of the program with a clean
//! environment; [`MARKER`] tells the copy its role. fork(2), setsid(2), flock(2), pipe(7).

use std::convert::Infallible;
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, OFlag, fcntl};
use nix::poll::PollTimeout;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, chdir, pipe2, setsid};

use super::environment::{FOREGROUND, MARKER, SUCCESSOR, environment};
use super::handover::State;
use super::{detach, seal};
use crate::call;
use crate::paths::{self, Paths, own_root};
use crate::platform;
use crate::poll::wait_for_input;
use crate::socket;
use crate::subprocess::release_streams;
use crate::sys::descriptor::{adopt, close_on_exec_from, try_lock};
use crate::sys::inherited::{self, ProcessOption};
use crate::sys::process::{Fork, exit_immediately, fork, pidfd_open};

/// What the supervisor writes to the pipe once it listens. Anything else is an error message.
const READY: &str = "ready";

/// The timeout for the start of a supervisor.
const LAUNCHING: Duration = Duration::from_secs(30);
/// The timeout for the end of a supervisor whose socket is gone, in milliseconds.
const ENDING: u16 = 5000;

/// The options of a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Stay in the foreground.
    pub foreground: bool,
    /// Start the containers with `autostart = yes`, once after each boot.
    pub autostart: bool,
}

/// The role of this process after [`supervise`].
#[derive(Debug)]
pub enum Stage {
    /// The supervisor runs in the background; this process can end.
    Launched,
    /// This process is the supervisor.
    Supervisor(Readiness),
    /// This process was already the supervisor and now executes this program.
    Successor(Box<State>),
}

/// The connection to the launcher: reports that this supervisor listens, or an error.
#[derive(Debug)]
pub struct Readiness {
    pipe: Option<File>,
}

impl Readiness {
    /// Whether the supervisor runs in the foreground.
    #[must_use]
    pub fn is_foreground(&self) -> bool {
        self.pipe.is_none()
    }

    /// Reports that it listens.
    pub fn ready(self) {
        self.tell(READY);
    }

    /// Reports that it ends with this error; returns whether the launcher received it.
    #[must_use]
    pub fn failed(self, error: &anyhow::Error) -> bool {
        let told = self.pipe.is_some();
        self.tell(&format!("{error:#}"));
        told
    }

    fn tell(self, text: &str) {
        // The launcher may have ended.
        let _ = self.pipe.map(|mut pipe| pipe.write_all(text.as_bytes()));
    }
}

/// `ds supervise`: launches a supervisor, or is the launched process.
///
/// # Errors
/// Why there is no new supervisor, for example because one is already running.
pub fn supervise(paths: &Paths, options: Options) -> Result<Stage> {
    if env::var_os(MARKER).is_some() {
        // Before any descriptor is taken over: later programs still inherit them.
        seal::leave_writable_copy();
    }
    match env::var(MARKER) {
        Ok(marker) if marker == FOREGROUND => Ok(Stage::Supervisor(Readiness { pipe: None })),
        Ok(marker) if marker.starts_with(SUCCESSOR) => {
            let number = marker.trim_start_matches(SUCCESSOR);
            let document = adopt(number.parse().with_context(|| format!("{MARKER}={marker}"))?);
            Ok(Stage::Successor(Box::new(State::read(document)?)))
        }
        Ok(marker) => {
            let number: RawFd = marker.parse().with_context(|| format!("{MARKER}={marker}"))?;
            let pipe = adopt(number);
            call!(fcntl(&pipe, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)), "fcntl({MARKER}={marker})")?;
            Ok(Stage::Supervisor(Readiness { pipe: Some(pipe.into()) }))
        }
        Err(_) => {
            refuse_spoiled()?;
            if options.foreground {
                match execute(paths, options, None)? {}
            }
            let _lock = lock(paths)?;
            start(paths, options.autostart)?;
            Ok(Stage::Launched)
        }
    }
}

/// Waits for the launch lock, so that only one process at a time launches a supervisor.
///
/// # Errors
/// If the run directory cannot be created.
pub fn lock(paths: &Paths) -> Result<Flock<File>> {
    let path = paths.launch_lock();
    paths::create_private(&paths.run)?;
    let mut file = open_lock(&path)?;
    let deadline = Instant::now() + LAUNCHING;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Err((file, Errno::EWOULDBLOCK)) if Instant::now() < deadline => file,
            Err((_, Errno::EWOULDBLOCK)) => {
                bail!("another process has held the launch lock for {} s; end it", LAUNCHING.as_secs())
            }
            other => return Ok(call!(other.map_err(|(_, errno)| errno), "flock({})", path.display())?),
        };
        sleep(Duration::from_millis(10));
    }
}

/// Launches a supervisor in the background and returns once it listens. The caller holds the [`lock`] and has called
/// [`refuse_spoiled`].
///
/// # Errors
/// The supervisor's own message why it does not listen.
pub fn start(paths: &Paths, autostart: bool) -> Result<()> {
    let (reader, writer) = call!(pipe2(OFlag::O_CLOEXEC), "pipe2")?;
    match call!(fork(), "fork")? {
        Fork::Child => {
            drop(reader);
            become_daemon(paths, autostart, &writer);
        }
        Fork::Parent(child) => {
            drop(writer);
            let mut answer = String::new();
            let came = wait_for_input(reader.as_fd(), PollTimeout::try_from(LAUNCHING)?) != Ok(false);
            ensure!(came, "it did not start within {} s", LAUNCHING.as_secs());
            File::from(reader).read_to_string(&mut answer).context("wait for the supervisor")?;
            // The first child ends at once; its status carries no information.
            let _ = waitpid(child, None);
            ensure!(!answer.is_empty(), "the supervisor died during its start");
            ensure!(answer == READY, "{answer}");
            Ok(())
        }
    }
}

/// Forks again, so that the supervisor's parent is init and not the launcher.
fn become_daemon(paths: &Paths, autostart: bool, pipe: &OwnedFd) -> ! {
    let readiness = pipe.try_clone();
    let become_it = || -> Result<()> {
        call!(setsid(), "setsid")?;
        if let Fork::Parent(_) = call!(fork(), "fork")? {
            return Ok(());
        }
        release_streams()?;
        match execute(paths, Options { foreground: false, autostart }, Some(pipe))? {}
    };
    if let (Err(error), Ok(readiness)) = (become_it(), readiness) {
        let _ = Readiness { pipe: Some(readiness.into()) }.failed(&error);
    }
    exit_immediately(0)
}

/// Becomes the supervisor: executes a protected copy of the program with a clean environment and only the standard
/// descriptors.
fn execute(paths: &Paths, options: Options, pipe: Option<&OwnedFd>) -> Result<Infallible> {
    paths::create_private(&paths.run)?;
    detach::before_execution();
    call!(chdir("/"), "chdir(/)")?;
    let proc = File::open("/proc").context("open /proc")?;
    call!(close_on_exec_from(3, proc.as_fd()), "close_range")?;
    let marker = match pipe {
        Some(pipe) => {
            call!(fcntl(pipe, FcntlArg::F_SETFD(FdFlag::empty())), "fcntl(F_SETFD)")?;
            pipe.as_raw_fd().to_string()
        }
        None => FOREGROUND.to_owned(),
    };
    let mut arguments = vec![c"ds".to_owned(), c"supervise".to_owned()];
    arguments.extend(options.foreground.then(|| c"--foreground".to_owned()));
    arguments.extend((!options.autostart).then(|| c"--no-autostart".to_owned()));
    seal::execute_copy(&arguments, &environment(&marker)?, paths)
}

/// Refuses to launch a supervisor from a process with attributes that can never be changed: seccomp filters,
/// no_new_privs and, without the capability for it, low limits.
///
/// # Errors
/// The reason.
pub fn refuse_spoiled() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    if let Some(reason) = spoiled(&status, own_root().is_some(), platform::is_own_container()) {
        bail!("{reason}");
    }
    // Kernels before 6.3 lack it.
    let denies = inherited::set_option(ProcessOption::GetNoWriteExecute, [0, 0]).is_ok_and(|flags| flags > 0);
    ensure!(
        !denies,
        "this shell must not make memory executable (PR_SET_MDWE), and containers would inherit that; \
         run 'ds supervise' from a boot script or another shell"
    );
    if let Some(what) = detach::fatal_limit() {
        bail!(
            "this shell limits {what} and lacks the capability to raise the limit (CAP_SYS_RESOURCE), so containers \
             would fail; run 'ds supervise' from a boot script or another shell"
        );
    }
    Ok(())
}

/// The reason against a launch in /proc/PID/status, see proc_pid_status(5). With a private root, inactive filters are
/// ignored: nothing on the machine depends on that supervisor. In a container of ds, filters are expected.
fn spoiled(status: &str, private: bool, contained: bool) -> Option<&'static str> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    if field("Seccomp") != 0 && !contained {
        return Some(
            "this shell is under a seccomp filter, which every container would inherit; \
             run 'ds supervise' from a boot script or a shell without one",
        );
    }
    if field("NoNewPrivs") != 0 {
        return Some(
            "this shell has no_new_privs set, which every container would inherit, so that sudo and su would fail; \
             run 'ds supervise' from a boot script or another shell",
        );
    }
    if field("Seccomp_filters") != 0 && !private && !contained {
        return Some(
            "this shell has an inactive seccomp filter, which would become active in every container; \
             reboot, so that the boot script starts the supervisor",
        );
    }
    None
}

fn open_lock(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(path).with_context(|| format!("open {}", path.display()))
}

/// Whether a supervisor is running, i.e. its lock is held. Does not wake the supervisor. The caller holds the launch
/// [`lock`].
///
/// # Errors
/// If the lock file cannot be opened.
pub fn is_running(paths: &Paths) -> Result<bool> {
    Ok(try_lock(open_lock(&paths.supervisor_lock())?.as_fd()).is_err())
}

/// Takes the supervisor's lock; the file contains its process id.
///
/// # Errors
/// `already running (pid N)` if another supervisor holds it.
pub fn claim(paths: &Paths) -> Result<OwnedFd> {
    let path = paths.supervisor_lock();
    let mut file = open_lock(&path)?;
    if try_lock(file.as_fd()).is_err() {
        let mut pid = String::new();
        file.read_to_string(&mut pid).with_context(|| format!("read {}", path.display()))?;
        let pid = pid.trim();
        // No other supervisor can start now. One that holds the lock without a socket is about to end.
        let listens = socket::connect_to(&paths.supervisor_socket())?.is_some();
        ensure!(!listens && ends_soon(pid) && try_lock(file.as_fd()).is_ok(), "already running (pid {pid})");
    }
    file.rewind()
        .and_then(|()| file.set_len(0))
        .and_then(|()| writeln!(file, "{}", process::id()))
        .with_context(|| format!("write {}", path.display()))?;
    Ok(file.into())
}

/// Waits for the end of a process, with a timeout.
fn ends_soon(pid: &str) -> bool {
    let Ok(pid) = pid.parse() else { return false };
    match pidfd_open(Pid::from_raw(pid)) {
        Ok(process) => wait_for_input(process.as_fd(), PollTimeout::from(ENDING)).unwrap_or(false),
        Err(errno) => errno == Errno::ESRCH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_spoil_a_supervisor_awake_or_asleep() {
        let status = |mode, filters| format!("Name:\tsh\nSeccomp:\t{mode}\nSeccomp_filters:\t{filters}\n");
        assert!(spoiled(&status(0, 0), false, false).is_none());
        assert!(spoiled("Name:\tsh\n", false, false).is_none(), "kernels without seccomp");
        for private in [false, true] {
            assert!(spoiled(&status(2, 1), private, false).unwrap().contains("under a seccomp filter"));
        }
        assert!(spoiled(&status(0, 1), false, false).unwrap().contains("reboot, so that"));
        assert!(spoiled(&status(0, 1), true, false).is_none());
        assert!(spoiled(&status(2, 4), false, true).is_none(), "in a container of ours");
        for private in [false, true] {
            assert!(spoiled("Name:\tsh\nNoNewPrivs:\t1\n", private, false).unwrap().contains("no_new_privs"));
            assert!(spoiled("Name:\tsh\nNoNewPrivs:\t0\n", private, false).is_none());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_status_does_not_panic(status: String, number: u64) {
            let _ = spoiled(&status, false, false);
            let line = format!("{status}\nSeccomp:\t{number}\n");
            proptest::prop_assert_eq!(spoiled(&line, true, false).is_some(), number != 0 || spoiled(&status, true, false).is_some());
        }
    }

    #[test]
    fn a_second_claim_names_the_first() {
        let root = env::temp_dir().join(format!("ds-claim-{}", process::id()));
        let paths = Paths::below(&root);
        paths.create().unwrap();
        let first = claim(&paths).unwrap();
        let _listener = socket::listen_at(&paths.supervisor_socket()).unwrap();
        let refusal = claim(&paths).unwrap_err().to_string();
        assert_eq!(refusal, format!("already running (pid {})", process::id()));
        drop(first);
        claim(&paths).unwrap();
        fs::remove_dir_all(&root).unwrap();
    }
}
