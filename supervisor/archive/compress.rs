//! What is written here comes out compressed with zstd (RFC 8878), with a checksum.
//!
//! A child compresses with as many threads as there are processors, so the caller keeps its one thread and may fork
//! afterwards. Nothing is flushed to the disk.

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

/// Level of compression: what zstd(1) has by default.
const LEVEL: i32 = 3;
/// How much is read and written at once, bytes.
const BUFFER: usize = 256 << 10;

/// Exit code of a child that could not compress; codes below are the error numbers of the call that failed.
const NOT_COMPRESSED: u8 = 200;

/// Takes plain bytes.
#[derive(Debug)]
pub struct Sink {
    pipe: Option<File>,
    child: Subprocess,
}

/// Begins to compress into `output`, which may be a pipe.
///
/// # Errors
/// What the calls answer; EDEADLK in a process with more than one thread.
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
    /// Ends the stream and waits until all of it is written. Without it, what was written so far is not whole.
    ///
    /// # Errors
    /// One line: why the output cannot be written.
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
            // The child knows why.
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

/// Compresses everything with as many threads as there are processors.
///
/// # Errors
/// What reading and writing answer; without an error number when the compressor failed.
fn encode(level: i32, input: &mut dyn Read, output: &mut dyn Write) -> io::Result<()> {
    let failed = |_| io::Error::other("zstd");
    let mut context = CCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
    context.set_parameter(CParameter::CompressionLevel(level)).map_err(failed)?;
    context.set_parameter(CParameter::ChecksumFlag(true)).map_err(failed)?;
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    // One thread is started even for one processor: it compresses while we read. A library without threads refuses.
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
