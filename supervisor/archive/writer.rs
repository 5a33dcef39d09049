//! Writes members as an archive: POSIX.1-2001 pax(1), with extended headers only for values that ustar cannot
//! represent: long names, large numbers, fractions of seconds, attributes, holes.
//!
//! Owns the output format. Buffers small members and writes large pieces. Deterministic: the same members result in the
//! same bytes.

use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};

use super::acl::{self, Acl};
use super::header::{BLOCK, Fields, MAX_LONG, MAX_SHORT};
use super::pax::{encode_key, put, time_text};
use super::reader::{Kind, Member, Status};
use super::sparse::to_front;
use super::time::Time;

/// Size of the buffer, in bytes.
const AT_ONCE: usize = 256 << 10;
/// Maximum length of a name in a header.
const SHORT: usize = 100;

/// Writes an archive.
#[allow(missing_debug_implementations, reason = "a stream has none")]
pub struct Writer<'a> {
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
    filled: usize,
}

impl<'a> Writer<'a> {
    /// Writes to `out`.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, buffer: vec![0; AT_ONCE], filled: 0 }
    }

    /// Writes the header of a member. The caller must then write as many bytes as [`Member::data`] says, and call
    /// [`Writer::fill_up`].
    ///
    /// # Errors
    /// What the stream answers.
    pub fn member(&mut self, member: &Member) -> Result<()> {
        let map = member.map.as_deref().map(to_front).unwrap_or_default();
        let size = member.data + u64::try_from(map.len())?;
        let (name, records) = extended(member, size);
        let status = &member.status;
        let (kind, device) = match member.kind {
            Kind::File => (b'0', (0, 0)),
            Kind::HardLink => (b'1', (0, 0)),
            Kind::SymbolicLink => (b'2', (0, 0)),
            Kind::CharacterDevice(major, minor) => (b'3', (major, minor)),
            Kind::BlockDevice(major, minor) => (b'4', (major, minor)),
            Kind::Directory => (b'5', (0, 0)),
            Kind::Fifo => (b'6', (0, 0)),
        };
        let fields = Fields {
            kind,
            name: &name,
            link: &member.link,
            mode: status.mode,
            owner: (status.user, status.group),
            size,
            modified: status.modified.seconds,
            device,
        };
        if !records.is_empty() {
            let length = u64::try_from(records.len())?;
            let last = member.name.rsplit(|byte| *byte == b'/').find(|part| !part.is_empty());
            let name = [b"PaxHeaders/", last.unwrap_or_default()].concat();
            let header = Fields {
                kind: b'x',
                name: &name,
                link: &[],
                mode: 0o644,
                owner: (0, 0),
                size: length,
                device: (0, 0),
                ..fields
            };
            self.bytes(&header.block())?;
            self.bytes(&records)?;
            self.fill_up()?;
        }
        self.bytes(&fields.block())?;
        self.bytes(&map)
    }

    /// Writes exactly `length` bytes of data from a file.
    ///
    /// # Errors
    /// If the file is shorter, or reading or writing fails.
    pub fn data(&mut self, file: &mut dyn Read, mut length: u64) -> Result<()> {
        while length > 0 {
            if self.filled == self.buffer.len() {
                self.flush()?;
            }
            let most = usize::try_from(length).unwrap_or(usize::MAX).min(self.buffer.len() - self.filled);
            let read = match file.read(&mut self.buffer[self.filled..self.filled + most]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other.context("read")?,
            };
            ensure!(read > 0, "it became shorter while it was read");
            self.filled += read;
            length -= u64::try_from(read)?;
        }
        Ok(())
    }

    /// Pads the last block of data.
    ///
    /// # Errors
    /// What the stream answers.
    pub fn fill_up(&mut self) -> Result<()> {
        let rest = self.filled.next_multiple_of(BLOCK) - self.filled;
        self.bytes(&[0; BLOCK][..rest])
    }

    /// Writes a complete file of root with mode 0600.
    ///
    /// # Errors
    /// What the stream answers.
    pub fn file(&mut self, name: &str, content: &[u8], modified: i64) -> Result<()> {
        let length = u64::try_from(content.len())?;
        let modified = Time { seconds: modified, nanoseconds: 0 };
        self.member(&Member {
            name: name.into(),
            link: Vec::new(),
            kind: Kind::File,
            status: Status { mode: 0o600, modified, ..Status::default() },
            size: length,
            data: length,
            map: None,
        })?;
        self.bytes(content)?;
        self.fill_up()
    }

    /// Writes the end mark. An archive without it counts as truncated.
    ///
    /// # Errors
    /// What the stream answers.
    pub fn end(mut self) -> Result<()> {
        self.bytes(&[0; 2 * BLOCK])?;
        self.flush()
    }

    /// Writes all buffered data.
    ///
    /// # Errors
    /// What the stream answers.
    pub fn flush(&mut self) -> Result<()> {
        // Whole blocks: the length of the buffer is a multiple of the block size.
        let done = self.out.write_all(&self.buffer[..self.filled]);
        self.filled = 0;
        done.context("write the archive")
    }

    fn bytes(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.filled == self.buffer.len() {
                self.flush()?;
            }
            let length = bytes.len().min(self.buffer.len() - self.filled);
            self.buffer[self.filled..self.filled + length].copy_from_slice(&bytes[..length]);
            self.filled += length;
            bytes = &bytes[length..];
        }
        Ok(())
    }
}

/// The key of an access control list in text form.
fn list_key(attribute: &[u8]) -> Option<&'static [u8]> {
    match attribute {
        acl::ACCESS => Some(b"SCHILY.acl.access"),
        acl::DEFAULT => Some(b"SCHILY.acl.default"),
        _ => None,
    }
}

/// The name in the header, and the records of the extended header.
fn extended(member: &Member, size: u64) -> (Vec<u8>, Vec<u8>) {
    let (mut name, mut records) = (member.name.clone(), Vec::new());
    let status = &member.status;
    let number = |key: &[u8], value: u64, most: u64, records: &mut Vec<u8>| {
        if value > most {
            put(records, key, value.to_string().as_bytes());
        }
    };
    number(b"uid", status.user.into(), MAX_SHORT, &mut records);
    number(b"gid", status.group.into(), MAX_SHORT, &mut records);
    number(b"size", size, MAX_LONG, &mut records);
    let Time { seconds, nanoseconds } = status.modified;
    if nanoseconds > 0 || !u64::try_from(seconds).is_ok_and(|seconds| seconds <= MAX_LONG) {
        put(&mut records, b"mtime", time_text(status.modified).as_bytes());
    }
    if member.link.len() > SHORT {
        put(&mut records, b"linkpath", &member.link);
    }
    for (attribute, value) in &status.attributes {
        // For programs that support only the text form.
        if let (Some(key), Ok(list)) = (list_key(attribute), Acl::from_bytes(value)) {
            put(&mut records, key, list.to_text().as_bytes());
        }
        put(&mut records, &[b"SCHILY.xattr.".as_slice(), &encode_key(attribute)].concat(), value);
    }
    if member.map.is_some() {
        put(&mut records, b"GNU.sparse.major", b"1");
        put(&mut records, b"GNU.sparse.minor", b"0");
        put(&mut records, b"GNU.sparse.name", &member.name);
        put(&mut records, b"GNU.sparse.realsize", member.size.to_string().as_bytes());
        // A program without support for sparse files creates a file with this name and the map in it.
        let at = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        name.splice(at..at, *b"GNUSparseFile.0/");
    } else if name.len() > SHORT {
        put(&mut records, b"path", &member.name);
    }
    (name, records)
}
