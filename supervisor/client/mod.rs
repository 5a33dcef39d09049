//! The client: hands a command line and its standard streams to the supervisor, and waits for the exit code.
//!
//! Owns the forwarding of signals; `raw_mode` has the terminal. Does nothing privileged and reads no configuration:
//! what it does is on the way of every `ds run`. Where no supervisor listens, it starts one. termios(3), signal(7).

mod raw_mode;
mod silence;

use std::collections::BTreeMap;
use std::env;
use std::io::{stderr, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, raise};
use nix::unistd::geteuid;

use self::silence::{Silence, Verdict, wait_for_supervisor};
use crate::call;
use crate::daemon::launch;
use crate::paths::Paths;
use crate::poll::PollSet;
use crate::signals::Signals;
use crate::socket;
use crate::sys::errno_of;
use crate::sys::socket::next_length;
use crate::worker::protocol::{CommandRequest, ENVIRONMENT, FromWorker, GENERATION, ToWorker};

/// Signals that would end the client: the command gets them instead, whatever it does.
const ENDING: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];
/// Signals that matter to a command while it has the terminal.
const OF_TERMINAL: [Signal; 3] = [Signal::SIGWINCH, Signal::SIGCONT, Signal::SIGTSTP];

/// How often a request is made that nobody has read before the supervisor ended.
const MOST_TRIES: u32 = 3;
/// How long a client waits for a supervisor that another client launches.
const COMING_UP: Duration = Duration::from_secs(5);

/// Connects to the supervisor before the command line is understood, for verbs that people wait for: it forks a worker
/// meanwhile, which ends at once if nothing is asked for. What is in the way is told by [`run`].
#[must_use]
pub fn knock(words: &[String]) -> Option<OwnedFd> {
    let waited_for = ["run", "enter", "shell"].contains(&words.first()?.as_str());
    if !waited_for || !geteuid().is_root() {
        return None;
    }
    socket::connect_to(&Paths::from_environment().supervisor_socket()).ok()?
}

/// Has the supervisor run a command line; `argv` begins with the program's name. `early` is what [`knock`] gave.
///
/// # Errors
/// When it could not be run, or did not come to its end.
pub fn run(paths: &Paths, argv: &[String], early: Option<OwnedFd>) -> Result<u8> {
    require_root()?;
    let mut connected = match early {
        Some(early) => Some(early),
        None => socket::connect_to(&paths.supervisor_socket())?,
    };
    for _ in 0..MOST_TRIES {
        let connection = match connected.take() {
            Some(connection) => connection,
            None => launch(paths)?,
        };
        if let Some(code) = converse(&connection, argv)? {
            return Ok(code);
        }
    }
    bail!("the supervisor ended again and again; see {}", paths.supervisor_log().display())
}

/// The same, but `None` when there is no supervisor.
///
/// # Errors
/// As for [`run`].
pub fn run_if_there(paths: &Paths, argv: &[String]) -> Result<Option<u8>> {
    require_root()?;
    let connection = socket::connect_to(&paths.supervisor_socket())?;
    Ok(connection.map(|connection| converse(&connection, argv)).transpose()?.flatten())
}

fn require_root() -> Result<()> {
    ensure!(geteuid().is_root(), "must be root; use 'su' or 'sudo'");
    Ok(())
}

/// Starts a supervisor, unless another process has just done it.
fn launch(paths: &Paths) -> Result<OwnedFd> {
    launch::refuse_spoiled()?;
    let _lock = launch::lock(paths)?;
    if let Some(connection) = socket::connect_to(&paths.supervisor_socket())? {
        return Ok(connection);
    }
    let started = launch::start(paths, true);
    // If it failed, the supervisor of a client that was interrupted may still be coming up.
    let until = Instant::now() + COMING_UP;
    loop {
        if let Some(connection) = socket::connect_to(&paths.supervisor_socket())? {
            return Ok(connection);
        }
        if started.is_ok() || Instant::now() >= until {
            break;
        }
        sleep(Duration::from_millis(10));
    }
    started.context("cannot start the supervisor")?;
    bail!("the supervisor ended at once; see {}", paths.supervisor_log().display())
}

/// `None` when the supervisor went before anybody had read the request: it can be made again.
fn converse(connection: &OwnedFd, argv: &[String]) -> Result<Option<u8>> {
    let set = |name: &str| Some((name.to_owned(), env::var(name).ok()?));
    let request = CommandRequest {
        generation: GENERATION,
        argv: argv.to_vec(),
        // Empty where there is none any more: the worker can make nothing of it either.
        cwd: env::current_dir()
            .ok()
            .and_then(|path| path.into_os_string().into_string().ok())
            .unwrap_or_default(),
        environment: ENVIRONMENT.iter().copied().filter_map(set).collect::<BTreeMap<_, _>>(),
    };
    wait_for_supervisor(connection)?;
    // A supervisor that refuses has perhaps closed the connection already; its reason is there to be read.
    let sent = socket::send(connection, &request, &[stdin().as_fd(), stdout().as_fd(), stderr().as_fd()]);
    // Until here a signal ends the client, and with it the worker. This is done while the worker already works.
    let signals = Signals::listen(&ENDING)?;
    let mut terminal = Terminal { of_terminal: None };
    let silence = Silence::new();
    let mut conversation = Conversation { connection, signals, silence, last_signal: None };
    let end = conversation.follow(&mut terminal);
    drop(terminal);
    match end? {
        End::Code(code) => {
            // The process ends now, and with it what its signals do.
            std::mem::forget(conversation);
            Ok(Some(code))
        }
        End::NotServed => Ok(None),
        End::Unheard => conversation.end_as_signalled(),
        End::Silent => match sent {
            Err(error) if errno_of(&error) == Some(Errno::EPIPE) => Ok(None),
            sent => {
                sent?;
                conversation.end_as_signalled()
            }
        },
    }
}

/// How a conversation ended.
enum End {
    /// With the exit code.
    Code(u8),
    /// Without a word.
    Silent,
    /// Before the request was read.
    NotServed,
    /// It does not read what the client has been told.
    Unheard,
}

/// What poll(2) has found something for.
#[derive(Debug, PartialEq, Eq)]
enum Ready {
    Terminal,
    Signals,
    Worker,
}

struct Conversation<'a> {
    connection: &'a OwnedFd,
    signals: Signals,
    silence: Silence,
    last_signal: Option<i32>,
}

impl Conversation<'_> {
    /// Forwards signals and follows the worker until it has said the exit code, or says no more.
    fn follow(&mut self, terminal: &mut Terminal) -> Result<End> {
        loop {
            let mut set = PollSet::default();
            if let Some(signals) = &terminal.of_terminal {
                set.input(Ready::Terminal, signals.fd());
            }
            set.input(Ready::Signals, self.signals.fd());
            set.input(Ready::Worker, self.connection.as_fd());
            let ready = call!(set.wait(self.silence.timeout()), "poll")?;
            if ready.contains(&Ready::Terminal) {
                terminal.signalled(self.connection)?;
            }
            if ready.contains(&Ready::Signals) {
                for number in self.signals.take() {
                    self.last_signal = Some(number);
                    self.silence.signalled();
                    forward(self.connection, number);
                }
            }
            if ready.contains(&Ready::Worker) {
                // What was sent and is not read when the other end is closed comes back as this error (unix(7)), before
                // what the other end may have said all the same.
                let unread = next_length(self.connection.as_fd()) == Err(Errno::ECONNRESET);
                match socket::receive::<FromWorker>(self.connection)?.map(|received| received.message) {
                    Some(FromWorker::RawMode(on)) => {
                        terminal.raw_mode(on)?;
                        if on {
                            // The worker holds output back until it hears this.
                            forward(self.connection, Signal::SIGWINCH as i32);
                        }
                    }
                    Some(FromWorker::Exit(code)) => return Ok(End::Code(code)),
                    Some(FromWorker::Refused(reason)) => bail!("{reason}"),
                    None if unread && self.last_signal.is_none() => return Ok(End::NotServed),
                    None => return Ok(End::Silent),
                }
            } else if self.silence.judge(self.connection)? == Verdict::EndAsSignalled {
                return Ok(End::Unheard);
            }
        }
    }

    /// The connection has ended without an exit code. A command that was interrupted ends the way any program does.
    fn end_as_signalled(self) -> Result<Option<u8>> {
        let last = self.last_signal.and_then(|number| Signal::try_from(number).ok());
        drop(self.signals);
        if let Some(signal) = last {
            call!(raise(signal), "raise({signal})")?;
        }
        bail!("the worker died; see 'ds logs' or supervisor.log")
    }
}

/// A worker that has just ended does not mind; its last word is still to be read.
fn forward(connection: &OwnedFd, number: i32) {
    let _ = socket::send(connection, &ToWorker::Signal(number), &[]);
}

/// The terminal on standard input, if there is one; as it was once this is dropped.
struct Terminal {
    /// Heard while the terminal is raw.
    of_terminal: Option<Signals>,
}

impl Terminal {
    fn raw_mode(&mut self, on: bool) -> Result<()> {
        if !on {
            self.of_terminal = None;
            raw_mode::restore();
            return Ok(());
        }
        self.of_terminal = Some(Signals::listen(&OF_TERMINAL)?);
        raw_mode::enter();
        Ok(())
    }

    fn signalled(&mut self, connection: &OwnedFd) -> Result<()> {
        let Some(signals) = &self.of_terminal else { return Ok(()) };
        for number in signals.take() {
            if number == Signal::SIGTSTP as i32 {
                // Sent by somebody else: in raw mode no key does it. Stop with the terminal in order.
                self.raw_mode(false)?;
                call!(raise(Signal::SIGTSTP), "raise(SIGTSTP)")?;
                self.raw_mode(true)?;
                // The window may have changed meanwhile.
                forward(connection, Signal::SIGWINCH as i32);
                return Ok(());
            }
            forward(connection, number);
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        raw_mode::restore();
    }
}
