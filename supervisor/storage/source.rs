//! An archive from the user: a file, standard input or a server, compressed or not.
//!
//! Owns the position for progress, and the limit for unpacked bytes, so that an archive that exceeds the available
//! space is cancelled early. lseek(2).

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};
use nix::fcntl::OFlag;

use super::read_ahead::ReadAhead;
use super::remote::Remote;
use crate::archive::decompress::{self, Stream};
use crate::archive::header::BLOCK;
use crate::call;
use crate::catalogue::feeder::Feeder;
use crate::rootfs::superblock::PROBED;
use crate::subprocess::Subprocess;
use crate::sys::descriptor::set_blocking;
use crate::worker::client::Client;

/// The timeout for the end of a download whose data is damaged.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The place of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file of the host.
    File(PathBuf),
    /// The standard input.
    Input,
}

/// The source of the bytes.
#[derive(Debug)]
enum Origin {
    File(File),
    /// A pipe whose first bytes have been read.
    ReadAhead(ReadAhead),
    Server(Box<Remote>),
}

/// An opened source, in the worker.
#[derive(Debug)]
pub struct ArchiveSource {
    origin: Origin,
    /// Its name in messages.
    pub name: String,
    /// Its length, if it is a regular file.
    pub length: Option<u64>,
}

/// Opens a file, or the standard input. A named pipe waits for its writer as long as the client does.
///
/// # Errors
/// If the file does not exist, or the client interrupted the wait.
pub fn opened(client: &Client, place: &Place) -> Result<File> {
    match place {
        Place::Input => Ok(File::from(io::stdin().as_fd().try_clone_to_owned().context("dup")?)),
        Place::File(path) => open(client, path),
    }
}

impl ArchiveSource {
    /// Opens it.
    ///
    /// # Errors
    /// If the file does not exist or is a directory; if the client interrupted the wait for a named pipe's writer.
    pub fn open(client: &Client, place: &Place) -> Result<Self> {
        let file = opened(client, place)?;
        let about = file.metadata().context("stat")?;
        ensure!(
            !about.is_dir(),
            "it is a directory, not an archive; 'ds create NAME --rootfs DIR' uses one in place"
        );
        let name = match place {
            Place::Input => "standard input".to_owned(),
            Place::File(path) => path.display().to_string(),
        };
        let length = about.is_file().then_some(about.len());
        let origin =
            if about.is_file() { Origin::File(file) } else { Origin::ReadAhead(ReadAhead::new(file)) };
        Ok(Self { length, origin, name })
    }

    /// The first bytes of the archive, decompressed. They are read again later.
    ///
    /// # Errors
    /// If reading fails, or the client interrupts it.
    pub fn peek(&mut self, client: &Client) -> Result<Vec<u8>> {
        let (input, _child) = match &mut self.origin {
            Origin::ReadAhead(opened) => {
                opened.read_ahead(client)?.sample().map(|(bytes, child)| (bytes, Some(child)))?
            }
            Origin::File(file) => (file.try_clone().context("dup")?.into(), None),
            Origin::Server(_) => return Ok(Vec::new()),
        };
        let mut front = Vec::new();
        // An error of decompression is reported later.
        if let Ok(stream) = decompress::open(input) {
            let _ = stream.take(BLOCK as u64).read_to_end(&mut front);
        }
        if let Origin::File(file) = &mut self.origin {
            file.rewind().context("lseek")?;
        }
        Ok(front)
    }

    /// A file on a server; it is downloaded while it is read.
    #[must_use]
    pub fn of_server(remote: Remote) -> Self {
        let (name, length) = (remote.item.source.clone(), remote.item.size);
        Self { origin: Origin::Server(Box::new(remote)), name, length }
    }

    /// Begins to read. Must be called in the job's process, because decompression forks another one.
    ///
    /// # Errors
    /// If the compression is unknown.
    pub fn stream(&self, most: Option<u64>) -> Result<Incoming> {
        let (input, position) = match &self.origin {
            Origin::File(file) => {
                let position = self.length.is_some().then(|| file.try_clone()).transpose().context("dup")?;
                (
                    file.as_fd().try_clone_to_owned().context("dup")?,
                    position.map_or(Position::Unknown, Position::File),
                )
            }
            Origin::ReadAhead(opened) => {
                let (input, rest) = opened.stream()?;
                (input, rest.map_or(Position::Unknown, |writer| Position::Behind { _writer: writer }))
            }
            Origin::Server(remote) => {
                let again = || remote.find_again();
                let (feeder, bytes) = Feeder::begin(&remote.item, &remote.cache, &remote.network, &again)?;
                (bytes, Position::Feeder(feeder))
            }
        };
        let stream = match decompress::open(input) {
            Ok(stream) => stream,
            // The data was truncated: the cause of that is more useful than the resulting error.
            Err(error) => return Err(position.failure().map_or(error, Error::msg)),
        };
        Ok(Incoming { stream, position, ahead: Vec::new(), taken: 0, count: 0, most, exceeded: false })
    }
}

/// A named pipe. The wait for its writer ends with the client, unlike in open(2).
fn open(client: &Client, path: &Path) -> Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = nix::fcntl::open(path, flags, nix::sys::stat::Mode::empty());
    let file = File::from(file.with_context(|| format!("open {}", path.display()))?);
    if file.metadata().context("stat")?.file_type().is_fifo() {
        client.wait(Some(file.as_fd()), None)?;
    }
    call!(set_blocking(file.as_fd()), "fcntl({})", path.display())?;
    Ok(file)
}

/// The source of the position.
#[derive(Debug)]
enum Position {
    /// Shares its offset with the process that decompresses.
    File(File),
    /// The process that downloads it.
    Feeder(Feeder),
    /// The process that writes the bytes that were read ahead, and the rest.
    Behind { _writer: Subprocess },
    /// None.
    Unknown,
}

impl Position {
    /// Why a download ended early, if it did.
    fn failure(self) -> Option<String> {
        match self {
            Self::Feeder(mut feeder) => feeder.finish().err().map(|error| format!("{error:#}")),
            Self::File(_) | Self::Behind { .. } | Self::Unknown => None,
        }
    }
}

/// The unpacked bytes of an archive.
#[derive(Debug)]
pub struct Incoming {
    stream: Stream,
    position: Position,
    /// The bytes that were read ahead, and how many of them have been read since.
    ahead: Vec<u8>,
    taken: usize,
    count: u64,
    most: Option<u64>,
    exceeded: bool,
}

impl Incoming {
    /// The position in the file, or the number of bytes from a pipe.
    pub fn progress(&mut self) -> u64 {
        match &mut self.position {
            Position::File(file) => file.stream_position().unwrap_or(0),
            Position::Feeder(feeder) => feeder.progress(),
            Position::Behind { .. } | Position::Unknown => self.count,
        }
    }

    /// Its compression.
    #[must_use]
    pub fn compression(&self) -> Option<&'static str> {
        self.stream.compression()
    }

    /// The first bytes, to identify the format. They are read again later.
    ///
    /// # Errors
    /// If reading fails.
    pub fn front(&mut self) -> io::Result<&[u8]> {
        (&mut self.stream).take(PROBED as u64).read_to_end(&mut self.ahead)?;
        Ok(&self.ahead)
    }

    /// Limits the remaining bytes to `most`.
    pub fn limit(&mut self, most: u64) {
        self.most = Some(most.saturating_add(self.count));
    }

    /// Reads the rest and returns the total number of bytes; `None` if it exceeds `most`.
    pub fn drain(&mut self, most: u64) -> Option<u64> {
        let mut buffer = vec![0; 256 << 10];
        self.most = None;
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return Some(self.count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
                Ok(_) if self.count > most => return None,
                Ok(_) => {}
            }
        }
    }

    /// Whether it ended because of the limit.
    #[must_use]
    pub fn exceeded(&self) -> bool {
        self.exceeded
    }

    /// Verifies that it was complete.
    ///
    /// # Errors
    /// If it is damaged, truncated, or not the expected file.
    pub fn finish(self) -> Result<()> {
        let whole = self.stream.finish();
        match self.position {
            Position::Feeder(mut feeder) => {
                // A failed download is the cause of an incomplete archive.
                feeder.finish()?;
                whole
            }
            Position::File(_) | Position::Behind { .. } | Position::Unknown => whole,
        }
    }

    /// Why a download is invalid; this error takes precedence over errors in the downloaded archive.
    #[must_use]
    pub fn failure(self) -> Option<String> {
        // The archive is no longer read, and the download continues up to its checksum.
        drop(self.stream);
        match self.position {
            Position::Feeder(mut feeder) => feeder.failure(TIMEOUT),
            Position::File(_) | Position::Behind { .. } | Position::Unknown => None,
        }
    }
}

/// A stream whose progress is queried while it is read.
pub(super) struct Shared<'a, 'b, T>(pub(super) &'a RefCell<&'b mut T>);

impl<T: Read> Read for Shared<'_, '_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = if self.taken < self.ahead.len() {
            let count = (&self.ahead[self.taken..]).read(buffer)?;
            self.taken += count;
            count
        } else {
            self.ahead = Vec::new();
            self.taken = 0;
            self.stream.read(buffer)?
        };
        self.count += u64::try_from(count).unwrap_or(0);
        if self.most.is_some_and(|most| self.count > most) {
            self.exceeded = true;
            return Err(io::Error::other("its content does not fit in the available space"));
        }
        Ok(count)
    }
}
