//! The format of `ds export`: one tar archive, compressed with zstd. Owns the format; opens no file.
//!
//! | member | content |
//! |---|---|
//! | `droidspaces/manifest.json` | [`Manifest`]: the description |
//! | `droidspaces/container.ini` | the configuration, without settings of one machine |
//! | `rootfs/…` | the tree |
//! | `droidspaces/complete` | [`Complete`]: counts and checksum of the members before it; shows that the file is complete |
//!
//! Any tar program can read it. The last member and the end of the archive have a fixed length ([`TAIL`]), so that the
//! checksum of all bytes before them can be computed while they are streamed.

use std::io::{self, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use crate::config::value::Name;
use crate::seed::ledger::Ledger;

/// Name of the first member.
pub const MANIFEST: &str = "droidspaces/manifest.json";
/// Name of the second member.
pub const CONFIGURATION: &str = "droidspaces/container.ini";
/// Prefix of the names of the tree.
pub const TREE: &str = "rootfs";
/// Name of the last member.
pub const COMPLETE: &str = "droidspaces/complete";
/// The version that is written, and the newest that can be read.
pub const VERSION: u32 = 1;
/// Length of the last member, with its header, and of the end of the archive, in bytes.
pub const TAIL: usize = 4 * 512;
/// Maximum length of the content of the last member.
const LONGEST_COMPLETE: usize = 512;

/// The description of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`VERSION`].
    pub format: u32,
    /// The program's version.
    pub version: String,
    /// The container's name.
    pub name: Name,
    /// The form of its root file system.
    pub form: Form,
    /// Size of the image, bytes.
    pub size: Option<u64>,
    /// Used space of the tree on its file system, in bytes.
    pub bytes: u64,
    /// Number of files.
    pub files: u64,
    /// The record of seeding: what the changed files of the tree contained before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<Ledger>,
}

/// The form of a root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// An image.
    Image,
    /// A directory.
    Directory,
}

/// The proof of completeness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complete {
    /// Members of the tree.
    pub entries: u64,
    /// Bytes of the archive before this member.
    pub length: u64,
    /// Their XXH64, in hexadecimal digits.
    pub xxh64: String,
}

impl Manifest {
    /// Parses the content of the first member.
    ///
    /// # Errors
    /// If it is invalid, or of an unknown version.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let Version { format } = serde_json::from_slice(bytes).context("its manifest cannot be read")?;
        ensure!(format <= VERSION, "it was written by a newer version of this program; use that to read it");
        serde_json::from_slice(bytes).context("its manifest cannot be read")
    }
}

impl Complete {
    /// The content of the last member.
    ///
    /// # Errors
    /// Never, since it is short enough.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let bytes = serde_json::to_vec(self).context("encode the last member")?;
        ensure!(!bytes.is_empty() && bytes.len() <= LONGEST_COMPLETE, "the last member is too long");
        Ok(bytes)
    }
}

/// Counts and checksums the written bytes.
#[derive(Debug)]
pub struct Summing<W> {
    out: W,
    digest: Digest,
    length: u64,
}

impl<W: Write> Summing<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, digest: Digest::default(), length: 0 }
    }

    /// The counts and checksum so far, for the last member.
    #[must_use]
    pub fn complete(&self, entries: u64) -> Complete {
        Complete { entries, length: self.length, xxh64: format!("{:016x}", self.digest.value()) }
    }

    /// The inner writer.
    pub fn into_inner(self) -> W {
        self.out
    }
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.digest.add(&bytes[..count]);
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Checksums the read bytes, except for the last [`TAIL`] bytes.
#[derive(Debug)]
pub struct Checking<R> {
    input: R,
    digest: Digest,
    length: u64,
    /// The last bytes, which may be the tail.
    held: Vec<u8>,
}

impl<R: Read> Checking<R> {
    /// Reads from `input`.
    pub fn new(input: R) -> Self {
        Self { input, digest: Digest::default(), length: 0, held: Vec::with_capacity(2 * TAIL) }
    }

    /// Reads to the end and verifies the last member; `entries` is the number of entries that were found.
    ///
    /// # Errors
    /// If there is a difference.
    pub fn finish(mut self, complete: &Complete, entries: u64) -> Result<R> {
        let mut buffer = [0; 4096];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => drop(other.context("read the end")?),
            }
        }
        // A file that ends in its tail has lost bytes that no checksum covers.
        ensure!(self.held.len() == TAIL, "it is damaged: its end is missing");
        let sum = format!("{:016x}", self.digest.value());
        if (self.length, &sum, entries) != (complete.length, &complete.xxh64, complete.entries) {
            bail!("it is damaged: its checksum differs");
        }
        Ok(self.input)
    }

    /// The inner reader.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.input
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.digest.add(bytes);
        self.length += bytes.len() as u64;
    }
}

impl<R: Read> Read for Checking<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let bytes = &buffer[..count];
        if count >= TAIL {
            let held = std::mem::take(&mut self.held);
            self.pass(&held);
            let (pass, keep) = bytes.split_at(count - TAIL);
            self.pass(pass);
            self.held = held;
            self.held.clear();
            self.held.extend_from_slice(keep);
        } else {
            self.held.extend_from_slice(bytes);
            let surplus = self.held.len().saturating_sub(TAIL);
            let passed: Vec<u8> = self.held.drain(..surplus).collect();
            self.pass(&passed);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest() -> Manifest {
        Manifest {
            format: VERSION,
            version: "1.2.3".into(),
            name: "web".parse().unwrap(),
            form: Form::Image,
            size: Some(1 << 30),
            bytes: 7,
            files: 3,
            seed: None,
        }
    }

    #[test]
    fn a_manifest_is_read_back_and_a_newer_one_refused() {
        let text = serde_json::to_string(&manifest()).unwrap();
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest());
        let newer = text.replace("\"format\":1", "\"format\":2");
        assert!(Manifest::parse(newer.as_bytes()).unwrap_err().to_string().contains("newer version"));
        let hostile = text.replace("\"web\"", "\"../web\"");
        assert!(Manifest::parse(hostile.as_bytes()).is_err());
    }

    #[test]
    fn the_last_member_has_room_for_the_largest_numbers() {
        let complete = Complete { entries: u64::MAX, length: u64::MAX, xxh64: format!("{:016x}", u64::MAX) };
        complete.to_bytes().unwrap();
    }

    #[test]
    fn a_file_that_ends_within_its_tail_is_refused_whatever_came_before() {
        for content in [&b""[..], b"x", &[7; TAIL], &[7; TAIL + 1]] {
            let mut summing = Summing::new(Vec::new());
            summing.write_all(content).unwrap();
            let complete = summing.complete(0);
            let file = [summing.into_inner(), vec![7; TAIL]].concat();
            Checking::new(file.as_slice()).finish(&complete, 0).unwrap();
            for length in 0..file.len() {
                assert!(Checking::new(&file[..length]).finish(&complete, 0).is_err(), "{length} bytes");
            }
        }
    }

    proptest! {
        #[test]
        fn any_manifest_does_not_panic(bytes: Vec<u8>, text: String) {
            let _ = Manifest::parse(&bytes);
            let _ = Manifest::parse(text.as_bytes());
        }

        #[test]
        fn what_was_summed_when_written_is_found_when_read(
            bytes in prop::collection::vec(any::<u8>(), 0..6000),
            portion in 1_usize..5000,
            cut: prop::sample::Index,
        ) {
            let mut summing = Summing::new(Vec::new());
            summing.write_all(&bytes).unwrap();
            let complete = summing.complete(5);
            let mut file = summing.into_inner();
            file.extend([7; TAIL]);
            let mut checking = Checking::new(file.as_slice());
            let mut buffer = vec![0; portion];
            let mut read = Vec::new();
            // Partly, like a reader that has found the end of the archive.
            while read.len() < bytes.len() {
                let count = checking.read(&mut buffer).unwrap();
                read.extend_from_slice(&buffer[..count]);
            }
            prop_assert_eq!(&read[..bytes.len()], &bytes[..]);
            checking.finish(&complete, 5).unwrap();
            let mut damaged = file.clone();
            if !bytes.is_empty() {
                damaged[bytes.len() / 2] ^= 1;
                prop_assert!(Checking::new(damaged.as_slice()).finish(&complete, 5).is_err());
            }
            prop_assert!(Checking::new(file.as_slice()).finish(&complete, 4).is_err());
            let length = cut.index(file.len());
            prop_assert!(Checking::new(&file[..length]).finish(&complete, 5).is_err());
            file.push(7);
            prop_assert!(Checking::new(file.as_slice()).finish(&complete, 5).is_err());
        }
    }
}
