//! The client: sends a command line and its standard streams to the supervisor, and waits for the exit code.
//!
//! Owns the forwarding of signals; `raw_mode` owns the terminal. If no supervisor listens, it starts one. It never
//! reads configuration and performs no privileged operation, since every `ds run` depends on its speed. termios(3),
//! signal(7).

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
use nix::unistd::{Pid, geteuid};

use self::silence::{Silence, Verdict, wait_for_supervisor};
use crate::call;
use crate::daemon::launch;
use crate::paths::Paths;
use crate::poll::PollSet;
use crate::signals::Signals;
use crate::socket;
use crate::sys::socket::next_length;
use crate::worker::protocol::{CommandRequest, ENVIRONMENT, FromWorker, GENERATION, ToWorker};

/// Signals that would end the client. They are forwarded to the command instead.
const ENDING: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];
/// Signals that are forwarded while the command has the terminal.
const OF_TERMINAL: [Signal; 3] = [Signal::SIGWINCH, Signal::SIGCONT, Signal::SIGTSTP];

/// How often a request is repeated that no supervisor has read before it ended.
const MAX_TRIES: u32 = 3;
/// The timeout for a supervisor that another client launches.
const COMING_UP: Duration = Duration::from_secs(5);

/// Connects to the supervisor before the command line is parsed, for interactive verbs: the supervisor forks a worker
/// at the same time. A worker without a request ends at once. [`run`] reports any error.
#[must_use]
pub fn knock(words: &[String]) -> Option<OwnedFd> {
    let waited_for = ["run", "enter", "shell"].contains(&words.first()?.as_str());
    if !waited_for || !geteuid().is_root() {
        return None;
    }
    socket::connect_to(&Paths::from_environment().supervisor_socket()).ok()?
}

/// Has the supervisor run a command line. `argv` begins with the program's name; `early` is the result of [`knock`].
///
/// # Errors
/// If the command line could not be run, or was not completed.
pub fn run(paths: &Paths, argv: &[String], early: Option<OwnedFd>) -> Result<u8> {
    require_root()?;
    let mut connected = match early {
        Some(early) => Some(early),
        None => socket::connect_to(&paths.supervisor_socket())?,
    };
    for _ in 0..MAX_TRIES {
        let connection = match connected.take() {
            Some(connection) => connection,
            None => launch(paths)?,
        };
        if let Some(code) = converse(&connection, argv)? {
            return Ok(code);
        }
    }
    bail!("the supervisor ended repeatedly; see {}", paths.supervisor_log().display())
}

/// Like [`run`], but `None` without a running supervisor.
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

/// Starts a supervisor, unless another process has just done so.
fn launch(paths: &Paths) -> Result<OwnedFd> {
    launch::refuse_spoiled()?;
    let _lock = launch::lock(paths)?;
    if let Some(connection) = socket::connect_to(&paths.supervisor_socket())? {
        return Ok(connection);
    }
    let started = launch::start(paths, true);
    // The supervisor of an interrupted client may still be starting.
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
    bail!("the supervisor ended immediately after its start; see {}", paths.supervisor_log().display())
}

/// `None` if the supervisor ended before anyone read the request: the request can be repeated.
fn converse(connection: &OwnedFd, argv: &[String]) -> Result<Option<u8>> {
    let set = |name: &str| Some((name.to_owned(), env::var(name).ok()?));
    let request = CommandRequest {
        generation: GENERATION,
        argv: argv.to_vec(),
        // Empty if the directory was deleted: the worker cannot use it either.
        cwd: env::current_dir()
            .ok()
            .and_then(|path| path.into_os_string().into_string().ok())
            .unwrap_or_default(),
        environment: ENVIRONMENT.iter().copied().filter_map(set).collect::<BTreeMap<_, _>>(),
        watches: true,
    };
    wait_for_supervisor(connection)?;
    // A supervisor that refuses the request may already have closed the connection; its reason can still be read.
    let sent = socket::send(connection, &request, &[stdin().as_fd(), stdout().as_fd(), stderr().as_fd()]);
    // Until here, a signal ends the client and with it the worker. The worker is already running.
    let signals = Signals::listen(&ENDING)?;
    let mut terminal = Terminal { of_terminal: None };
    let silence = Silence::new();
    let mut conversation = Conversation { connection, signals, silence, last_signal: None };
    let end = conversation.follow(&mut terminal);
    drop(terminal);
    match end? {
        End::Code(code) => {
            // The process ends now, which discards its pending signals.
            std::mem::forget(conversation);
            Ok(Some(code))
        }
        End::NotServed => Ok(None),
        End::Unheard => conversation.end_as_signalled(),
        End::Silent => match sent {
            // Nothing was sent: the supervisor ended with this connection in its queue.
            Err(error) if socket::is_end(&error) => Ok(None),
            sent => {
                sent?;
                conversation.end_as_signalled()
            }
        },
    }
}

/// The result of a conversation.
enum End {
    /// With the exit code.
    Code(u8),
    /// The connection was closed without an exit code.
    Silent,
    /// The connection was closed before the request was read.
    NotServed,
    /// The worker does not read the forwarded signal.
    Unheard,
}

/// The event that poll(2) reported.
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
    /// Forwards signals and reads messages until the worker sends the exit code or closes the connection.
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
                // If the other end is closed with unread data, the first read returns this error (unix(7)). The data
                // that it had sent can be read afterwards.
                let unread = next_length(self.connection.as_fd()) == Err(Errno::ECONNRESET);
                match socket::receive::<FromWorker>(self.connection)?.map(|received| received.message) {
                    Some(FromWorker::Serving(worker)) => self.silence.served_by(Pid::from_raw(worker)),
                    Some(FromWorker::RawMode(on)) => {
                        terminal.raw_mode(on)?;
                        if on {
                            // The worker holds output back until it receives this.
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

    /// The connection was closed without an exit code. An interrupted command ends like any program.
    fn end_as_signalled(self) -> Result<Option<u8>> {
        let last = self.last_signal.and_then(|number| Signal::try_from(number).ok());
        drop(self.signals);
        if let Some(signal) = last {
            call!(raise(signal), "raise({signal})")?;
        }
        bail!("the worker died; see supervisor.log")
    }
}

/// Ignores that the worker has just ended; its last message can still be read.
fn forward(connection: &OwnedFd, number: i32) {
    let _ = socket::send(connection, &ToWorker::Signal(number), &[]);
}

/// The terminal on standard input, if any. Dropping this restores it.
struct Terminal {
    /// Forwarded while the terminal is raw.
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
                // Another process sent it: in raw mode, no key does. Restore the terminal before stopping.
                self.raw_mode(false)?;
                call!(raise(Signal::SIGTSTP), "raise(SIGTSTP)")?;
                self.raw_mode(true)?;
                // The window size may have changed in the meantime.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_to_a_supervisor_that_ends_before_it_accepts_can_be_repeated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = socket::listen_at(&path).unwrap();
        let connection = socket::connect_to(&path).unwrap().unwrap();
        drop(listener);
        assert_eq!(converse(&connection, &["ds".to_owned(), "list".to_owned()]).unwrap(), None);
    }
}
