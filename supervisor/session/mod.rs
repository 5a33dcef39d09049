//! A session: a program in a container, from its start to its end.
//!
//! Owns the loop that waits for the program's end, for the client's signals and, with a terminal, for the bytes in both
//! directions. Without a terminal, the program has the client's own descriptors, and nothing is copied. `container`
//! starts the program; this module never does.

pub mod bridge;
pub mod console;
pub mod escape;
pub mod flow;
pub mod output;
pub mod terminal;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::Error;
use anyhow::Result;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use self::bridge::{Bridge, Edge, Typed};
use self::flow::SourceState;
use self::terminal::RawMode;
use crate::call;
use crate::cgroup::{Joining, kill_frozen_group};
use crate::child::program::Running;
use crate::child::wire::FromChild;
use crate::exit::ExitCode;
use crate::poll::{PollSet, is_readable, timeout};
use crate::pty::{Pty, open_again};
use crate::signals::Signals;
use crate::socket;
use crate::sys::process::{self, Ended};
use crate::sys::terminal::{WindowSize, set_window_size};
use crate::worker::client::{Client, FromClient};

/// How long a program may take to end after a hangup before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// The interval at which a terminal without SIGWINCH is checked for its size.
const ASKING: Duration = Duration::from_secs(1);
/// The minimum interval at which the end-of-file character is typed.
const TELLING: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(320));
/// The size of a terminal without a viewer.
const UNSEEN: WindowSize = WindowSize { rows: 24, columns: 80 };

/// The result of a session.
#[derive(Debug)]
pub struct SessionEnd {
    /// The program's exit code, or the one for a program that did not run.
    pub code: ExitCode,
    /// Why it did not run.
    pub failure: Option<Error>,
    /// The kernel killed the process at its creation, because its group had been killed before.
    pub stillborn: bool,
}

/// The exit code for the way in which a program ended.
#[must_use]
pub fn exit_code(ended: Ended) -> ExitCode {
    match ended {
        Ended::Exited(code) => ExitCode::from_number(code),
        Ended::Signalled(signal) => ExitCode::Signal(signal),
    }
}

/// Serves a program until it has ended and all its output is written.
///
/// # Errors
/// If poll(2) fails; the program is then killed when this process ends.
pub fn attend(client: &Client, running: Running) -> Result<SessionEnd> {
    let Running { child, wire, terminal, says_begun, groups } = running;
    let end = End::of(child)?;
    let screen = terminal.map(|pty| Screen::new(client, pty)).transpose()?;
    let mut session = Session {
        client,
        child,
        end,
        screen,
        client_gone: client.fd().is_none(),
        ended: None,
        killing: None,
        groups,
        given_up: None,
    };
    session.run()?;
    if session.ended.is_none() {
        session.forward(libc::SIGKILL);
        // Otherwise it would keep the client's standard streams open.
        kill_frozen_group(session.child);
    }
    let code = session.ended.map_or(ExitCode::Signal(session.given_up.unwrap_or(HANG_UP)), exit_code);
    let Words { begun, mut failure } = last_words(&wire);
    if session.given_up.is_some() {
        failure.get_or_insert_with(|| Error::msg("the container is frozen; the command was killed"));
    }
    let stillborn = says_begun && !begun && code == ExitCode::Signal(KILLED);
    Ok(SessionEnd { code, failure, stillborn })
}

/// SIGHUP, the same number on every machine (signal(7)).
const HANG_UP: u8 = 1;
/// SIGKILL.
const KILLED: u8 = 9;

struct Session<'a> {
    client: &'a Client,
    child: Pid,
    end: End,
    screen: Option<Screen<'a>>,
    client_gone: bool,
    ended: Option<Ended>,
    killing: Option<Instant>,
    /// Report whether the program is frozen.
    groups: Option<Joining>,
    /// The signal that ended the session of a frozen program.
    given_up: Option<u8>,
}

/// Both sides of the terminal of a session.
struct Screen<'a> {
    bridge: Bridge,
    /// Kept open so that the master sees no hangup while the program lives.
    peer: Option<OwnedFd>,
    size: Option<WindowSize>,
    asking: bool,
    telling: Option<(Instant, Duration)>,
    _raw: Option<RawMode<'a>>,
}

/// The source that reports the end of the program.
enum End {
    /// The process itself (5.3).
    Process(OwnedFd),
    /// SIGCHLD.
    Signals(Signals),
}

impl End {
    fn of(child: Pid) -> Result<Self> {
        match process::pidfd_open(child) {
            Ok(pidfd) => Ok(Self::Process(pidfd)),
            Err(_) => Ok(Self::Signals(Signals::listen(&[Signal::SIGCHLD])?)),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Process(pidfd) => pidfd.as_fd(),
            Self::Signals(signals) => signals.fd(),
        }
    }

    fn heard(&self) {
        if let Self::Signals(signals) = self {
            let _ = signals.take();
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Ready {
    End,
    Client,
    Edge(Edge),
}

impl Session<'_> {
    fn run(&mut self) -> Result<()> {
        // It may have ended before SIGCHLD was handled.
        self.reap()?;
        while !self.is_over() {
            for ready in self.wait()? {
                match ready {
                    Ready::Client => self.hear_client()?,
                    Ready::End => {
                        self.end.heard();
                        self.reap()?;
                    }
                    Ready::Edge(edge) => self.cross(edge),
                }
            }
            if let Some(screen) = &mut self.screen {
                screen.tick();
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let shown = self.screen.as_ref().is_none_or(|screen| screen.bridge.is_finished());
        (self.ended.is_some() && shown) || self.killing.is_some_and(|deadline| deadline <= Instant::now())
    }

    fn wait(&self) -> Result<Vec<Ready>> {
        let mut set = PollSet::default();
        if self.ended.is_none() {
            set.input(Ready::End, self.end.fd());
        }
        if let Some(connection) = self.client.fd().filter(|_| !self.client_gone) {
            set.input(Ready::Client, connection);
        }
        for (edge, descriptor, flags) in self.screen.iter().flat_map(|screen| screen.bridge.edges()) {
            set.add(Ready::Edge(edge), descriptor, flags);
        }
        Ok(call!(set.wait(timeout(self.time_left())), "poll")?)
    }

    /// The time until a timer is due.
    fn time_left(&self) -> Option<Duration> {
        let screen = self.screen.as_ref();
        let asking = screen.filter(|screen| screen.asking).map(|_| ASKING);
        let until = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let telling = screen.and_then(|screen| screen.telling).map(|(next, _)| until(next));
        [asking, telling, self.killing.map(until)].into_iter().flatten().min()
    }

    fn reap(&mut self) -> Result<()> {
        if self.ended.is_some() {
            return Ok(());
        }
        self.ended =
            call!(process::reap(Some(self.child)), "waitpid({})", self.child)?.map(|(_, ended)| ended);
        if let (Some(_), Some(screen)) = (self.ended, &mut self.screen) {
            screen.finish();
        }
        Ok(())
    }

    fn hear_client(&mut self) -> Result<()> {
        match self.client.receive()? {
            FromClient::HungUp => {
                self.client_gone = true;
                self.hang_up();
            }
            FromClient::Signal(libc::SIGWINCH) => {
                if let Some(screen) = &mut self.screen {
                    screen.bridge.release();
                    screen.resize();
                }
            }
            FromClient::Signal(number) => {
                // A process that a signal ends leaves the frozen state first: the kernel would report it as thawed.
                let is_frozen = self.groups.as_ref().is_some_and(Joining::is_frozen);
                self.forward(number);
                if is_frozen {
                    self.give_up(number);
                }
            }
        }
        Ok(())
    }

    /// Ends the session of a frozen program if the client was asked to end: the program receives the signal once it is
    /// thawed, at an unknown time.
    fn give_up(&mut self, number: i32) {
        if matches!(number, libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT) {
            self.given_up = u8::try_from(number).ok();
            self.killing = Some(Instant::now());
        }
    }

    /// Sends to the whole process group, or to the child until it leads one.
    fn forward(&self, number: i32) {
        if self.ended.is_none()
            && process::kill(Pid::from_raw(-self.child.as_raw()), number) == Err(Errno::ESRCH)
        {
            let _ = process::kill(self.child, number);
        }
    }

    /// The client has ended: does what a shell does to its jobs when its terminal is hung up.
    fn hang_up(&mut self) {
        // The kernel hangs the terminal up when the master is closed.
        self.screen = None;
        self.forward(libc::SIGHUP);
        self.forward(libc::SIGCONT);
        self.killing.get_or_insert_with(|| Instant::now() + GRACE);
    }

    fn cross(&mut self, edge: Edge) {
        let Some(screen) = &mut self.screen else { return };
        let ended = self.ended.is_some();
        let goes_on = match edge {
            Edge::Input => screen.take_input(),
            Edge::Output => {
                screen.bridge.pass_outward();
                if ended {
                    screen.bridge.take_rest();
                }
                true
            }
            Edge::Far if ended => true,
            Edge::Far => screen.serve_far(),
        };
        if !goes_on || screen.bridge.lost_its_reader() {
            self.hang_up();
        }
    }
}

/// The messages of a child before it executed the program, or instead.
#[derive(Debug, Default)]
struct Words {
    begun: bool,
    /// Why the program was not executed.
    failure: Option<Error>,
}

/// Read after the child has ended: a successful start wakes no one.
fn last_words(wire: &OwnedFd) -> Words {
    let mut words = Words::default();
    while is_readable(wire.as_fd()) {
        let Ok(Some(received)) = socket::receive::<FromChild>(wire) else { break };
        match received.message {
            FromChild::Begun => words.begun = true,
            FromChild::Failed(failed) => words.failure = Some(failed.into()),
            _ => {}
        }
    }
    words
}

impl<'a> Screen<'a> {
    fn new(client: &'a Client, pty: Pty) -> Result<Self> {
        let raw = RawMode::begin(client)?;
        let size = terminal::size();
        set_size(pty.master.as_fd(), size.filter(|size| size.rows > 0).unwrap_or(UNSEEN));
        let mut bridge = Bridge::to_terminal(pty.master)?;
        if raw.is_some() {
            bridge.hold();
        }
        Ok(Self {
            bridge,
            peer: Some(pty.peer),
            size,
            asking: raw.is_some() && !terminal::tells_its_size(client),
            telling: None,
            _raw: raw,
        })
    }

    /// Gives the terminal the size of the client's terminal.
    fn resize(&mut self) {
        let size = terminal::size();
        if let Some(new) = size.filter(|_| size != self.size) {
            set_size(self.bridge.far(), new);
        }
        self.size = size;
    }

    /// `false` if the client's terminal was closed.
    fn take_input(&mut self) -> bool {
        if self.bridge.take_input() == Typed::HungUp {
            return false;
        }
        if self.bridge.end_is_due() {
            self.telling.get_or_insert((Instant::now(), TELLING.0));
        }
        true
    }

    /// `false` if the terminal can no longer be used.
    fn serve_far(&mut self) -> bool {
        if self.bridge.serve_far() == SourceState::Ended {
            // A process in the container has hung the terminal up, as login(1) does with vhangup(2).
            self.peer = self.peer.take().and_then(|peer| open_again(&peer).ok());
            if self.peer.is_none() {
                return false;
            }
            self.bridge.resume();
        }
        true
    }

    /// Performs the timed actions.
    fn tick(&mut self) {
        if self.asking {
            self.resize();
        }
        if let (Some((next, interval)), Some(peer)) = (self.telling, &self.peer)
            && next <= Instant::now()
        {
            self.bridge.type_end(peer.as_fd());
            self.telling = Some((Instant::now() + interval, (interval * 2).min(TELLING.1)));
        }
    }

    /// The program has ended: writes its remaining output and accepts no more input.
    fn finish(&mut self) {
        self.peer = None;
        self.telling = None;
        self.asking = false;
        self.bridge.end_input();
        self.bridge.take_rest();
    }
}

fn set_size(terminal: BorrowedFd<'_>, size: WindowSize) {
    // A terminal without a size also works.
    let _ = set_window_size(terminal, size);
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::child::wire::Wire;

    #[expect(clippy::zombie_processes, reason = "attending is waiting")]
    fn outcome(script: &str, failure: Option<&str>) -> SessionEnd {
        let (wire, child_end) = socket::pair().unwrap();
        let child = Command::new("/bin/sh").args(["-c", script]).spawn().unwrap();
        let child_end = Wire::new(child_end);
        if let Some(text) = failure {
            child_end.fail(&anyhow::anyhow!("cause").context(text.to_owned()));
        }
        drop(child_end);
        let child = Pid::from_raw(i32::try_from(child.id()).unwrap());
        attend(&Client::new(None), Running { child, wire, terminal: None, says_begun: false, groups: None })
            .unwrap()
    }

    #[test]
    fn the_exit_code_says_how_the_program_ended() {
        for (script, code) in
            [("exit 0", 0), ("exit 42", 42), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -40 $$", 168)]
        {
            let outcome = outcome(script, None);
            assert_eq!((outcome.code.number(), outcome.failure.is_none()), (code, true), "{script}");
        }
    }

    #[test]
    fn a_failure_told_on_the_wire_comes_with_the_code() {
        let outcome = outcome("exit 127", Some("nope"));
        assert_eq!(outcome.code.number(), 127);
        assert_eq!(format!("{:#}", outcome.failure.unwrap()), "nope: cause");
    }

    #[test]
    fn ends_become_exit_codes() {
        for (ended, number) in [
            (Ended::Exited(0), 0),
            (Ended::Exited(125), 125),
            (Ended::Signalled(9), 137),
            (Ended::Signalled(64), 192),
        ] {
            assert_eq!(exit_code(ended).number(), number);
        }
        assert_eq!(exit_code(Ended::Exited(0)), ExitCode::Done);
    }
}
