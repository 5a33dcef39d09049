//! One direction of a session: a bounded queue between a descriptor to read and one to write.
//!
//! Owns the queue. It never waits. While the queue is full, nothing is read, so that the kernel blocks a fast writer,
//! and no byte is lost. poll(2), pty(7).

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::unistd::read;

/// Capacity of the queue, in bytes.
pub const CAPACITY: usize = 64 * 1024;
/// Maximum size of one read, in bytes.
const PIECE: usize = 16 * 1024;

/// One direction.
#[derive(Debug, Default)]
pub struct Flow {
    queue: VecDeque<u8>,
    source_ended: bool,
    sink_gone: bool,
}

/// The result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceState {
    /// Data was read.
    Open,
    /// No data is available.
    Idle,
    /// End-of-file.
    Ended,
}

impl Flow {
    /// Whether to poll for input: not while the queue is full.
    #[must_use]
    pub fn wants_source(&self) -> bool {
        !self.source_ended && !self.sink_gone && self.queue.len() < CAPACITY
    }

    /// Whether to poll for output.
    #[must_use]
    pub fn wants_sink(&self) -> bool {
        !self.sink_gone && !self.queue.is_empty()
    }

    /// Whether no output will follow.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.sink_gone || (self.source_ended && self.queue.is_empty())
    }

    /// Whether the reader of the output has closed it.
    #[must_use]
    pub fn lost_its_sink(&self) -> bool {
        self.sink_gone
    }

    /// Adds bytes that were not read from the source, also beyond the limit.
    pub fn append(&mut self, bytes: &[u8]) {
        self.queue.extend(bytes);
    }

    /// Stops reading from the source.
    pub fn end_source(&mut self) {
        self.source_ended = true;
    }

    /// Stops writing and discards the queue.
    pub fn abandon(&mut self) {
        self.sink_gone = true;
        self.queue.clear();
    }

    /// Resumes reading after the source has ended.
    pub fn resume_source(&mut self) {
        self.source_ended = false;
    }

    /// Reads once. `pass` may modify the bytes before they are queued.
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
            // EIO: a terminal whose other side is closed.
            Ok(_) | Err(_) => {
                self.source_ended = true;
                SourceState::Ended
            }
        }
    }

    /// Writes without blocking.
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
