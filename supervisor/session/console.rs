//! Looking at a container's /dev/console, which its monitor owns.
//!
//! The container does not notice who looks: leaving ends nothing. The loop ends when the sequence of keys is typed,
//! when the client is told to end, or when the monitor does.

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
use crate::worker::waiting::PATIENCE;

/// Why nobody looks any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The keys were typed, or the output has no reader any more.
    Detached,
    /// The container's monitor has ended.
    Ended,
    /// The client was told to end by this signal.
    Signalled(u8),
}

impl Left {
    /// The exit code of a command that did nothing but look.
    #[must_use]
    pub fn code(self) -> ExitCode {
        match self {
            Self::Detached | Self::Ended => ExitCode::Done,
            Self::Signalled(signal) => ExitCode::Signal(signal),
        }
    }
}

/// Looks at the console of a running container until something ends that; `None` when it does not run.
///
/// # Errors
/// When the monitor cannot be reached or refuses.
pub fn look(paths: &Paths, client: &Client, name: &Name) -> Result<Option<Left>> {
    let Some(talk) = Talk::open(paths, client, name)? else { return Ok(None) };
    talk.say(&ControlRequest::Console)?;
    let answer = talk.hear(Some(Instant::now() + PATIENCE))?.context("the container ended meanwhile")?;
    let connection = talk.connection;
    let stream = match answer.message {
        Answer::Done => answer.descriptors.into_iter().next().context("no console came along")?,
        Answer::Failed(text) => bail!("{text}"),
        Answer::Status(_) => bail!("the monitor answered something else"),
    };
    if terminal::input_is_terminal() {
        // Whoever reads it is not there: nobody to tell.
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

    /// Tells the monitor the size of the client's terminal, when it is another one.
    fn resize(&mut self) {
        let size = terminal::size().filter(|size| size.rows > 0);
        if let Some(new) = size.filter(|_| size != self.size)
            // A monitor that is gone closes the stream, too.
            && socket::send(self.connection.as_fd(), &ControlRequest::Resize(new), &[]).is_ok()
        {
            self.size = size;
        }
    }
}
