//! Terminals of containers for a page: a login shell whose output is kept and streamed, and which outlives the page.
//!
//! The worker that opened a terminal owns it. Clients connect to a socket in the run directory, which only root can
//! reach. A viewer sends its standard output and receives the terminal's output from a given byte on; keys and sizes
//! are separate messages. A viewer that does not read blocks the program, as any terminal does. Without a viewer, the
//! oldest output is dropped, and after half an hour the shell is hung up. pty(7), unix(7).

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use nix::poll::PollFlags;
use nix::unistd::Pid;
use serde_json::json;

use super::context::emit;
use super::request::{self, Call, Message, Terminal};
use crate::call;
use crate::child::program::{Program, Running, Wish};
use crate::command::output;
use crate::command::state::existing;
use crate::config::Config;
use crate::config::value::{Name, UserSpec, Uuid};
use crate::container::attach::{Attachment, Target};
use crate::exit::ExitCode;
use crate::log as sinks;
use crate::paths::{Paths, create_private};
use crate::plan::terms::Terms;
use crate::poll::{PollSet, is_ready, timeout};
use crate::privilege;
use crate::socket;
use crate::subprocess::release_streams;
use crate::sys::descriptor::set_nonblocking;
use crate::sys::process::{kill, pidfd_open, reap};
use crate::sys::terminal::{WindowSize, set_window_size};
use crate::worker::Env;

/// The amount of kept output, in bytes.
const KEPT: usize = 256 * 1024;
/// The amount of output that a viewer may lag behind before the program blocks, in bytes.
const BEHIND: u64 = 128 * 1024;
/// The maximum output in one event, in bytes: its JSON line fits into PIPE_BUF, so it is written without blocking.
const PIECE: usize = 2880;
/// Maximum number of keys queued for a program that does not read, in bytes.
const MAX_KEYS: usize = 1 << 20;
/// The time after which a shell without a viewer is ended.
const UNSEEN: Duration = Duration::from_secs(30 * 60);
/// The timeout for a shell to end after it was hung up.
const GRACE: Duration = Duration::from_secs(5);

/// Answers one request about terminals.
///
/// # Errors
/// If there is no such terminal, or no shell.
pub(super) fn run(wish: Terminal, env: &Env) -> Result<ExitCode> {
    match wish {
        Terminal::Open { name, user, columns, rows } => {
            open(&name, user.as_deref(), WindowSize { rows, columns }, env)
        }
        Terminal::Attach { id, from } => attach(&id, from, env),
        Terminal::Send { id, message } => pass(&env.paths, &id, &message),
        Terminal::List => list(&env.paths),
    }
}

/// Sends keys, a size or the end of a terminal from the client's process: a message needs no worker. `None` for any other
/// request, and if the terminal cannot be reached, which a worker then reports.
#[must_use]
pub fn deliver(word: &str, paths: &Paths) -> Option<Result<ExitCode>> {
    let Ok(Call::Terminal(Terminal::Send { id, message })) = request::decode(word) else { return None };
    Some(pass(paths, &id, &message)).filter(Result::is_ok)
}

fn pass(paths: &Paths, id: &str, message: &Message) -> Result<ExitCode> {
    socket::send(&connect(paths, id)?, message, &[])?;
    output::json(&json!({ "done": true, "code": 0 }))
}

/// The directory of a terminal, with its name, its container and its socket.
fn place(paths: &Paths, id: &str) -> Result<PathBuf> {
    if id.is_empty() || !id.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        bail!("there is no such terminal");
    }
    Ok(paths.terminals().join(id))
}

fn connect(paths: &Paths, id: &str) -> Result<OwnedFd> {
    socket::connect_to(&place(paths, id)?)?.context("there is no such terminal; its shell has ended")
}

fn list(paths: &Paths) -> Result<ExitCode> {
    let mut terminals = Vec::new();
    for entry in fs::read_dir(paths.terminals()).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name().into_string().unwrap_or_default();
        let Some(id) = name.strip_suffix(".json") else { continue };
        if let Ok(Some(_)) = socket::connect_now(&paths.terminals().join(id)) {
            terminals.extend(super::relay::read_document(&entry.path(), 4096));
        } else {
            let _ = fs::remove_file(entry.path());
            let _ = fs::remove_file(paths.terminals().join(id));
        }
    }
    output::json(&json!({ "terminals": terminals }))
}

/// Shows a terminal on the client's standard output until one of them ends.
fn attach(id: &str, from: u64, env: &Env) -> Result<ExitCode> {
    let connection = connect(&env.paths, id)?;
    socket::send(&connection, &Message::Attach(from), &[io::stdout().as_fd()])?;
    let _ = env.client.wait(Some(connection.as_fd()), None);
    Ok(ExitCode::Done)
}

fn open(name: &Name, user: Option<&str>, size: WindowSize, env: &Env) -> Result<ExitCode> {
    let name = existing(env, name.as_str())?;
    create_private(&env.paths.terminals())?;
    let id = Uuid::random().context("read /dev/urandom")?.to_string();
    let socket = place(&env.paths, &id)?;
    let record = socket.with_extension("json");
    let user_name = user.unwrap_or("root");
    let text = json!({ "id": id, "name": name, "user": user_name }).to_string();
    let mut running = start(&name, user, env)?;
    let pty = running.terminal.take().context("the shell has no terminal")?;
    call!(set_nonblocking(pty.master.as_fd()), "fcntl(O_NONBLOCK)")?;
    let _ = set_window_size(pty.master.as_fd(), size);
    let listener = socket::listen_at(&socket)?;
    fs::write(&record, text).with_context(|| format!("write {}", record.display()))?;
    emit(&json!({ "event": "terminal", "id": id }))?;
    let viewer =
        Viewer { output: File::from(io::stdout().as_fd().try_clone_to_owned()?), connection: None, sent: 0 };
    sinks::send_events_to(None);
    release_streams()?;
    // Otherwise only the terminal would report the shell's end, and only if no other process has it open.
    let end = pidfd_open(running.child).ok();
    let mut holder = Holder {
        env,
        peer: Some(pty.peer).filter(|_| end.is_some()),
        end,
        master: File::from(pty.master),
        child: running.child,
        ended: false,
        listener,
        visitors: Vec::new(),
        viewer: Some(viewer),
        has_client: true,
        kept: VecDeque::new(),
        total: 0,
        keys: VecDeque::new(),
        unseen: None,
        killing: None,
    };
    let held = holder.hold();
    let _ = fs::remove_file(&socket);
    let _ = fs::remove_file(&record);
    held.map(|()| ExitCode::Done)
}

/// A login shell on a terminal of the container's own.
fn start(name: &Name, user: Option<&str>, env: &Env) -> Result<Running> {
    let user = user.map(str::parse::<UserSpec>).transpose()?;
    let target = Target::find(&env.paths, &env.client, name, None)?;
    let terms = match target.terms() {
        Some(terms) => terms.clone(),
        None => Terms::new(&Config::load(&env.paths.container_ini(name), name)?, &env.host),
    };
    let mut environment = env.environment.clone();
    environment.insert("TERM".to_owned(), "xterm-256color".to_owned());
    environment.insert("COLORTERM".to_owned(), "truecolor".to_owned());
    let wish = Wish {
        words: &[],
        user: user.as_ref(),
        directory: None,
        variables: &[],
        configured: &terms.environment,
        client: &environment,
    };
    let filters = privilege::compile(&terms.filters)?;
    let program = Program::prepare(target.root(), &wish, filters)?;
    let mut attachment = Attachment { target, program: &program, terms: &terms, terminal: true };
    attachment.start(&env.host, &env.paths, name)
}

/// The viewer of the output.
struct Viewer {
    output: File,
    /// Its connection; `None` for the client that opened the terminal.
    connection: Option<OwnedFd>,
    /// The number of bytes that it has received, from the beginning of the output.
    sent: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ready {
    Client,
    Listener,
    Visitor(usize),
    Output,
    Keys,
    End,
    Viewer,
    ViewerGone,
}

struct Holder<'a> {
    env: &'a Env,
    master: File,
    /// Kept open so that the master never sees a hang-up while the shell lives.
    peer: Option<OwnedFd>,
    child: Pid,
    /// Readable once the shell has ended.
    end: Option<OwnedFd>,
    ended: bool,
    listener: OwnedFd,
    visitors: Vec<OwnedFd>,
    viewer: Option<Viewer>,
    has_client: bool,
    kept: VecDeque<u8>,
    /// Total number of bytes that the shell has written.
    total: u64,
    keys: VecDeque<u8>,
    unseen: Option<Instant>,
    killing: Option<Instant>,
}

impl Holder<'_> {
    fn hold(&mut self) -> Result<()> {
        loop {
            for ready in self.wait()? {
                match ready {
                    Ready::Client => {
                        // The viewer has disconnected; another one may attach.
                        self.has_client = false;
                        self.viewer = self.viewer.take().filter(|viewer| viewer.connection.is_some());
                        self.env.client.leave(0);
                    }
                    Ready::Listener => self.visitors.extend(socket::accept_from(self.listener.as_fd())),
                    Ready::Visitor(number) => self.hear(number)?,
                    Ready::Output => self.read(),
                    Ready::End => {
                        self.end = None;
                        self.look_at_child();
                    }
                    Ready::Keys => self.write_keys(),
                    Ready::Viewer => self.show(),
                    Ready::ViewerGone => self.viewer = None,
                }
            }
            self.unseen = match &self.viewer {
                Some(_) => None,
                None => self.unseen.or_else(|| Some(Instant::now() + UNSEEN)),
            };
            if self.unseen.is_some_and(|until| until <= Instant::now()) {
                self.hang_up();
            }
            if self.killing.is_some_and(|until| until <= Instant::now()) {
                let _ = kill(Pid::from_raw(-self.child.as_raw()), libc::SIGKILL);
            }
            self.look_at_child();
            if self.ended && self.viewer.as_ref().is_none_or(|viewer| viewer.sent >= self.total) {
                self.say_end();
                return Ok(());
            }
        }
    }

    fn wait(&self) -> Result<Vec<Ready>> {
        let mut set = PollSet::default();
        if let Some(client) = self.env.client.fd().filter(|_| self.has_client) {
            set.input(Ready::Client, client);
        }
        set.input(Ready::Listener, self.listener.as_fd());
        if let Some(end) = &self.end {
            set.input(Ready::End, end.as_fd());
        }
        for (number, visitor) in self.visitors.iter().enumerate() {
            set.input(Ready::Visitor(number), visitor.as_fd());
        }
        let behind = self.viewer.as_ref().map_or(0, |viewer| self.total - viewer.sent);
        if !self.ended && behind < BEHIND {
            set.input(Ready::Output, self.master.as_fd());
        }
        if !self.ended && !self.keys.is_empty() {
            set.add(Ready::Keys, self.master.as_fd(), PollFlags::POLLOUT);
        }
        if let Some(viewer) = &self.viewer {
            if behind > 0 {
                set.add(Ready::Viewer, viewer.output.as_fd(), PollFlags::POLLOUT);
            }
            if let Some(connection) = &viewer.connection {
                set.input(Ready::ViewerGone, connection.as_fd());
            }
        }
        let next = [self.unseen, self.killing].into_iter().flatten().min();
        // If another process keeps the terminal open, the shell is polled.
        let look = Instant::now() + Duration::from_secs(if self.killing.is_some() { 1 } else { 60 });
        let left = next.map_or(look, |next| next.min(look)).saturating_duration_since(Instant::now());
        Ok(call!(set.wait(timeout(Some(left))), "poll")?)
    }

    /// A message of a client; a client that attaches becomes the viewer.
    fn hear(&mut self, number: usize) -> Result<()> {
        if number >= self.visitors.len() {
            return Ok(());
        }
        let received = socket::receive::<Message>(&self.visitors[number]);
        let Ok(Some(received)) = received else {
            self.visitors.remove(number);
            return Ok(());
        };
        match received.message {
            Message::Attach(from) => {
                let connection = self.visitors.remove(number);
                if let Some(output) = received.descriptors.into_iter().next() {
                    let sent = from.min(self.total);
                    self.viewer =
                        Some(Viewer { output: File::from(output), connection: Some(connection), sent });
                }
            }
            Message::Input(data) => {
                if let Ok(keys) = BASE64_STANDARD.decode(data)
                    && self.keys.len() + keys.len() <= MAX_KEYS
                {
                    self.keys.extend(keys);
                    self.write_keys();
                }
            }
            Message::Resize(size) => drop(set_window_size(self.master.as_fd(), size)),
            Message::Close => self.hang_up(),
        }
        Ok(())
    }

    fn write_keys(&mut self) {
        while !self.keys.is_empty() {
            let (front, _) = self.keys.as_slices();
            match self.master.write(front) {
                Ok(count) => drop(self.keys.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; 8192];
        match self.master.read(&mut buffer) {
            Ok(count) if count > 0 => {
                self.kept.extend(&buffer[..count]);
                self.total += count as u64;
                let surplus = self.kept.len().saturating_sub(KEPT);
                self.kept.drain(..surplus);
                self.show();
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            _ => {
                self.peer = None;
                self.ended = true;
            }
        }
    }

    /// Writes to the viewer without blocking.
    fn show(&mut self) {
        let first = self.total - self.kept.len() as u64;
        let Some(viewer) = &mut self.viewer else { return };
        while viewer.sent < self.total && is_ready(viewer.output.as_fd(), PollFlags::POLLOUT) {
            let lost = first.saturating_sub(viewer.sent);
            viewer.sent = viewer.sent.max(first);
            let begin = usize::try_from(viewer.sent - first).unwrap_or(0);
            let piece: Vec<u8> = self.kept.iter().skip(begin).take(PIECE).copied().collect();
            let end = viewer.sent + piece.len() as u64;
            let mut event = json!({ "event": "bytes", "to": end, "data": BASE64_STANDARD.encode(&piece) });
            if lost > 0 {
                event["lost"] = json!(lost);
            }
            if viewer.output.write_all(format!("{event}\n").as_bytes()).is_err() {
                self.viewer = None;
                return;
            }
            viewer.sent = end;
        }
    }

    fn say_end(&mut self) {
        if let Some(viewer) = &mut self.viewer {
            let _ = viewer.output.write_all(b"{\"event\":\"end\",\"reason\":\"ended\"}\n");
        }
    }

    fn look_at_child(&mut self) {
        if let Ok(Some((pid, _))) = reap(Some(self.child))
            && pid == self.child
        {
            // The last output is read first; then the master reports the end.
            self.peer = None;
        }
    }

    /// Hangs up as a shell does with its jobs.
    fn hang_up(&mut self) {
        if self.killing.is_none() {
            self.killing = Some(Instant::now() + GRACE);
            for signal in [libc::SIGHUP, libc::SIGCONT] {
                let _ = kill(Pid::from_raw(-self.child.as_raw()), signal);
            }
            self.peer = None;
        }
    }
}
