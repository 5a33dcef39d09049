//! The tasks of workers: wait for a client and run its command, or a task of the supervisor.
//!
//! Knows no command: the code for commands is passed in. The supervisor's descriptors and signals are dropped before a
//! task begins. fork(2), setsid(2).

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sys::prctl;
use nix::unistd::{chdir, getpid, setsid};

use crate::android::{manager, property, storage};
use crate::call;
use crate::config::value::Name;
use crate::container::{leftovers, shell};
use crate::host::Host;
use crate::log::{self as sinks, Role};
use crate::network;
use crate::paths::Paths;
use crate::peer::{self, PidNamespace};
use crate::poll::{self, PollSet};
use crate::socket::{self, Received};
use crate::storage::sweep;
use crate::sys::descriptor::make_standard;
use crate::sys::errno_of;
use crate::sys::process::exit_immediately;
use crate::worker::client::Client;
use crate::worker::protocol::{CommandRequest, FromWorker, GENERATION, SERVING};
use crate::worker::supervisor::Supervisor;
use crate::worker::{Env, Knowledge};

/// How long other clients wait for the request of a connected client, so that a command does not wait for a fork.
const PROMPTLY: Duration = Duration::from_millis(20);
/// The timeout for the request of a client.
const AT_ALL: Duration = Duration::from_secs(10);

/// The task of a worker.
#[derive(Debug)]
pub enum Task {
    /// Run the command of the next client that connects to this listener.
    Client(OwnedFd, PidNamespace),
    /// Start a container for the policy.
    Start(Name),
    /// Remove the remains of a container.
    Sweep(Name),
    /// Check whether the user has unlocked the phone, and mount shared storage if so.
    Unlock,
    /// Write the module's description for the root manager.
    Describe(PathBuf, String),
    /// Remove the remains of jobs that were killed or ended by a power failure.
    Tidy,
    /// Update the networks of containers after a change of the machine's network.
    Follow,
}

/// The input of a worker.
#[derive(Debug)]
pub struct Assignment {
    /// The task.
    pub task: Task,
    /// The connection to the supervisor.
    pub connection: OwnedFd,
    /// The supervisor's state.
    pub knowledge: Knowledge,
}

/// The input that is the same for every worker.
#[derive(Debug)]
pub struct Machine<'a> {
    /// The paths of ds.
    pub paths: &'a Paths,
    /// The properties of this machine.
    pub host: &'a Rc<Host>,
    /// Runs one command line and returns its exit code.
    pub command: fn(&Env) -> u8,
}

/// Runs an assignment to its end, in the newly forked process.
pub fn run(assignment: Assignment, machine: &Machine<'_>) -> ! {
    let Assignment { task, connection, knowledge } = assignment;
    // Leaves the supervisor's process group, so that ^C on its terminal does not reach workers.
    let _ = setsid();
    let supervisor = Supervisor::new(connection);
    // For ps(1). A standby worker becomes a worker when a client connects.
    let _ = prctl::set_name(if matches!(task, Task::Client(..)) { c"ds:standby" } else { SERVING });
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
            shell::sweep(machine.host, machine.paths);
            logged("networks", network::sweep(machine.paths))
        }
        Task::Follow => logged("networks", network::keep(machine.paths)),
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

/// The exit code of a task; errors are in the log.
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

/// Waits for a client. The worker is forked in advance, so that clients do not wait for a fork.
///
/// # Errors
/// If no client connected before the supervisor ended or dismissed this worker.
fn stand_by(listener: &OwnedFd, namespace: PidNamespace, supervisor: &Supervisor) -> Result<OwnedFd> {
    loop {
        let mut set = PollSet::default();
        set.input(Ready::Listener, listener.as_fd());
        set.input(Ready::Supervisor, supervisor.fd());
        // Without a supervisor, no client is served; a connected one repeats its request.
        if set.sleep(PollTimeout::NONE).is_ok_and(|ready| ready.contains(&Ready::Supervisor)) {
            bail!("no client has connected");
        }
        // An earlier standby worker may have accepted the client.
        let connection = match socket::accept_from(listener.as_fd()) {
            Err(error) if errno_of(&error).is_some_and(is_no_client) => continue,
            other => other?,
        };
        match peer::check(connection.as_fd(), namespace) {
            Ok(()) => {
                let _ = prctl::set_name(SERVING);
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

fn is_no_client(errno: Errno) -> bool {
    matches!(errno, Errno::EAGAIN | Errno::ECONNABORTED | Errno::EINTR)
}

fn serve(connection: OwnedFd, supervisor: Supervisor, knowledge: Knowledge, machine: &Machine<'_>) -> u8 {
    if !says_something(&connection, &supervisor) {
        return 0;
    }
    let request = match socket::receive::<CommandRequest>(&connection) {
        // The client closed the connection and needs no answer.
        Ok(Some(_)) if poll::is_hung_up(connection.as_fd()) => return 0,
        Ok(Some(received)) => accept(received),
        // The client sent no request in time.
        Ok(None) => return 0,
        Err(error) => Err(error),
    };
    match request {
        Ok(request) => {
            if request.watches {
                let _ = socket::send(&connection, &FromWorker::Serving(getpid().as_raw()), &[]);
            }
            sinks::take_role(Role::Client);
            (machine.command)(&Env {
                paths: machine.paths.clone(),
                host: Rc::clone(machine.host),
                // A directory that the supervisor cannot reach, or that was deleted, counts as none.
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

/// Waits for a client's request without blocking others.
fn says_something(connection: &OwnedFd, supervisor: &Supervisor) -> bool {
    let no_client = Client::new(None);
    let speaks = |within: Duration| {
        no_client.wait(Some(connection.as_fd()), Some(Instant::now() + within)).unwrap_or(false)
    };
    speaks(PROMPTLY) || {
        supervisor.taken();
        speaks(AT_ALL)
    }
}

/// Takes over the client's standard streams.
fn accept(received: Received<CommandRequest>) -> Result<CommandRequest> {
    let Received { message: request, descriptors } = received;
    // Stopping the old supervisor must work, whatever has changed.
    let stops = request.argv.get(1).is_some_and(|verb| verb == "supervisor");
    ensure!(
        request.generation == GENERATION || stops,
        "the supervisor has another version; run 'ds supervisor stop' (containers keep running) and try again"
    );
    ensure!(descriptors.len() == 3, "a request needs three descriptors, not {}", descriptors.len());
    for (descriptor, number) in descriptors.iter().zip(0..) {
        call!(make_standard(descriptor.as_fd(), number), "dup2({number})")?;
    }
    Ok(request)
}
