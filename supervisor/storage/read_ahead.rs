//! A pipe or a terminal whose first bytes are read ahead, to detect the kind of the archive.
//!
//! Owns these bytes. What is read from a pipe cannot be read again, so another process writes them, and then the rest,
//! to a new pipe.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};

use crate::confined::{Confinement, large_pipe, start};
use crate::subprocess::{self, Subprocess};
use crate::worker::client::Client;

/// The number of bytes to read ahead: every compression yields the first member of a tar archive from them.
const AHEAD: usize = 256 << 10;

/// The pipe, and what has been read from it.
#[derive(Debug)]
pub(super) struct ReadAhead {
    file: File,
    front: Vec<u8>,
}

impl ReadAhead {
    /// Nothing has been read.
    pub(super) fn new(file: File) -> Self {
        Self { file, front: Vec::new() }
    }

    /// Reads the first bytes. The wait for them ends with the client.
    pub(super) fn read_ahead(&mut self, client: &Client) -> Result<&Self> {
        let mut buffer = vec![0; AHEAD];
        while self.front.len() < AHEAD {
            client.wait(Some(self.file.as_fd()), None)?;
            let room = AHEAD - self.front.len();
            match self.file.read(&mut buffer[..room]) {
                Ok(0) => break,
                Ok(length) => self.front.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("read the archive"),
            }
        }
        Ok(self)
    }

    /// These bytes alone, and the process that writes them.
    pub(super) fn sample(&self) -> Result<(OwnedFd, Subprocess)> {
        self.write(&subprocess::null()?)
    }

    /// Everything from the first byte, and the process that writes it if one is needed.
    pub(super) fn stream(&self) -> Result<(OwnedFd, Option<Subprocess>)> {
        let rest = self.file.as_fd().try_clone_to_owned().context("dup")?;
        if self.front.is_empty() {
            return Ok((rest, None));
        }
        self.write(&rest).map(|(bytes, child)| (bytes, Some(child)))
    }

    fn write(&self, rest: &OwnedFd) -> Result<(OwnedFd, Subprocess)> {
        let (reading, writing) = large_pipe()?;
        let mut work = |rest: &mut File, output: &mut File| {
            // The reader reports what is missing.
            let done = output.write_all(&self.front).and_then(|()| io::copy(rest, output).map(drop));
            u8::from(done.is_err())
        };
        let child = start(rest, &writing, Confinement::None, &mut work)?;
        Ok((reading, child))
    }
}
