//! An archive that somebody gives: a file, the standard input or a server, compressed or not.
//!
//! Owns how far it has been read, for progress, and how much has come out of it, so that what unpacks to more than
//! there is room for ends early. lseek(2).

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};
use nix::fcntl::OFlag;

use super::remote::Remote;
use crate::archive::decompress::{self, Stream};
use crate::call;
use crate::catalogue::feeder::Feeder;
use crate::rootfs::superblock::PROBED;
use crate::sys::descriptor::set_blocking;
use crate::worker::client::Client;

/// How long the end of a download is waited for when what came of it is damaged.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where an archive comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file of the host.
    File(PathBuf),
    /// The standard input.
    Input,
}

/// Where the bytes come from.
#[derive(Debug)]
enum Origin {
    File(File),
    Server(Box<Remote>),
}

/// A source that has been opened, in the worker.
#[derive(Debug)]
pub struct ArchiveSource {
    origin: Origin,
    /// What it is called in messages.
    pub name: String,
    /// Its length, when it is a regular file.
    pub length: Option<u64>,
}

/// Opens a file, or the standard input. A named pipe waits for its writer as long as the client does.
///
/// # Errors
/// When there is no such file; that the client interrupted the wait.
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
    /// When there is no such file, or it is a directory; that the client interrupted the wait for a named pipe's writer.
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
        Ok(Self { length: about.is_file().then_some(about.len()), origin: Origin::File(file), name })
    }

    /// A file of a server; it is fetched while it is read.
    #[must_use]
    pub fn of_server(remote: Remote) -> Self {
        let (name, length) = (remote.item.source.clone(), remote.item.size);
        Self { origin: Origin::Server(Box::new(remote)), name, length }
    }

    /// Begins to read. In the job's process: decompression forks another one.
    ///
    /// # Errors
    /// An unknown compression.
    pub fn stream(&self, most: Option<u64>) -> Result<Incoming> {
        let (input, position) = match &self.origin {
            Origin::File(file) => {
                let position = self.length.is_some().then(|| file.try_clone()).transpose().context("dup")?;
                (
                    file.as_fd().try_clone_to_owned().context("dup")?,
                    position.map_or(Position::Unknown, Position::File),
                )
            }
            Origin::Server(remote) => {
                let again = || remote.find_again();
                let (feeder, bytes) = Feeder::begin(&remote.item, &remote.cache, &remote.network, &again)?;
                (bytes, Position::Feeder(feeder))
            }
        };
        let stream = match decompress::open(input) {
            Ok(stream) => stream,
            // What came was cut short: why that is says more than what was found then.
            Err(error) => return Err(position.failure().map_or(error, Error::msg)),
        };
        Ok(Incoming { stream, position, ahead: Vec::new(), taken: 0, count: 0, most, exceeded: false })
    }
}

/// A named pipe is as good as any other; its writer is waited for as long as the client does, and not in open(2).
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

/// Who knows how far the source has been read.
#[derive(Debug)]
enum Position {
    /// Shares its offset with whoever decompresses.
    File(File),
    /// Downloads it.
    Feeder(Feeder),
    /// Nobody.
    Unknown,
}

impl Position {
    /// Why a download ended early, if it did.
    fn failure(self) -> Option<String> {
        match self {
            Self::Feeder(mut feeder) => feeder.finish().err().map(|error| format!("{error:#}")),
            Self::File(_) | Self::Unknown => None,
        }
    }
}

/// Plain bytes that come out of an archive.
#[derive(Debug)]
pub struct Incoming {
    stream: Stream,
    position: Position,
    /// What was looked at before it was read, and how much of it was read since.
    ahead: Vec<u8>,
    taken: usize,
    count: u64,
    most: Option<u64>,
    exceeded: bool,
}

impl Incoming {
    /// How far the file has been read, or how many bytes have come out of a pipe.
    pub fn progress(&mut self) -> u64 {
        match &mut self.position {
            Position::File(file) => file.stream_position().unwrap_or(0),
            Position::Feeder(feeder) => feeder.progress(),
            Position::Unknown => self.count,
        }
    }

    /// What it is compressed with.
    #[must_use]
    pub fn compression(&self) -> Option<&'static str> {
        self.stream.compression()
    }

    /// The first bytes, before any was read: as many as tell one thing from another. Reading gives them again.
    ///
    /// # Errors
    /// What reading answers.
    pub fn front(&mut self) -> io::Result<&[u8]> {
        (&mut self.stream).take(PROBED as u64).read_to_end(&mut self.ahead)?;
        Ok(&self.ahead)
    }

    /// From now on no more than `most` bytes may come out of it.
    pub fn limit(&mut self, most: u64) {
        self.most = Some(most.saturating_add(self.count));
    }

    /// Reads what is left and says how many bytes have come out in all; `None` when there are more than `most`.
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

    /// Whether it ended because more came out than is allowed.
    #[must_use]
    pub fn exceeded(&self) -> bool {
        self.exceeded
    }

    /// Makes sure that it was whole.
    ///
    /// # Errors
    /// That it is damaged or cut off, or not what a server should have sent.
    pub fn finish(self) -> Result<()> {
        let whole = self.stream.finish();
        match self.position {
            Position::Feeder(mut feeder) => {
                // A download that failed is why the archive is not whole.
                feeder.finish()?;
                whole
            }
            Position::File(_) | Position::Unknown => whole,
        }
    }

    /// Why a download does not count, whatever else is wrong with what came: the server's fault comes before those of
    /// the archive that it sent.
    #[must_use]
    pub fn failure(self) -> Option<String> {
        // Nobody reads any more, and the download goes on to its checksum.
        drop(self.stream);
        match self.position {
            Position::Feeder(mut feeder) => feeder.failure(PATIENCE),
            Position::File(_) | Position::Unknown => None,
        }
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
