//! The worker: a forked supervisor that runs one command for one client, and ends.
//!
//! Owns the client's connection ([`Client`]) and the worker's own line to the supervisor ([`Supervisor`]). It knows
//! nothing of commands: what to run is handed in. The supervisor's descriptors and signals are dropped before
//! anything here begins. fork(2), setsid(2), termios(3).

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{chdir, getppid, setsid};

use super::peer::{self, PidNamespace};
use super::protocol::{Containers, FromSupervisor, FromWorker, GENERATION, Request, ToSupervisor, ToWorker};
use super::waiting::PATIENCE;
use super::{Knowledge, Program, Work};
use crate::android::{manager, property, storage};
use crate::call;
use crate::config::value::Name;
use crate::log::{self as sinks, Role};
use crate::paths::Paths;
use crate::socket::{self, Received};
use crate::storage::sweep;
use crate::sys::descriptor::make_standard;
use crate::sys::errno_of;
use crate::sys::memory::sleep;
use crate::sys::process::exit_immediately;
use crate::sys::signal::raise_on_input;

/// How long a supervisor may take to end.
const ENDING: Duration = Duration::from_secs(10);

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
    /// Removing what jobs left behind that died with an earlier supervisor, or with the machine.
    Tidy,
}

/// What a worker takes along from the supervisor.
#[derive(Debug)]
pub struct Assignment {
    /// What to do.
    pub task: Task,
    /// The line to the supervisor.
    pub line: OwnedFd,
    /// What the supervisor knew.
    pub knowledge: Knowledge,
}

/// Runs an assignment to its end, in the freshly forked process.
pub fn run(assignment: Assignment, paths: &Paths, program: &Program<'_>) -> ! {
    let Assignment { task, line, knowledge } = assignment;
    // Out of the supervisor's process group: a terminal's ^C in the foreground is not for workers.
    let _ = setsid();
    let supervisor = Supervisor::new(line);
    // For ps(1); one that is to stand by becomes a worker when somebody comes.
    let _ = prctl::set_name(if matches!(task, Task::Client(..)) { c"ds:standby" } else { c"ds:worker" });
    let code = match task {
        Task::Client(listener, namespace) => match stand_by(&listener, namespace, &supervisor) {
            Ok(connection) => {
                drop(listener);
                serve(connection, supervisor, knowledge, program)
            }
            Err(_) => 0,
        },
        Task::Start(name) => (program.command)(Work {
            argv: ["ds", "start", name.as_str()].map(str::to_owned).into(),
            directory: None,
            environment: std::collections::BTreeMap::new(),
            client: Client::new(None),
            supervisor,
            knowledge,
        }),
        Task::Tidy => {
            sweep::all(paths);
            0
        }
        Task::Sweep(name) => match (program.sweep)(paths, &name) {
            Ok(()) => 0,
            Err(error) => {
                log::info!("{name}: {error:#}");
                1
            }
        },
        Task::Unlock if !property::is_unlocked() => 1,
        Task::Unlock => logged("shared storage", storage::give(paths)),
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

/// Waits for a client, forked ahead of it: whoever asks need not wait for a fork.
///
/// # Errors
/// That nobody has come before the supervisor went or sent this worker away.
fn stand_by(listener: &OwnedFd, namespace: PidNamespace, supervisor: &Supervisor) -> Result<OwnedFd> {
    loop {
        let mut polled = [listener.as_fd(), supervisor.connection.as_fd()]
            .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
        let ready = sleep(&mut polled, PollTimeout::NONE);
        // Without a supervisor nobody is served: whoever has come asks again.
        if ready.is_ok() && polled[1].any().unwrap_or(true) {
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

fn serve(connection: OwnedFd, supervisor: Supervisor, knowledge: Knowledge, program: &Program<'_>) -> u8 {
    let request = match socket::receive::<Request>(&connection) {
        Ok(Some(received)) => accept(received),
        // A client that says nothing has thought better of it.
        Ok(None) => return 0,
        Err(error) => Err(error),
    };
    match request {
        Ok(request) => {
            sinks::take_role(Role::Client);
            (program.command)(Work {
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

/// Takes the client's standard streams over.
fn accept(received: Received<Request>) -> Result<Request> {
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

/// What the client has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromClient {
    /// The client received this signal.
    Signal(i32),
    /// The client is gone: its session is to be hung up.
    HungUp,
}

/// The client at the other end; or nobody, when the supervisor itself asked for the command.
#[derive(Debug)]
pub struct Client {
    connection: Option<OwnedFd>,
    /// How the client's terminal was before it was made raw.
    saved: RefCell<Option<Termios>>,
}

impl Client {
    /// The client of this connection, or nobody.
    #[must_use]
    pub fn new(connection: Option<OwnedFd>) -> Self {
        Self { connection, saved: RefCell::new(None) }
    }

    /// Readable when [`Client::receive`] has something; none without a client.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(AsFd::as_fd)
    }

    /// From now on, whatever the client sends ends this process at once, as the signal that the client got would have
    /// ended a program of its own. For commands that leave nothing half done behind.
    ///
    /// # Errors
    /// What fcntl(2) answers; that the client has sent something already.
    pub fn dies_with_client(&self) -> Result<()> {
        let Some(connection) = self.fd() else { return Ok(()) };
        call!(raise_on_input(connection), "fcntl(O_ASYNC)")?;
        let mut waiting = [PollFd::new(connection, PollFlags::POLLIN)];
        if call!(poll(&mut waiting, PollTimeout::ZERO), "poll")? > 0 {
            // It came before the kernel was told.
            bail!("interrupted");
        }
        Ok(())
    }

    /// The next message; waits for it.
    ///
    /// # Errors
    /// Without a client, or when the connection fails.
    pub fn receive(&self) -> Result<FromClient> {
        let connection = self.fd().context("there is no client")?;
        match socket::receive::<ToWorker>(connection)? {
            Some(received) => {
                let ToWorker::Signal(number) = received.message;
                Ok(FromClient::Signal(number))
            }
            None => {
                self.restore_terminal();
                Ok(FromClient::HungUp)
            }
        }
    }

    /// Switches the client's terminal (standard input) to raw mode, or back. The client does it, and restores its
    /// terminal when this process ends in whatever way.
    ///
    /// # Errors
    /// When the client is gone.
    pub fn raw_mode(&self, on: bool) -> Result<()> {
        let Some(connection) = self.fd() else { return Ok(()) };
        *self.saved.borrow_mut() = if on { tcgetattr(std::io::stdin()).ok() } else { None };
        socket::send(connection, &FromWorker::RawMode(on), &[])
    }

    /// Restores the terminal for a client that was killed, unless somebody else has set it since.
    fn restore_terminal(&self) {
        let Some(saved) = self.saved.borrow_mut().take() else { return };
        let mut raw = saved.clone();
        cfmakeraw(&mut raw);
        let terminal = std::io::stdin();
        if tcgetattr(&terminal).is_ok_and(|now| now == raw) {
            // Nobody is left to tell.
            let _ = tcsetattr(&terminal, SetArg::TCSANOW, &saved);
        }
    }

    /// Tells the client that the command has ended; the last thing that is said.
    pub fn exit(&self, code: u8) {
        if let Some(connection) = self.fd() {
            // A client that is gone does not mind.
            let _ = socket::send(connection, &FromWorker::Exit(code), &[]);
        }
    }
}

/// A supervisor that does not answer.
#[derive(Debug)]
struct Unanswered;

impl fmt::Display for Unanswered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "the supervisor (pid {}) does not answer; 'kill -KILL' ends it, containers keep running, and the next \
             command starts another one",
            getppid()
        )
    }
}

impl std::error::Error for Unanswered {}

/// The worker's line to the supervisor that forked it.
#[derive(Debug)]
pub struct Supervisor {
    connection: OwnedFd,
    containers: OnceCell<Containers>,
    /// It has been waited for in vain: not once more.
    is_silent: Cell<bool>,
}

impl Supervisor {
    /// The worker's end of the line.
    #[must_use]
    pub fn new(connection: OwnedFd) -> Self {
        Self { connection, containers: OnceCell::new(), is_silent: Cell::new(false) }
    }

    /// A client is served now: another worker may stand by. Said as soon as the command is known, or, by a command
    /// that starts a program at once, when it has: the fork of the next worker need not delay it.
    pub fn taken(&self) {
        // A supervisor that is gone needs no other.
        let _ = socket::send(&self.connection, &ToSupervisor::Taken, &[]);
    }

    /// The answer to a question, which is waited for no longer than `until`; none from a supervisor that is gone.
    fn answer(&self, client: &Client, until: Option<Instant>) -> Result<Option<FromSupervisor>> {
        loop {
            if !client.wait(Some(self.connection.as_fd()), until)? {
                self.is_silent.set(true);
                return Err(Unanswered.into());
            }
            match socket::receive::<FromSupervisor>(&self.connection)?.map(|received| received.message) {
                // It crossed the client that came.
                Some(FromSupervisor::Dismissed) => {}
                answer => return Ok(answer),
            }
        }
    }

    /// What it knows of the containers; asked once. A supervisor that is gone knows nothing.
    pub fn containers(&self) -> &Containers {
        self.containers.get_or_init(|| {
            let asked = socket::send(&self.connection, &ToSupervisor::Containers, &[]);
            let nobody = Client::new(None);
            match asked.and_then(|()| self.answer(&nobody, Some(Instant::now() + PATIENCE))) {
                Ok(Some(FromSupervisor::Containers(known))) => known,
                Ok(_) => Containers::default(),
                Err(error) => {
                    log::warn!("{error:#}");
                    Containers::default()
                }
            }
        })
    }

    /// A monitor has come to life: watch it.
    pub fn started(&self, name: &Name) {
        // A supervisor that is gone finds the monitor when it comes back.
        let _ = socket::send(&self.connection, &ToSupervisor::Started(name.as_str().to_owned()), &[]);
    }

    /// Cancels the restart that `name` waits for and any start that the supervisor has under way; returns once
    /// neither can happen any more. To be called before a container is stopped, deleted or renamed.
    ///
    /// # Errors
    /// When the connection fails; a supervisor that is gone restarts nothing, which is success.
    pub fn cancel_restart(&self, client: &Client, name: &Name) -> Result<()> {
        if self.is_silent.get()
            || socket::send(&self.connection, &ToSupervisor::Cancel(name.as_str().to_owned()), &[]).is_err()
        {
            return Ok(());
        }
        match self.answer(client, Some(Instant::now() + PATIENCE)) {
            Err(error) if error.is::<Unanswered>() => log::warn!("{error:#}"),
            other => drop(other?),
        }
        Ok(())
    }

    /// Has the supervisor become another program, and returns once that one serves.
    ///
    /// # Errors
    /// Why it did not.
    pub fn succeed(&self, program: BorrowedFd<'_>) -> Result<()> {
        socket::send(&self.connection, &ToSupervisor::Succeed, &[program])?;
        match self.answer(&Client::new(None), None)? {
            Some(FromSupervisor::Done) => Ok(()),
            Some(FromSupervisor::Failed(reason)) => bail!("{reason}"),
            _ => bail!("the new program ended at once; the next command starts a supervisor; see its log"),
        }
    }

    /// Waits until the supervisor has ended.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn wait_for_end(&self, client: &Client) -> Result<()> {
        let deadline = Instant::now() + ENDING;
        while client.wait(Some(self.connection.as_fd()), Some(deadline))? {
            if socket::receive::<FromSupervisor>(&self.connection)?.is_none() {
                return Ok(());
            }
        }
        bail!("it does not end; 'kill -KILL' it, containers keep running")
    }
}
