//! The plain bytes of an archive, compressed or not.
//!
//! Decompression runs in a confined child ([`crate::confined`]), in parallel with the caller and without access to
//! anything else. The caller must have one thread. Errors are reported at the end of the bytes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use super::buffer::{FAULTS, Fault};
use super::codec::{ENOUGH, Format, decode, recognise};
use super::pool::Pool;
use super::xz;
use crate::confined::{Confinement, large_pipe, start_prepared};
use crate::subprocess::Subprocess;
use crate::sys::process::Ended;

/// Maximum number of bytes after the end of the archive in its compressed stream: the rest of a tape block.
const MAX_BEHIND: u64 = 64 << 20;

/// The source of plain bytes.
#[derive(Debug)]
pub struct Stream {
    /// The first bytes of an uncompressed stream.
    first: Vec<u8>,
    /// The source of the rest: the input itself, or the child.
    file: File,
    child: Option<(Subprocess, Format)>,
    /// The exit of the child.
    failed: Option<String>,
}

/// Detects the compression, also on pipes, and starts.
///
/// # Errors
/// If the compression is unknown or a system call fails; EDEADLK in a process with more than one thread.
pub fn open(input: OwnedFd) -> Result<Stream> {
    let mut file = File::from(input);
    // A hint for the kernel to read ahead; pipes ignore it.
    let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL);
    let mut first = Vec::new();
    let most = u64::try_from(ENOUGH)?;
    (&mut file).take(most).read_to_end(&mut first).context("read the archive")?;
    let format = match recognise(&first) {
        Ok(format) => format,
        Err(name) => bail!("compression with {name} is unsupported; use gzip, xz or zstd"),
    };
    let Some(format) = format else { return Ok(Stream { first, file, child: None, failed: None }) };
    let (reading, writing) = large_pipe()?;
    let input = OwnedFd::from(file);
    let mut threads = || (format == Format::Xz).then(|| Pool::start(xz::decode_block)).flatten();
    let mut work = |pool: &mut Option<Pool>, input: &mut File, output: &mut File| {
        let mut input = first.as_slice().chain(input);
        decode(format, &mut input, output, pool.as_ref()).map_or_else(code, |()| 0)
    };
    let child = start_prepared(&input, &writing, Confinement::Strict, &mut threads, &mut work)?;
    let file = File::from(reading);
    Ok(Stream { first: Vec::new(), file, child: Some((child, format)), failed: None })
}

/// Exit code of a fault; the first one is 1.
fn code(fault: Fault) -> u8 {
    let index = FAULTS.iter().position(|known| *known == fault);
    index.and_then(|index| u8::try_from(index + 1).ok()).unwrap_or(u8::MAX)
}

impl Stream {
    /// Its compression.
    #[must_use]
    pub fn compression(&self) -> Option<&'static str> {
        self.child.as_ref().map(|(_, format)| format.name())
    }

    /// Verifies the rest: a compressed stream must be complete, even if the archive in it has already ended. Data after
    /// an uncompressed archive is ignored.
    ///
    /// # Errors
    /// One line: corrupt, truncated, or too much data after the archive.
    pub fn finish(mut self) -> Result<()> {
        if self.child.is_some() {
            let (mut buffer, mut behind) = (vec![0; 64 << 10], 0);
            loop {
                match self.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => behind += u64::try_from(length)?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => bail!("{error}"),
                }
                ensure!(behind <= MAX_BEHIND, "unexpected data follows the end of the archive");
            }
        }
        match self.failed {
            Some(text) => bail!("{text}"),
            None => Ok(()),
        }
    }

    /// The end of the child's output: success, or an error.
    fn end(&mut self) -> io::Result<usize> {
        if let Some((mut child, format)) = self.child.take() {
            let name = format.name();
            self.failed = match child.wait() {
                Ok(Ended::Exited(0)) => None,
                Ok(Ended::Exited(code)) => {
                    let fault = FAULTS.get(usize::from(code) - 1);
                    let text = fault.map_or("data could not be decompressed", |fault| fault.text());
                    Some(format!("the {name} {text}"))
                }
                Ok(killed) => Some(format!("decompression of {name} was killed by {killed}")),
                Err(error) => Some(format!("{error:#}")),
            };
        }
        match &self.failed {
            Some(text) => Err(io::Error::new(io::ErrorKind::InvalidData, text.clone())),
            None => Ok(0),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.first.is_empty() {
            let length = self.first.len().min(buffer.len());
            buffer[..length].copy_from_slice(&self.first[..length]);
            self.first.drain(..length);
            return Ok(length);
        }
        match self.file.read(buffer)? {
            0 if !buffer.is_empty() => self.end(),
            length => Ok(length),
        }
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
