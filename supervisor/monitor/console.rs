//! /dev/console: read continuously, written to a bounded log, and sent to attached viewers.
//!
//! Owns the console of one container. A full terminal buffer blocks PID 1 after about 64 KB of output, so nothing here
//! ever blocks the reader: a slow viewer loses output that does not fit into its buffer.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{read, write};

use super::part::{Part, Ready};
use crate::call;
use crate::paths;
use crate::poll::PollSet;
use crate::pty::{self, Pty};
use crate::sys::descriptor::set_nonblocking;
use crate::sys::terminal::{self, WindowSize};

/// Size at which the log is rotated; one older file is kept.
const LOG_SIZE: u64 = 1024 * 1024;
/// How far a slow viewer may fall behind before it loses output.
const VIEWER_BUFFER: usize = 256 * 1024;
/// The maximum pending input for the container.
const INPUT_BUFFER: usize = 64 * 1024;
/// The latest output, which a new viewer receives first: a login prompt, or the first lines of a boot.
const HISTORY: usize = 16 * 1024;
/// The end of the prompt of getty(8).
const PROMPT: &[u8] = b"login: ";

/// The console of one container.
#[derive(Debug)]
pub(super) struct Console {
    master: Option<OwnedFd>,
    /// Kept open so that the master sees no hangup while no process in the container has the console open.
    peer: Option<OwnedFd>,
    input: VecDeque<u8>,
    viewers: Vec<Viewer>,
    log: Log,
    history: VecDeque<u8>,
    /// A login prompt has appeared since the boot.
    prompted: bool,
}

#[derive(Debug)]
struct Viewer {
    stream: OwnedFd,
    output: VecDeque<u8>,
}

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    /// Write errors of the log are reported once.
    failed: bool,
}

impl Console {
    pub(super) fn new(log: PathBuf) -> Self {
        Self {
            master: None,
            peer: None,
            input: VecDeque::new(),
            viewers: Vec::new(),
            log: Log { path: log, file: None, size: 0, failed: false },
            history: VecDeque::new(),
            prompted: false,
        }
    }

    /// Takes over the console of a new boot.
    pub(super) fn connect(&mut self, console: Pty) -> Result<()> {
        call!(set_nonblocking(console.master.as_fd()), "fcntl(O_NONBLOCK)")?;
        self.peer = Some(console.peer);
        self.master = Some(console.master);
        self.input.clear();
        self.history.clear();
        self.prompted = false;
        Ok(())
    }

    /// The container has ended: reads the last output.
    pub(super) fn finish(&mut self) {
        self.peer = None;
        self.read();
        self.master = None;
    }

    /// The terminal is ready: forwards input and reads output. Returns whether a login prompt has appeared since the
    /// boot.
    pub(super) fn exchange(&mut self) -> bool {
        self.forward();
        self.read()
    }

    fn read(&mut self) -> bool {
        let mut buffer = [0_u8; 16 * 1024];
        loop {
            let Some(master) = &self.master else { return false };
            match read(master, &mut buffer) {
                Ok(0) => break,
                Ok(length) => self.take(&buffer[..length]),
                Err(Errno::EINTR) => {}
                Err(Errno::EIO) => {
                    // A process in the container has hung the terminal up (vhangup(2)). Reopen it, otherwise poll(2)
                    // would report it forever.
                    self.peer = self.peer.take().and_then(|peer| pty::open_again(&peer).ok());
                    if self.peer.is_none() {
                        self.master = None;
                        break;
                    }
                }
                Err(_) => break,
            }
        }
        self.prompted
    }

    fn take(&mut self, bytes: &[u8]) {
        self.log.append(bytes);
        for viewer in &mut self.viewers {
            let room = VIEWER_BUFFER.saturating_sub(viewer.output.len());
            viewer.output.extend(&bytes[..bytes.len().min(room)]);
            viewer.flush();
        }
        self.history.extend(bytes);
        self.notice_prompt(bytes.len());
        let surplus = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..surplus);
    }

    /// Searches for a prompt in the last `fresh` bytes. It may begin before them, and other output may follow.
    fn notice_prompt(&mut self, fresh: usize) {
        if !self.prompted {
            let begin = self.history.len().saturating_sub(fresh + PROMPT.len() - 1);
            let text = &self.history.make_contiguous()[begin..];
            self.prompted = text.windows(PROMPT.len()).any(|window| window == PROMPT);
        }
    }

    /// Forwards the input of viewers.
    fn forward(&mut self) {
        let Some(master) = &self.master else {
            self.input.clear();
            return;
        };
        drain(&mut self.input, master);
    }

    /// Serves a viewer, and removes it if it has ended.
    pub(super) fn serve(&mut self, index: usize) {
        let Some(viewer) = self.viewers.get_mut(index) else { return };
        viewer.flush();
        if self.input.len() >= INPUT_BUFFER {
            return;
        }
        let mut buffer = [0_u8; 4096];
        let alive = match read(&viewer.stream, &mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                self.input.extend(&buffer[..length]);
                true
            }
            Err(errno) => matches!(errno, Errno::EAGAIN | Errno::EINTR),
        };
        self.forward();
        if !alive {
            self.viewers.remove(index);
        }
    }

    /// Attaches a viewer; returns its end of a stream.
    pub(super) fn attach(&mut self) -> Result<OwnedFd> {
        let (ours, theirs) = call!(
            socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC),
            "socketpair(unix, stream)"
        )?;
        call!(set_nonblocking(ours.as_fd()), "fcntl(O_NONBLOCK)")?;
        let mut viewer = Viewer { stream: ours, output: self.history.clone() };
        viewer.flush();
        self.viewers.push(viewer);
        Ok(theirs)
    }

    /// Gives the terminal the size of the viewer's terminal.
    pub(super) fn resize(&self, size: WindowSize) {
        if let Some(master) = &self.master {
            let _ = terminal::set_window_size(master.as_fd(), size);
        }
    }
}

impl Part for Console {
    fn watch<'a>(&'a self, set: &mut PollSet<'a, Ready>) {
        let room = self.input.len() < INPUT_BUFFER;
        for (index, viewer) in self.viewers.iter().enumerate() {
            set.add(Ready::Viewer(index), viewer.stream.as_fd(), events(room, !viewer.output.is_empty()));
        }
        if let Some(master) = &self.master {
            set.add(Ready::Console, master.as_fd(), events(true, !self.input.is_empty()));
        }
    }
}

fn events(reads: bool, writes: bool) -> PollFlags {
    let mut events = PollFlags::empty();
    events.set(PollFlags::POLLIN, reads);
    events.set(PollFlags::POLLOUT, writes);
    events
}

impl Viewer {
    fn flush(&mut self) {
        drain(&mut self.output, &self.stream);
    }
}

/// Writes as much of a queue as possible without blocking.
fn drain(queue: &mut VecDeque<u8>, target: &OwnedFd) {
    while !queue.is_empty() {
        match write(target, queue.as_slices().0) {
            Ok(length) => {
                queue.drain(..length);
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => break,
            Err(_) => queue.clear(),
        }
    }
}

impl Log {
    fn append(&mut self, bytes: &[u8]) {
        if let Err(error) = self.write(bytes)
            && !self.failed
        {
            self.failed = true;
            log::warn!("{error:#}");
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.size > LOG_SIZE {
            self.file = None;
            std::fs::rename(&self.path, self.path.with_extension("log.1"))
                .with_context(|| format!("rotate {}", self.path.display()))?;
        }
        let mut file = match &self.file {
            Some(file) => file,
            None => {
                let file = self.open().with_context(|| format!("open {}", self.path.display()))?;
                let metadata = file.metadata()?;
                ensure!(metadata.is_file(), "{} is not a regular file", self.path.display());
                self.size = metadata.len();
                self.file.insert(file)
            }
        };
        file.write_all(bytes).with_context(|| format!("write {}", self.path.display()))?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Never follows a link, and never waits for the reader of a FIFO.
    fn open(&self) -> Result<File> {
        if let Some(directory) = self.path.parent() {
            paths::create_private(directory)?;
        }
        Ok(OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&self.path)?)
    }
}
