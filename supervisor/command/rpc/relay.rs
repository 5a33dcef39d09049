//! The output of a verb without JSON, as events: its stdout and stderr become JSON lines.
//!
//! A separate process reads the two pipes that the verb writes to, and a third one with the events of the worker, so
//! that the client receives complete lines. It ends when the worker closes the third pipe, because processes that a
//! verb leaves running may keep the others open. pipe(7).

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use nix::poll::PollTimeout;
use nix::sys::prctl;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde_json::json;

use super::super::output;
use crate::call;
use crate::durable;
use crate::log as sinks;
use crate::poll::PollSet;
use crate::sys::descriptor::{executable_memfd, make_standard, set_nonblocking};
use crate::sys::process::{Fork, exit_immediately, fork};

/// Maximum size of the text in one event, in bytes.
const PIECE: usize = 16 * 1024;

/// The process that turns text into events.
pub(super) struct Relay {
    child: Pid,
    answers: OwnedFd,
}

impl Relay {
    /// Redirects standard output and standard error of this process to it.
    ///
    /// # Errors
    /// If no descriptor or process can be created.
    pub fn begin() -> Result<Self> {
        let answers = io::stdout().as_fd().try_clone_to_owned().context("dup(stdout)")?;
        let (text, text_end) = pipe().context("pipe")?;
        let (errors, errors_end) = pipe().context("pipe")?;
        let (events, events_end) = pipe().context("pipe")?;
        match call!(fork(), "fork")? {
            Fork::Child => {
                sinks::send_events_to(None);
                drop((text_end, errors_end, events_end));
                let _ = prctl::set_name(c"ds:relay");
                let done = relay([text.into(), errors.into(), events.into()]);
                exit_immediately(i32::from(done.is_err()))
            }
            Fork::Parent(child) => {
                call!(make_standard(text_end.as_fd(), 1), "dup2(1)")?;
                call!(make_standard(errors_end.as_fd(), 2), "dup2(2)")?;
                sinks::send_events_to(Some(File::from(OwnedFd::from(events_end))));
                Ok(Self { child, answers })
            }
        }
    }

    /// Waits until everything is written, and undoes the redirection.
    ///
    /// # Errors
    /// If a descriptor cannot be restored.
    pub fn end(self) -> Result<()> {
        let _ = io::stdout().flush();
        sinks::send_events_to(None);
        call!(make_standard(self.answers.as_fd(), 1), "dup2(1)")?;
        call!(make_standard(self.answers.as_fd(), 2), "dup2(2)")?;
        let _ = waitpid(self.child, None);
        sinks::send_events_to(Some(File::from(self.answers)));
        Ok(())
    }
}

/// Makes `input` the standard input of this process.
///
/// # Errors
/// If there is no memory for it.
pub(super) fn give_input(input: &str) -> Result<()> {
    use std::io::{Seek, SeekFrom};
    let mut file = File::from(call!(executable_memfd(c"ds-input"), "memfd_create")?);
    file.write_all(input.as_bytes())
        .and_then(|()| file.seek(SeekFrom::Start(0)))
        .context("keep the input")?;
    call!(make_standard(file.as_fd(), 0), "dup2(0)")?;
    Ok(())
}

/// The readable pipes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ready {
    Text(usize),
    Events,
}

fn relay([text, errors, events]: [OwnedFd; 3]) -> Result<()> {
    for pipe in [&text, &errors] {
        call!(set_nonblocking(pipe.as_fd()), "fcntl(O_NONBLOCK)")?;
    }
    let mut streams = [Stream::new(text, None), Stream::new(errors, Some("stderr"))];
    let mut events = File::from(events);
    let mut lines = Vec::new();
    loop {
        let mut set = PollSet::default();
        for (number, stream) in streams.iter().enumerate() {
            if let Some(pipe) = &stream.pipe {
                set.input(Ready::Text(number), pipe.as_fd());
            }
        }
        set.input(Ready::Events, events.as_fd());
        for ready in call!(set.wait(PollTimeout::NONE), "poll")? {
            match ready {
                Ready::Text(number) => streams[number].pass()?,
                Ready::Events => {
                    let mut buffer = [0; 4096];
                    let count = events.read(&mut buffer).context("read the events")?;
                    if count == 0 {
                        return streams.iter_mut().try_for_each(Stream::finish);
                    }
                    lines.extend_from_slice(&buffer[..count]);
                    let whole = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                    io::stdout().write_all(&lines[..whole]).and_then(|()| io::stdout().flush())?;
                    lines.drain(..whole);
                }
            }
        }
    }
}

/// One of the two streams.
struct Stream {
    pipe: Option<File>,
    name: Option<&'static str>,
    text: Text,
}

impl Stream {
    fn new(pipe: OwnedFd, name: Option<&'static str>) -> Self {
        Self { pipe: Some(File::from(pipe)), name, text: Text::default() }
    }

    /// Forwards available data.
    fn pass(&mut self) -> Result<()> {
        let mut buffer = [0; PIECE];
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        match pipe.read(&mut buffer) {
            Ok(0) => self.pipe = None,
            Ok(count) => {
                let text = self.text.push(&buffer[..count]);
                return self.tell(&text);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error).context("read the output"),
        }
        Ok(())
    }

    /// Forwards the rest without waiting for more.
    fn finish(&mut self) -> Result<()> {
        while let Some(pipe) = &self.pipe
            && crate::poll::is_readable(pipe.as_fd())
        {
            self.pass()?;
        }
        let rest = self.text.finish();
        self.tell(&rest)
    }

    fn tell(&self, text: &str) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        match self.name {
            Some(name) => output::json(&json!({ "event": "output", "stream": name, "text": text })),
            None => output::json(&json!({ "event": "output", "text": text })),
        }
        .map(drop)
    }
}

/// Decodes bytes: invalid UTF-8 becomes U+FFFD, and an incomplete character is kept until its rest arrives.
#[derive(Debug, Default)]
pub(super) struct Text {
    rest: Vec<u8>,
}

impl Text {
    /// The text of these bytes.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let end = match std::str::from_utf8(&self.rest) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            // Only an incomplete character at the end is held back.
            _ => self.rest.len() - cut(&self.rest),
        };
        let text = String::from_utf8_lossy(&self.rest[..end]).into_owned();
        self.rest.drain(..end);
        text
    }

    /// The text of the kept bytes.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.rest).into_owned();
        self.rest.clear();
        text
    }
}

/// The number of bytes at the end that begin an incomplete character.
fn cut(bytes: &[u8]) -> usize {
    for length in 1..=bytes.len().min(3) {
        let tail = &bytes[bytes.len() - length..];
        if tail[0] >= 0xc0 {
            let is_cut = std::str::from_utf8(tail).is_err_and(|error| error.error_len().is_none());
            return if is_cut { length } else { 0 };
        }
    }
    0
}

/// Whether `path` contains a valid JSON document of limited size.
pub(super) fn read_document(path: &std::path::Path, limit: u64) -> Option<serde_json::Value> {
    serde_json::from_slice(&durable::read(path, limit).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cuts_do_not_matter(text: String, bytes: Vec<u8>, at in 0..64_usize) {
            let whole = [text.as_bytes(), &bytes].concat();
            let at = at.min(whole.len());
            let mut cut = Text::default();
            let pieces = [cut.push(&whole[..at]), cut.push(&whole[at..]), cut.finish()].concat();
            prop_assert!(pieces.starts_with(&text));
            if bytes.is_empty() {
                prop_assert_eq!(pieces, text);
            }
        }
    }
}
