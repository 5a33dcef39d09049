//! `ds logs`: prints the console log of a container.
//!
//! The log is in our own directory, but is opened like an untrusted file: no link, only a regular file. The monitor
//! renames a full log to `console.log.1`; `--follow` handles that. inotify(7).

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFlags, PollTimeout};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::call;
use crate::cli;
use crate::config::value::Name;
use crate::exit::ExitCode;
use crate::poll::PollSet;
use crate::screen::Filter;
use crate::worker::Env;

/// Size of the blocks that are read to count lines from the end, in bytes.
const BLOCK: u64 = 64 * 1024;

/// Prints the log or its last lines. With `-f`, continues until the client ends or the output is closed.
///
/// # Errors
/// If there is no such container, or its log cannot be read.
pub fn run(arguments: &cli::Logs, env: &Env) -> Result<ExitCode> {
    let name: Name = arguments.name.parse()?;
    if !env.paths.container(&name).is_dir() {
        bail!("no such container; see 'ds list'");
    }
    let log = Log { path: env.paths.console_log(&name) };
    // The reader must get each line immediately, without a buffer.
    let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let filters = io::stdout().is_terminal() && !arguments.raw;
    let mut output = Output { file, filter: filters.then(Filter::default) };
    let printed = match arguments.follow {
        false => log.print(arguments.lines, &mut output).and_then(|_| Ok(output.finish()?)),
        true => log.follow(arguments.lines, &mut output),
    };
    match printed {
        // `ds logs | head`: the reader closed the pipe, which is not an error.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::Done),
        other => other.map(|()| ExitCode::Done),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// The output. A terminal would interpret escape sequences of the container, so it gets only text and colours. A file
/// or pipe gets all bytes unchanged.
struct Output {
    file: File,
    filter: Option<Filter>,
}

impl Output {
    /// Resets the colours of the terminal. Must be called before each wait, because the process may be killed
    /// meanwhile.
    fn rest(&mut self) -> io::Result<()> {
        let mut end = Vec::new();
        self.filter.iter_mut().for_each(|filter| filter.rest(&mut end));
        self.file.write_all(&end)
    }

    fn finish(&mut self) -> io::Result<()> {
        let mut rest = Vec::new();
        self.filter.iter_mut().for_each(|filter| filter.finish(&mut rest));
        self.file.write_all(&rest)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(filter) = &mut self.filter else { return self.file.write(bytes) };
        let mut shown = Vec::with_capacity(bytes.len());
        filter.push(bytes, &mut shown);
        self.file.write_all(&shown)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A console log: the current file and the rotated one.
struct Log {
    path: PathBuf,
}

impl Log {
    /// Prints the existing log or its last `lines`; returns the current file, read to its end.
    fn print(&self, lines: Option<u32>, output: &mut impl Write) -> Result<Option<File>> {
        let mut current = open(&self.path)?;
        let mut older = open(&self.older())?;
        if let Some(lines) = lines {
            let wanted = u64::from(lines);
            let found = current.as_mut().map_or(Ok(0), |file| seek_to_last(file, wanted))?;
            if let Some(file) = &mut older {
                seek_to_last(file, wanted - found)?;
            }
        }
        for file in older.iter_mut().chain(&mut current) {
            io::copy(file, output)?;
        }
        Ok(current)
    }

    /// Prints the existing log, and then new output.
    fn follow(self, lines: Option<u32>, output: &mut Output) -> Result<()> {
        let mut follower = Follower::begin(self.path, lines, output)?;
        output.rest()?;
        loop {
            wait(&follower.inotify, &output.file)?;
            if !follower.goes_on(output)? {
                return Ok(());
            }
            output.rest()?;
        }
    }

    /// Prints new output from the current file, and from its replacement after a rotation.
    fn catch_up(&self, mut current: Option<File>, output: &mut impl Write) -> Result<Option<File>> {
        if let Some(file) = &mut current {
            let length = file.metadata()?.len();
            if length < file.stream_position()? {
                file.rewind()?;
            }
            io::copy(file, output)?;
        }
        let identity = |file: &File| file.metadata().map(|status| (status.dev(), status.ino()));
        let (Some(mut new), old) = (open(&self.path)?, current.as_ref().map(identity).transpose()?) else {
            return Ok(current);
        };
        if old == Some(identity(&new)?) {
            return Ok(current);
        }
        // The log may have been rotated more than once.
        if let Some(mut older) = open(&self.older())?
            && old.is_some()
            && old != Some(identity(&older)?)
        {
            io::copy(&mut older, output)?;
        }
        io::copy(&mut new, output)?;
        Ok(Some(new))
    }

    fn older(&self) -> PathBuf {
        self.path.with_extension("log.1")
    }
}

/// Reads a log as it grows.
pub(super) struct Follower {
    log: Log,
    inotify: Inotify,
    current: Option<File>,
}

impl Follower {
    /// Writes the existing log or its last `lines`.
    ///
    /// # Errors
    /// If the log cannot be read or watched.
    pub fn begin(path: PathBuf, lines: Option<u32>, output: &mut impl Write) -> Result<Self> {
        let directory = path.parent().context("the log has no directory")?;
        crate::paths::create_private(directory)?;
        let inotify = call!(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK), "inotify_init1")?;
        let interesting = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF;
        call!(inotify.add_watch(directory, interesting), "inotify_add_watch({})", directory.display())?;
        // Watched before it is read, so that no output is lost in between.
        let log = Log { path };
        let current = log.print(lines, output)?;
        Ok(Self { log, inotify, current })
    }

    /// Readable when [`Follower::goes_on`] must be called.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Writes the new output; `false` if the log's directory has been deleted.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn goes_on(&mut self, output: &mut impl Write) -> Result<bool> {
        let gone = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_IGNORED;
        let goes_on = match self.inotify.read_events() {
            Ok(events) => !events.iter().any(|event| event.mask.intersects(gone)),
            Err(Errno::EAGAIN) => true,
            Err(errno) => call!(Err(errno), "read(inotify)")?,
        };
        if goes_on {
            self.current = self.log.catch_up(self.current.take(), output)?;
        }
        Ok(goes_on)
    }
}

/// Waits for a change.
///
/// # Errors
/// EPIPE if the output was closed.
fn wait(inotify: &Inotify, output: &File) -> Result<()> {
    let mut set = PollSet::default();
    set.input(false, inotify.as_fd());
    set.add(true, output.as_fd(), PollFlags::empty());
    if call!(set.wait(PollTimeout::NONE), "poll")?.contains(&true) {
        return Err(io::Error::from(ErrorKind::BrokenPipe).into());
    }
    Ok(())
}

/// Opens a log; `None` if it does not exist.
fn open(path: &Path) -> Result<Option<File>> {
    // O_NONBLOCK: open(2) of a FIFO would block; this way the type check below refuses it.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("open {}", path.display()))?,
    };
    if !file.metadata()?.is_file() {
        bail!("{} is not a regular file", path.display());
    }
    Ok(Some(file))
}

/// Seeks to the last `wanted` lines and returns their number, `wanted` at most. An incomplete last line counts.
fn seek_to_last(file: &mut (impl Read + Seek), wanted: u64) -> Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    if wanted == 0 || length == 0 {
        return Ok(0);
    }
    let (mut end, mut found) = (length, 0);
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take(end - start).read_to_end(&mut block)?;
        let newlines = block.iter().zip(start + 1..).filter(|(byte, _)| **byte == b'\n');
        // A newline at the very end ends the last line and begins no new one.
        let begins: Vec<u64> = newlines.map(|(_, after)| after).filter(|after| *after < length).collect();
        for begin in begins.into_iter().rev() {
            found += 1;
            if found == wanted {
                file.seek(SeekFrom::Start(begin))?;
                return Ok(found);
            }
        }
        end = start;
    }
    file.rewind()?;
    Ok(found + 1)
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;
