//! /dev/console: always drained, written to a bounded log, and shown to whoever is attached.
//!
//! An undrained terminal stops PID 1 after some 64 KB of output. So nothing here ever makes the reader wait: a viewer
//! that does not keep up loses what does not fit into its buffer.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{read, write};

use crate::call;
use crate::paths;
use crate::pty::{self, Pty};
use crate::sys::descriptor::set_nonblocking;
use crate::sys::terminal::{self, WindowSize};

/// Size at which the log is rotated; one older file is kept.
const LOG_SIZE: u64 = 1024 * 1024;
/// What a slow viewer may be behind before it loses output.
const VIEWER_BUFFER: usize = 256 * 1024;
/// What may wait to be typed into the container.
const INPUT_BUFFER: usize = 64 * 1024;
/// The latest output, which a new viewer is shown first: a login prompt, or the first lines of a boot.
const HISTORY: usize = 16 * 1024;
/// What getty(8) ends its prompt with.
const PROMPT: &[u8] = b"login: ";

/// The console of one container.
#[derive(Debug)]
pub(super) struct Console {
    master: Option<OwnedFd>,
    /// Kept open so that the master never sees a hang-up while nothing inside has the console open.
    peer: Option<OwnedFd>,
    input: VecDeque<u8>,
    viewers: Vec<Viewer>,
    log: Log,
    history: VecDeque<u8>,
    /// There was a login prompt since the boot.
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
    /// A log that cannot be written is reported once.
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

    /// Takes the console of a new boot.
    pub(super) fn connect(&mut self, console: Pty) -> Result<()> {
        call!(set_nonblocking(console.master.as_fd()), "fcntl(O_NONBLOCK)")?;
        self.peer = Some(console.peer);
        self.master = Some(console.master);
        self.input.clear();
        self.history.clear();
        self.prompted = false;
        Ok(())
    }

    /// The container has ended: takes the last output.
    pub(super) fn finish(&mut self) {
        self.peer = None;
        self.readable();
        self.master = None;
    }

    /// What to poll for: the master first, then each viewer.
    pub(super) fn master(&self) -> Option<(BorrowedFd<'_>, bool)> {
        self.master.as_ref().map(|master| (master.as_fd(), !self.input.is_empty()))
    }

    pub(super) fn viewers(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool, bool)> {
        let room = self.input.len() < INPUT_BUFFER;
        self.viewers.iter().map(move |viewer| (viewer.stream.as_fd(), room, !viewer.output.is_empty()))
    }

    /// Takes what the container wrote. Whether it has shown a login prompt since the boot.
    pub(super) fn readable(&mut self) -> bool {
        let mut buffer = [0_u8; 16 * 1024];
        loop {
            let Some(master) = &self.master else { return false };
            match read(master, &mut buffer) {
                Ok(0) => break,
                Ok(length) => self.take(&buffer[..length]),
                Err(Errno::EINTR) => {}
                Err(Errno::EIO) => {
                    // Somebody inside hung the terminal up (vhangup(2)): open it anew, or poll would never rest.
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

    /// Looks for a prompt in the last `fresh` bytes. Its beginning may have come before, and other output after it.
    fn notice_prompt(&mut self, fresh: usize) {
        if !self.prompted {
            let begin = self.history.len().saturating_sub(fresh + PROMPT.len() - 1);
            let text = &self.history.make_contiguous()[begin..];
            self.prompted = text.windows(PROMPT.len()).any(|window| window == PROMPT);
        }
    }

    /// Passes on what viewers typed.
    pub(super) fn writable(&mut self) {
        let Some(master) = &self.master else {
            self.input.clear();
            return;
        };
        drain(&mut self.input, master);
    }

    /// Serves a viewer; `false` once it is gone.
    pub(super) fn serve(&mut self, index: usize) -> bool {
        let Some(viewer) = self.viewers.get_mut(index) else { return false };
        viewer.flush();
        if self.input.len() >= INPUT_BUFFER {
            return true;
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
        self.writable();
        if !alive {
            self.viewers.remove(index);
        }
        alive
    }

    /// Lets somebody look at the console: one end of a stream.
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

    /// Gives the terminal the size of the one that looks at it.
    pub(super) fn resize(&self, size: WindowSize) {
        if let Some(master) = &self.master {
            let _ = terminal::set_window_size(master.as_fd(), size);
        }
    }
}

impl Viewer {
    fn flush(&mut self) {
        drain(&mut self.output, &self.stream);
    }
}

/// Writes as much of a queue as is taken without waiting.
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
                self.size = file.metadata()?.len();
                self.file.insert(file)
            }
        };
        file.write_all(bytes).with_context(|| format!("write {}", self.path.display()))?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Never through a link: the file is opened in our own directory, and must be the one that is named.
    fn open(&self) -> Result<File> {
        if let Some(directory) = self.path.parent() {
            paths::create_private(directory)?;
        }
        Ok(OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&self.path)?)
    }
}
