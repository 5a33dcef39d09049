//! An archive that somebody gives: a file or the standard input, compressed or not.
//!
//! Owns how far it has been read, for progress, and how much has come out of it, so that what unpacks to more than
//! there is room for ends early. lseek(2).

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::fcntl::OFlag;

use crate::archive::decompress::{self, Stream};
use crate::rootfs::superblock::PROBED;

/// Where an archive comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file of the host.
    File(PathBuf),
    /// The standard input.
    Input,
}

/// A source that has been opened, in the worker.
#[derive(Debug)]
pub struct Source {
    file: File,
    /// What it is called in messages.
    pub name: String,
    /// Its length, when it is a regular file.
    pub length: Option<u64>,
}

impl Source {
    /// Opens it.
    ///
    /// # Errors
    /// When there is no such file, or it is a directory.
    pub fn open(place: &Place) -> Result<Self> {
        let file = match place {
            Place::Input => File::from(io::stdin().as_fd().try_clone_to_owned().context("dup")?),
            Place::File(path) => open(path)?,
        };
        let about = file.metadata().context("stat")?;
        ensure!(
            !about.is_dir(),
            "it is a directory, not an archive; 'ds create NAME --rootfs DIR' uses one in place"
        );
        let name = match place {
            Place::Input => "standard input".to_owned(),
            Place::File(path) => path.display().to_string(),
        };
        Ok(Self { length: about.is_file().then_some(about.len()), file, name })
    }

    /// Begins to read. In the job's process: decompression forks another one.
    ///
    /// # Errors
    /// An unknown compression.
    pub fn stream(&self, most: Option<u64>) -> Result<Incoming> {
        let input = self.file.as_fd().try_clone_to_owned().context("dup")?;
        let position = self.length.is_some().then(|| self.file.try_clone()).transpose().context("dup")?;
        let stream = decompress::open(input)?;
        Ok(Incoming { stream, position, ahead: Vec::new(), taken: 0, count: 0, most, exceeded: false })
    }
}

fn open(path: &Path) -> Result<File> {
    // A named pipe is as good as any other.
    let file = nix::fcntl::open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty());
    Ok(File::from(file.with_context(|| format!("open {}", path.display()))?))
}

/// Plain bytes that come out of an archive.
#[derive(Debug)]
pub struct Incoming {
    stream: Stream,
    /// Shares its offset with whoever decompresses.
    position: Option<File>,
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
        let position = self.position.as_mut().map(|file| file.stream_position().unwrap_or(0));
        position.unwrap_or(self.count)
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
    /// That it is damaged or cut off.
    pub fn finish(self) -> Result<()> {
        self.stream.finish()
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
