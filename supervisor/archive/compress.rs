//! Compresses a stream with zstd (RFC 8878), with a checksum.
//!
//! Owns a child that uses one thread for each processor, so that the caller keeps its single thread and may fork
//! afterwards. Flushes nothing to disk.

use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;

use anyhow::{Result, bail};
use nix::errno::Errno;
use zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer};

use crate::confined::{Confinement, large_pipe, start};
use crate::subprocess::Subprocess;
use crate::sys::describe;
use crate::sys::process::Ended;

/// Compression level: the default of zstd(1).
const LEVEL: i32 = 3;
/// Size of the buffers, in bytes.
const BUFFER: usize = 256 << 10;

/// Exit code of a child that could not compress; smaller codes are the error number of a failed call.
const NOT_COMPRESSED: u8 = 200;

/// The sink for plain bytes.
#[derive(Debug)]
pub struct Sink {
    pipe: Option<File>,
    child: Subprocess,
}

/// Starts to compress into `output`, which may be a pipe.
///
/// # Errors
/// If a system call fails; EDEADLK in a process with more than one thread.
pub fn open(output: &OwnedFd) -> Result<Sink> {
    let (reading, writing) = large_pipe()?;
    let child = start(&reading, output, Confinement::None, &mut |input, output| match encode(
        LEVEL, input, output,
    ) {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().and_then(|code| code.try_into().ok()).unwrap_or(NOT_COMPRESSED),
    })?;
    Ok(Sink { pipe: Some(File::from(writing)), child })
}

impl Sink {
    /// Ends the stream and waits until it is written. Without this, the output is incomplete.
    ///
    /// # Errors
    /// Why the output cannot be written, in one line.
    pub fn finish(mut self) -> Result<()> {
        drop(self.pipe.take());
        self.verdict()
    }

    fn verdict(&mut self) -> Result<()> {
        match self.child.wait()? {
            Ended::Exited(0) => Ok(()),
            Ended::Exited(code) if code < NOT_COMPRESSED => {
                let why = describe(Errno::from_raw(code.into()));
                bail!("the compressed archive cannot be written: {why}")
            }
            Ended::Exited(_) => bail!("the archive cannot be compressed"),
            killed => bail!("compression was killed by {killed}"),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(pipe) = &mut self.pipe else { return Err(io::ErrorKind::BrokenPipe.into()) };
        match pipe.write(bytes) {
            // The child has the reason.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.pipe = None;
                Err(self.verdict().err().map_or(error, |why| io::Error::other(format!("{why:#}"))))
            }
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses the whole input with one thread for each processor.
///
/// # Errors
/// If reading or writing fails; without an error number if the compressor failed.
fn encode(level: i32, input: &mut dyn Read, output: &mut dyn Write) -> io::Result<()> {
    let failed = |_| io::Error::other("zstd");
    let mut context = CCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
    context.set_parameter(CParameter::CompressionLevel(level)).map_err(failed)?;
    context.set_parameter(CParameter::ChecksumFlag(true)).map_err(failed)?;
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    // One thread is started even for one processor: it compresses while this one reads. A library without threads
    // refuses.
    let workers = u32::try_from(processors).unwrap_or(1);
    context.set_parameter(CParameter::NbWorkers(workers)).map_err(failed)?;
    let (mut plain, mut packed) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        let length = match input.read(&mut plain) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let directive =
            if length == 0 { ZSTD_EndDirective::ZSTD_e_end } else { ZSTD_EndDirective::ZSTD_e_continue };
        let mut rest = InBuffer::around(&plain[..length]);
        loop {
            let mut made = OutBuffer::around(packed.as_mut_slice());
            let left = context.compress_stream2(&mut made, &mut rest, directive).map_err(failed)?;
            output.write_all(made.as_slice())?;
            let done = if length == 0 { left == 0 } else { rest.pos() == length };
            if done {
                break;
            }
        }
        if length == 0 {
            return Ok(());
        }
    }
}
