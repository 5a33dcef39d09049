//! Attaches to a container's /dev/console, which its monitor owns.
//!
//! Owns the loop. The container does not notice an attached client; detaching never ends anything. The loop ends when
//! the user types the detach sequence, when a signal ends the client, or when the monitor ends.

use std::io::{Write, stderr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::bridge::{Bridge, Edge, Typed};
use super::terminal::{self, RawMode};
use super::{ASKING, escape};
use crate::call;
use crate::config::value::Name;
use crate::container::talk::Talk;
use crate::exit::ExitCode;
use crate::monitor::protocol::{Answer, ControlRequest};
use crate::paths::Paths;
use crate::poll::{PollSet, timeout};
use crate::socket;
use crate::sys::terminal::WindowSize;
use crate::worker::client::Client;
use crate::worker::client::FromClient;
use crate::worker::waiting::TIMEOUT;

/// Why the client detached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The detach sequence was typed, or the output has no reader.
    Detached,
    /// The container's monitor has ended.
    Ended,
    /// This signal ended the client.
    Signalled(u8),
}

impl Left {
    /// The exit code of the command.
    #[must_use]
    pub fn code(self) -> ExitCode {
        match self {
            Self::Detached | Self::Ended => ExitCode::Done,
            Self::Signalled(signal) => ExitCode::Signal(signal),
        }
    }
}

/// Attaches to the console until one of the conditions above; `None` if the container is not running.
///
/// # Errors
/// If the monitor cannot be reached or refuses.
pub fn look(paths: &Paths, client: &Client, name: &Name) -> Result<Option<Left>> {
    let Some(talk) = Talk::open(paths, client, name)? else { return Ok(None) };
    talk.say(&ControlRequest::Console)?;
    let answer = talk.hear(Some(Instant::now() + TIMEOUT))?.context("the container ended in the meantime")?;
    let connection = talk.connection;
    let stream = match answer.message {
        Answer::Done => answer.descriptors.into_iter().next().context("the monitor sent no console")?,
        Answer::Failed(text) => bail!("{text}"),
        Answer::Status(_) => bail!("the monitor sent an unexpected answer"),
    };
    if terminal::input_is_terminal() {
        // Ignores a closed stderr.
        let _ = writeln!(stderr(), "ds: console {name}: {}", escape::HINT);
    }
    let raw = RawMode::begin(client)?;
    let asking = raw.is_some() && !terminal::tells_its_size(client);
    let mut bridge = Bridge::to_console(stream)?;
    if raw.is_some() {
        bridge.hold();
    }
    let left = Looking { client, connection, bridge, size: None, asking }.run();
    drop(raw);
    if terminal::input_is_terminal() {
        let _ = writeln!(stderr());
    }
    left.map(Some)
}

struct Looking<'a> {
    client: &'a Client,
    connection: OwnedFd,
    bridge: Bridge,
    size: Option<WindowSize>,
    asking: bool,
}

#[derive(Debug, Clone, Copy)]
enum Ready {
    Client,
    Edge(Edge),
}

impl Looking<'_> {
    fn run(mut self) -> Result<Left> {
        self.resize();
        loop {
            for ready in self.wait()? {
                let left = match ready {
                    Ready::Client => self.hear_client()?,
                    Ready::Edge(edge) => self.cross(edge),
                };
                if let Some(left) = left {
                    return Ok(left);
                }
            }
            if self.asking {
                self.resize();
            }
            if self.bridge.is_finished() {
                return Ok(if self.bridge.lost_its_reader() { Left::Detached } else { Left::Ended });
            }
        }
    }

    fn wait(&self) -> Result<Vec<Ready>> {
        let mut set = PollSet::default();
        if let Some(client) = self.client.fd() {
            set.input(Ready::Client, client);
        }
        for (edge, descriptor, flags) in self.bridge.edges() {
            set.add(Ready::Edge(edge), descriptor, flags);
        }
        Ok(call!(set.wait(timeout(self.asking.then_some(ASKING))), "poll")?)
    }

    fn hear_client(&mut self) -> Result<Option<Left>> {
        Ok(match self.client.receive()? {
            FromClient::HungUp => Some(Left::Signalled(1)),
            FromClient::Signal(libc::SIGWINCH | libc::SIGCONT) => {
                self.bridge.release();
                self.resize();
                None
            }
            FromClient::Signal(number) => Some(Left::Signalled(u8::try_from(number).unwrap_or(1))),
        })
    }

    fn cross(&mut self, edge: Edge) -> Option<Left> {
        match edge {
            Edge::Input => match self.bridge.take_input() {
                Typed::Something => None,
                Typed::Left => Some(Left::Detached),
                Typed::HungUp => Some(Left::Signalled(1)),
            },
            Edge::Output => {
                self.bridge.pass_outward();
                None
            }
            Edge::Far => {
                self.bridge.serve_far();
                None
            }
        }
    }

    /// Sends the size of the client's terminal to the monitor, if it has changed.
    fn resize(&mut self) {
        let size = terminal::size().filter(|size| size.rows > 0);
        if let Some(new) = size.filter(|_| size != self.size)
            // If the monitor has ended, it has closed the stream too.
            && socket::send(self.connection.as_fd(), &ControlRequest::Resize(new), &[]).is_ok()
        {
            self.size = size;
        }
    }
}
