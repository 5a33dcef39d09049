//! The bridge between the client's standard input and output and the far end of a session: the master of a terminal,
//! or the stream of a console.
//!
//! Owns both directions and what the end of the input means. It never waits; the loops of `session` and
//! `session::console` poll for it. The far end is a description of our own, and non-blocking.

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

/// The character that ends the input of a terminal, unless the terminal was told another.
const END_OF_INPUT: u8 = 4;

/// What standard input is to the session.
#[derive(Debug)]
enum Input {
    /// The client's terminal.
    Keys,
    /// The client's terminal, with a sequence of keys that leaves.
    KeysWithEscape(Escape),
    /// A file or pipe in the place of a terminal: its end has to be typed there.
    Text,
    /// A file or pipe for a console: its end means nothing.
    Stream,
}

/// Something to poll for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// Standard input has something.
    Input,
    /// Standard output takes something.
    Output,
    /// The far end has or takes something.
    Far,
}

/// What has become of standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typed {
    /// It goes on, or has ended as files do.
    Something,
    /// The terminal is gone.
    HungUp,
    /// The sequence that leaves was typed.
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
    /// Nothing is written to standard output yet.
    held: bool,
    inward: Flow,
    outward: Flow,
}

impl Bridge {
    /// A bridge to the master of a terminal.
    ///
    /// # Errors
    /// What fcntl(2) answers.
    pub fn to_terminal(master: OwnedFd) -> Result<Self> {
        let input = if input_is_terminal() { Input::Keys } else { Input::Text };
        Self::new(master, stdin().as_fd(), stdout().as_fd(), input)
    }

    /// A bridge to the stream of a console.
    ///
    /// # Errors
    /// What fcntl(2) answers.
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

    /// What to poll for now.
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

    /// Takes what standard input has.
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

    /// Whether a file or pipe has ended, which the program on the terminal does not know yet.
    #[must_use]
    pub fn end_is_due(&self) -> bool {
        self.end_is_due
    }

    /// Types the character for the end of input, once the program has taken all that was typed before.
    ///
    /// To be repeated until the program ends: whether the character means the end depends on the mode in which the
    /// terminal is at the moment, and shells change that all the time.
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

    /// Takes what the far end has, and gives it what it takes.
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

    /// Writes nothing until [`Bridge::release`]: the client's terminal is not raw yet, and would change what it shows.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// The client's terminal is raw.
    pub fn release(&mut self) {
        self.held = false;
    }

    /// Gives standard output what it takes.
    pub fn pass_outward(&mut self) {
        if self.held {
            return;
        }
        self.outward.drain(|bytes| self.output.write(bytes));
    }

    /// The far end, which had ended, was opened again.
    pub fn resume(&mut self) {
        self.outward.resume_source();
    }

    /// No more input: the program has ended.
    pub fn end_input(&mut self) {
        self.inward.abandon();
    }

    /// Takes the last output of a program that has ended, as far as standard output takes it. The kernel hands the
    /// reader everything that was written before it says that there is nothing.
    pub fn take_rest(&mut self) {
        while self.outward.wants_source() {
            if self.serve_far() != SourceState::Open {
                self.outward.end_source();
            }
        }
        self.pass_outward();
    }

    /// Whether all output has gone where it can go.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.outward.is_finished()
    }

    /// Whether nobody reads standard output any more.
    #[must_use]
    pub fn lost_its_reader(&self) -> bool {
        self.outward.lost_its_sink()
    }
}

#[cfg(test)]
#[path = "bridge_tests.rs"]
mod tests;
