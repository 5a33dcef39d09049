//! Bytes on their way in one direction: a bounded queue between a descriptor that is read and one that is written.
//!
//! Nothing here waits. A full queue is not read into, so whoever writes too fast is held back by the kernel, and no
//! byte is lost. poll(2), pty(7).

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::unistd::read;

/// Most bytes that wait.
pub const CAPACITY: usize = 64 * 1024;
/// Most bytes of one read.
const PIECE: usize = 16 * 1024;

/// One direction.
#[derive(Debug, Default)]
pub struct Flow {
    queue: VecDeque<u8>,
    source_ended: bool,
    sink_gone: bool,
}

/// What became of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceState {
    /// Something came.
    Open,
    /// Nothing is there now.
    Idle,
    /// That was all.
    Ended,
}

impl Flow {
    /// Whether to read: not while the queue is full.
    #[must_use]
    pub fn wants_source(&self) -> bool {
        !self.source_ended && !self.sink_gone && self.queue.len() < CAPACITY
    }

    /// Whether something waits to be written.
    #[must_use]
    pub fn wants_sink(&self) -> bool {
        !self.sink_gone && !self.queue.is_empty()
    }

    /// Whether nothing will be written any more.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.sink_gone || (self.source_ended && self.queue.is_empty())
    }

    /// Whether the reader of what is written here has gone away.
    #[must_use]
    pub fn lost_its_sink(&self) -> bool {
        self.sink_gone
    }

    /// Adds bytes that come from nowhere else, past the bound.
    pub fn append(&mut self, bytes: &[u8]) {
        self.queue.extend(bytes);
    }

    /// Takes nothing more from the source.
    pub fn end_source(&mut self) {
        self.source_ended = true;
    }

    /// Writes nothing more, not even what waits.
    pub fn abandon(&mut self) {
        self.sink_gone = true;
        self.queue.clear();
    }

    /// Takes from the source again, which had ended.
    pub fn resume_source(&mut self) {
        self.source_ended = false;
    }

    /// Reads once. `pass` sees what came, and leaves of it what is to go on.
    pub fn fill(&mut self, source: BorrowedFd<'_>, pass: impl FnOnce(&mut Vec<u8>)) -> SourceState {
        let mut bytes = vec![0_u8; CAPACITY.saturating_sub(self.queue.len()).min(PIECE)];
        match read(source, &mut bytes) {
            Ok(length) if length > 0 => {
                bytes.truncate(length);
                pass(&mut bytes);
                self.queue.extend(bytes);
                SourceState::Open
            }
            Err(Errno::EAGAIN | Errno::EINTR) => SourceState::Idle,
            // EIO: a terminal whose other side is gone.
            Ok(_) | Err(_) => {
                self.source_ended = true;
                SourceState::Ended
            }
        }
    }

    /// Writes what is taken without waiting.
    pub fn drain(&mut self, mut write: impl FnMut(&[u8]) -> Result<usize, Errno>) {
        while !self.queue.is_empty() && !self.sink_gone {
            match write(self.queue.as_slices().0) {
                Ok(0) | Err(Errno::EAGAIN) => return,
                Ok(length) => drop(self.queue.drain(..length)),
                Err(Errno::EINTR) => {}
                Err(_) => self.abandon(),
            }
        }
    }
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
