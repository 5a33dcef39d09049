//! What a worker is forked for, and how it does that: wait for a client and run its command, or a task of the
//! supervisor's own.
//!
//! Knows no command: what to run is handed in. The supervisor's descriptors and signals are dropped before anything
//! here begins. fork(2), setsid(2).

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sys::prctl;
use nix::unistd::{chdir, setsid};

use crate::android::{manager, property, storage};
use crate::call;
use crate::config::value::Name;
use crate::container::leftovers;
use crate::host::Host;
use crate::log::{self as sinks, Role};
use crate::paths::Paths;
use crate::peer::{self, PidNamespace};
use crate::poll::{self, PollSet};
use crate::socket::{self, Received};
use crate::storage::sweep;
use crate::sys::descriptor::make_standard;
use crate::sys::errno_of;
use crate::sys::process::exit_immediately;
use crate::worker::client::Client;
use crate::worker::protocol::{CommandRequest, FromWorker, GENERATION};
use crate::worker::supervisor::Supervisor;
use crate::worker::{Env, Knowledge};

/// How soon a client makes its request. Until then nobody else is served, so that a command need not wait for a fork.
const PROMPTLY: Duration = Duration::from_millis(20);
/// How long a client may be silent altogether.
const AT_ALL: Duration = Duration::from_secs(10);

/// What a worker is forked for.
#[derive(Debug)]
pub enum Task {
    /// Whatever the next client asks for who connects to this listener.
    Client(OwnedFd, PidNamespace),
    /// Starting a container, because the policy says so.
    Start(Name),
    /// Removing what a container left behind.
    Sweep(Name),
    /// Finding out whether the user has unlocked the phone, and showing shared storage if so.
    Unlock,
    /// Telling the root manager of this module what we do.
    Describe(PathBuf, String),
    /// Removing what jobs left behind that were killed, or died with the machine.
    Tidy,
}

/// What a worker takes along from the supervisor.
#[derive(Debug)]
pub struct Assignment {
    /// What to do.
    pub task: Task,
    /// The connection to the supervisor.
    pub connection: OwnedFd,
    /// What the supervisor knew.
    pub knowledge: Knowledge,
}

/// What is the same for every worker.
#[derive(Debug)]
pub struct Machine<'a> {
    /// Where everything of ours is.
    pub paths: &'a Paths,
    /// What this machine is.
    pub host: &'a Rc<Host>,
    /// Runs one command line, and returns its exit code.
    pub command: fn(&Env) -> u8,
}

/// Runs an assignment to its end, in the freshly forked process.
pub fn run(assignment: Assignment, machine: &Machine<'_>) -> ! {
    let Assignment { task, connection, knowledge } = assignment;
    // Out of the supervisor's process group: a terminal's ^C in the foreground is not for workers.
    let _ = setsid();
    let supervisor = Supervisor::new(connection);
    // For ps(1); one that is to stand by becomes a worker when somebody comes.
    let _ = prctl::set_name(if matches!(task, Task::Client(..)) { c"ds:standby" } else { c"ds:worker" });
    let code = match task {
        Task::Client(listener, namespace) => match stand_by(&listener, namespace, &supervisor) {
            Ok(connection) => {
                drop(listener);
                serve(connection, supervisor, knowledge, machine)
            }
            Err(_) => 0,
        },
        Task::Start(name) => (machine.command)(&Env {
            argv: ["ds", "start", name.as_str()].map(str::to_owned).into(),
            paths: machine.paths.clone(),
            host: Rc::clone(machine.host),
            directory: None,
            environment: BTreeMap::new(),
            client: Client::new(None),
            supervisor,
            knowledge,
        }),
        Task::Tidy => {
            sweep::all(machine.paths);
            0
        }
        Task::Sweep(name) => match leftovers::sweep_dead(machine.paths, machine.host, &name) {
            Ok(()) => 0,
            Err(error) => {
                log::info!("{name}: {error:#}");
                1
            }
        },
        Task::Unlock if !property::is_unlocked() => 1,
        Task::Unlock => logged("shared storage", storage::give(machine.paths)),
        Task::Describe(module, text) => logged("module.prop", manager::describe(&module, Some(&text))),
    };
    exit_immediately(code.into())
}

/// The exit code of a task of the supervisor's own; what went wrong is in the log.
fn logged(what: &str, done: Result<()>) -> u8 {
    match done {
        Ok(()) => 0,
        Err(error) => {
            log::warn!("{what}: {error:#}");
            1
        }
    }
}

#[derive(PartialEq)]
enum Ready {
    Listener,
    Supervisor,
}

/// Waits for a client, forked ahead of it: whoever asks need not wait for a fork.
///
/// # Errors
/// That nobody has come before the supervisor went or sent this worker away.
fn stand_by(listener: &OwnedFd, namespace: PidNamespace, supervisor: &Supervisor) -> Result<OwnedFd> {
    loop {
        let mut set = PollSet::default();
        set.input(Ready::Listener, listener.as_fd());
        set.input(Ready::Supervisor, supervisor.fd());
        // Without a supervisor nobody is served: whoever has come asks again.
        if set.sleep(PollTimeout::NONE).is_ok_and(|ready| ready.contains(&Ready::Supervisor)) {
            bail!("nobody has come");
        }
        // One that stood by before may have been quicker: then there is nobody to accept.
        let connection = match socket::accept_from(listener.as_fd()) {
            Err(error) if errno_of(&error).is_some_and(is_nobody) => continue,
            other => other?,
        };
        match peer::check(connection.as_fd(), namespace) {
            Ok(()) => {
                let _ = prctl::set_name(c"ds:worker");
                return Ok(connection);
            }
            Err(error) => {
                log::warn!("a client was refused: {error:#}");
                let _ = socket::send(&connection, &FromWorker::Refused(format!("{error:#}")), &[]);
                return Err(error);
            }
        }
    }
}

fn is_nobody(errno: Errno) -> bool {
    matches!(errno, Errno::EAGAIN | Errno::ECONNABORTED | Errno::EINTR)
}

fn serve(connection: OwnedFd, supervisor: Supervisor, knowledge: Knowledge, machine: &Machine<'_>) -> u8 {
    if !says_something(&connection, &supervisor) {
        return 0;
    }
    let request = match socket::receive::<CommandRequest>(&connection) {
        // A client that did not wait for its turn wants nothing any more.
        Ok(Some(_)) if poll::is_hung_up(connection.as_fd()) => return 0,
        Ok(Some(received)) => accept(received),
        // A client that says nothing has thought better of it.
        Ok(None) => return 0,
        Err(error) => Err(error),
    };
    match request {
        Ok(request) => {
            sinks::take_role(Role::Client);
            (machine.command)(&Env {
                paths: machine.paths.clone(),
                host: Rc::clone(machine.host),
                // A directory that only the client has, or a deleted one, is none.
                directory: chdir(request.cwd.as_str()).is_ok().then(|| PathBuf::from(request.cwd)),
                argv: request.argv,
                environment: request.environment,
                client: Client::new(Some(connection)),
                supervisor,
                knowledge,
            })
        }
        Err(error) => {
            let _ = socket::send(&connection, &FromWorker::Refused(format!("{error:#}")), &[]);
            1
        }
    }
}

/// Waits for a client's request, but does not keep others waiting for a client that says nothing.
fn says_something(connection: &OwnedFd, supervisor: &Supervisor) -> bool {
    let nobody = Client::new(None);
    let speaks = |within: Duration| {
        nobody.wait(Some(connection.as_fd()), Some(Instant::now() + within)).unwrap_or(false)
    };
    speaks(PROMPTLY) || {
        supervisor.taken();
        speaks(AT_ALL)
    }
}

/// Takes the client's standard streams over.
fn accept(received: Received<CommandRequest>) -> Result<CommandRequest> {
    let Received { message: request, descriptors } = received;
    // Whatever has changed, stopping the old supervisor has to work.
    let stops = request.argv.get(1).is_some_and(|verb| verb == "supervisor");
    ensure!(
        request.generation == GENERATION || stops,
        "the supervisor is of another version; run 'ds supervisor stop', containers keep running"
    );
    ensure!(descriptors.len() == 3, "a request comes with three descriptors, not {}", descriptors.len());
    for (descriptor, number) in descriptors.iter().zip(0..) {
        call!(make_standard(descriptor.as_fd(), number), "dup2({number})")?;
    }
    Ok(request)
}
