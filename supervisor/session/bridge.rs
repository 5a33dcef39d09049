//! The bridge between the client's standard streams and the far end of a session: the master of a terminal, or the
//! stream of a console.
//!
//! Owns both directions and the handling of end-of-file. It never waits; the loops of `session` and `session::console`
//! poll for it. The far end is an open file description of our own and non-blocking.

use std::io::{stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::poll::PollFlags;
use nix::sys::termios::{SpecialCharacterIndices, tcgetattr};
use nix::unistd::write;

use super::escape::Escape;
use super::flow::{Flow, SourceState};
use super::output::Output;
use super::terminal::input_is_terminal;
use crate::call;
use crate::poll::is_readable;
use crate::sys::descriptor::set_nonblocking;

/// The default end-of-file character of a terminal.
const END_OF_INPUT: u8 = 4;

/// The kind of standard input.
#[derive(Debug)]
enum Input {
    /// The client's terminal.
    Keys,
    /// The client's terminal, with a detach sequence.
    KeysWithEscape(Escape),
    /// A file or pipe for a session with a terminal: its end must be typed as a character.
    Text,
    /// A file or pipe for a console: its end has no meaning.
    Stream,
}

/// A descriptor to poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// Standard input is readable.
    Input,
    /// Standard output is writable.
    Output,
    /// The far end is readable or writable.
    Far,
}

/// The state of standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typed {
    /// It continues, or has reached end-of-file.
    Something,
    /// The terminal was hung up.
    HungUp,
    /// The detach sequence was typed.
    Left,
}

/// Both directions of a session.
#[derive(Debug)]
pub struct Bridge {
    far: OwnedFd,
    near: OwnedFd,
    output: Output,
    input: Input,
    end_is_due: bool,
    /// Standard output is held back.
    held: bool,
    inward: Flow,
    outward: Flow,
}

impl Bridge {
    /// A bridge to the master of a terminal.
    ///
    /// # Errors
    /// If fcntl(2) fails.
    pub fn to_terminal(master: OwnedFd) -> Result<Self> {
        let input = if input_is_terminal() { Input::Keys } else { Input::Text };
        Self::new(master, stdin().as_fd(), stdout().as_fd(), input)
    }

    /// A bridge to the stream of a console.
    ///
    /// # Errors
    /// If fcntl(2) fails.
    pub fn to_console(stream: OwnedFd) -> Result<Self> {
        let keys = input_is_terminal();
        let input = if keys { Input::KeysWithEscape(Escape::default()) } else { Input::Stream };
        Self::new(stream, stdin().as_fd(), stdout().as_fd(), input)
    }

    fn new(far: OwnedFd, near: BorrowedFd<'_>, output: BorrowedFd<'_>, input: Input) -> Result<Self> {
        call!(set_nonblocking(far.as_fd()), "fcntl(O_NONBLOCK)")?;
        let near = near.try_clone_to_owned().context("standard input")?;
        let output = Output::new(output).context("standard output")?;
        let (inward, outward) = (Flow::default(), Flow::default());
        Ok(Self { far, near, output, input, end_is_due: false, held: false, inward, outward })
    }

    /// The far end.
    #[must_use]
    pub fn far(&self) -> BorrowedFd<'_> {
        self.far.as_fd()
    }

    /// The descriptors to poll now.
    #[must_use]
    pub fn edges(&self) -> Vec<(Edge, BorrowedFd<'_>, PollFlags)> {
        let mut edges = Vec::with_capacity(3);
        if self.inward.wants_source() {
            edges.push((Edge::Input, self.near.as_fd(), PollFlags::POLLIN));
        }
        if self.outward.wants_sink() && !self.held {
            edges.push((Edge::Output, self.output.fd(), PollFlags::POLLOUT));
        }
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, self.outward.wants_source());
        events.set(PollFlags::POLLOUT, self.inward.wants_sink());
        if !events.is_empty() {
            edges.push((Edge::Far, self.far.as_fd(), events));
        }
        edges
    }

    /// Reads standard input.
    pub fn take_input(&mut self) -> Typed {
        let input = &mut self.input;
        let mut left = false;
        let source = self.inward.fill(self.near.as_fd(), |bytes| match input {
            Input::KeysWithEscape(escape) => left = escape.filter(bytes),
            Input::Keys | Input::Text | Input::Stream => {}
        });
        if left {
            return Typed::Left;
        }
        match self.input {
            Input::Keys | Input::KeysWithEscape(_) if source == SourceState::Ended => return Typed::HungUp,
            Input::Text if source == SourceState::Ended => self.end_is_due = true,
            _ => {}
        }
        self.pass_inward();
        Typed::Something
    }

    /// Whether a file or pipe has ended and the program on the terminal has not been notified.
    #[must_use]
    pub fn end_is_due(&self) -> bool {
        self.end_is_due
    }

    /// Types the end-of-file character, once the program has read all input before it.
    ///
    /// Must be repeated until the program ends: the character has its meaning only in some modes of the terminal, and
    /// shells change the mode all the time.
    pub fn type_end(&mut self, peer: BorrowedFd<'_>) {
        if self.inward.wants_sink() || is_readable(peer) {
            return;
        }
        let attributes = tcgetattr(&self.far).ok();
        let set =
            attributes.map(|attributes| attributes.control_chars[SpecialCharacterIndices::VEOF as usize]);
        self.inward.append(&[set.filter(|character| *character != 0).unwrap_or(END_OF_INPUT)]);
        self.pass_inward();
    }

    /// Reads from the far end, and writes to it.
    pub fn serve_far(&mut self) -> SourceState {
        self.pass_inward();
        let source = if self.outward.wants_source() {
            self.outward.fill(self.far.as_fd(), |_| {})
        } else {
            SourceState::Open
        };
        self.pass_outward();
        source
    }

    fn pass_inward(&mut self) {
        self.inward.drain(|bytes| write(&self.far, bytes));
    }

    /// Holds output back until [`Bridge::release`]: until the client's terminal is raw, it would modify the output.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Reports that the client's terminal is raw.
    pub fn release(&mut self) {
        self.held = false;
    }

    /// Writes to standard output.
    pub fn pass_outward(&mut self) {
        if self.held {
            return;
        }
        self.outward.drain(|bytes| self.output.write(bytes));
    }

    /// The far end was reopened after it had ended.
    pub fn resume(&mut self) {
        self.outward.resume_source();
    }

    /// Ends the input, because the program has ended.
    pub fn end_input(&mut self) {
        self.inward.abandon();
    }

    /// Reads the last output of a program that has ended, as far as standard output accepts it. The kernel returns all
    /// written data before it reports end-of-file.
    pub fn take_rest(&mut self) {
        while self.outward.wants_source() {
            if self.serve_far() != SourceState::Open {
                self.outward.end_source();
            }
        }
        self.pass_outward();
    }

    /// Whether all output has been written, as far as possible.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.outward.is_finished()
    }

    /// Whether standard output has no reader any more.
    #[must_use]
    pub fn lost_its_reader(&self) -> bool {
        self.outward.lost_its_sink()
    }
}

#[cfg(test)]
#[path = "bridge_tests.rs"]
mod tests;
