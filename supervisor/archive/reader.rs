//! The members of an archive, in order, as its headers describe them.
//!
//! Owns the combination of header blocks, long names of GNU tar, extended headers and sparse maps into one [`Member`],
//! and returns its data. Memory is limited, whatever the archive claims. Accesses no file, and does not check whether a
//! name is permitted ([`super::name`]).

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};

use super::acl::Texts;
use super::header::{BLOCK, Block, Header, id};
use super::name::shown;
use super::pax::{Records, decimal, decode_key, integer, time};
use super::sparse::{self, Segment};
use super::time::Time;
use super::vocabulary::{ATTRIBUTE, ATTRIBUTE_IN_BASE64, PassedOver, from_base64, from_url};
use super::{carries, name};

/// Size of the buffer, in bytes.
const AT_ONCE: usize = 256 << 10;
/// Maximum size of an extended header in bytes: sufficient for the attributes of any file, and for maps of large sparse
/// files.
const LARGEST_HEADER: u64 = 8 << 20;
/// Maximum size of a global extended header, which is copied for each member.
const LARGEST_GLOBAL: u64 = 64 << 10;
/// Maximum size of a long name in GNU tar's form; a name that is too long for a path is refused later, with its name.
const LARGEST_NAME: u64 = 64 << 10;

/// The type of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file with data.
    File,
    /// A hard link to an earlier file: [`Member::link`].
    HardLink,
    /// A symbolic link to the path [`Member::link`].
    SymbolicLink,
    /// A character device, major and minor number.
    CharacterDevice(u32, u32),
    /// A block device, major and minor number.
    BlockDevice(u32, u32),
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// Name and value of an extended attribute.
pub type Attribute = (Vec<u8>, Vec<u8>);

/// Owner, permissions, time and attributes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// Permission bits with set-user-ID, set-group-ID and sticky bit.
    pub mode: u32,
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
    /// Modification time.
    pub modified: Time,
    /// Extended attributes, only those that [`carries`] allows.
    pub attributes: Vec<Attribute>,
    /// Access control lists in text form.
    pub lists: Texts,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The name in the archive, unchanged.
    pub name: Vec<u8>,
    /// The target of a link in the archive, unchanged; empty for other types.
    pub link: Vec<u8>,
    /// Its type.
    pub kind: Kind,
    /// Owner, permissions, time and attributes.
    pub status: Status,
    /// Size of a file, holes included; 0 for anything else.
    pub size: u64,
    /// Length of the file data in the archive: the size without holes.
    pub data: u64,
    /// The parts of a sparse file.
    pub map: Option<Vec<Segment>>,
}

/// The values of extended headers for the next member.
#[derive(Debug, Clone, Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    user: Option<u32>,
    group: Option<u32>,
    modified: Option<Time>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    lists: Texts,
    sparse: Sparse,
}

/// The values for a sparse file.
#[derive(Debug, Clone, Default)]
struct Sparse {
    major: Option<u64>,
    size: Option<u64>,
    name: Option<Vec<u8>>,
    map: Option<Vec<Segment>>,
    offset: Option<u64>,
}

/// Reads an archive from a stream that need not be seekable.
#[allow(missing_debug_implementations, reason = "a stream has none")]
pub struct Reader<'a> {
    stream: &'a mut dyn Read,
    buffer: Vec<u8>,
    /// The unused part of the buffer.
    start: usize,
    end: usize,
    /// Unread data of the current member.
    left: u64,
    /// The padding after it.
    padding: u64,
    global: Extended,
    /// Name of the current member, for messages.
    name: Vec<u8>,
    began: bool,
    ended: bool,
    passed: PassedOver,
}

impl<'a> Reader<'a> {
    /// A reader of an uncompressed archive.
    pub fn new(stream: &'a mut dyn Read) -> Self {
        Self {
            stream,
            buffer: vec![0; AT_ONCE],
            start: 0,
            end: 0,
            left: 0,
            padding: 0,
            global: Extended::default(),
            name: Vec::new(),
            began: false,
            ended: false,
            passed: PassedOver::default(),
        }
    }

    /// The next member; `None` after the last one. Skips unread data of the previous one.
    ///
    /// # Errors
    /// If the archive is malformed or truncated, or reading fails. Nothing can be read after that.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not lend its data")]
    pub fn next(&mut self) -> Result<Option<Member>> {
        self.pass(self.left + self.padding)?;
        let mut extended = self.global.clone();
        loop {
            let Some(block) = self.header()? else { return Ok(None) };
            let header = Header::verify(&block).context(if self.began {
                "the archive is damaged"
            } else {
                "this is not a tar archive"
            })?;
            self.began = true;
            self.name = header.name();
            let size = header.size().with_context(|| shown(&self.name))?;
            match header.kind() {
                b'L' => extended.path = Some(self.long_name(size)?),
                b'K' => extended.link = Some(self.long_name(size)?),
                b'x' | b'X' => self.extended(size, LARGEST_HEADER, &mut extended)?,
                b'g' => {
                    let mut global = std::mem::take(&mut self.global);
                    self.extended(size, LARGEST_GLOBAL, &mut global)?;
                    self.global = global;
                    extended = self.global.clone();
                }
                // A volume label, or names of an old GNU tar, which create nothing.
                b'V' | b'N' => {
                    self.pass(size.checked_next_multiple_of(512).context("its size is too large")?)?;
                }
                _ => return self.member(header, extended).map(Some),
            }
        }
    }

    /// Up to `most` bytes of the current member's data; empty if all of it was read, or `most` is 0.
    ///
    /// # Errors
    /// If the archive is truncated, or reading fails.
    pub fn data(&mut self, most: u64) -> Result<&[u8]> {
        let wanted = most.min(self.left);
        if wanted == 0 {
            return Ok(&[]);
        }
        if self.start == self.end {
            self.fill()?;
            ensure!(self.end > 0, "the archive ends in the middle of {}", shown(&self.name));
        }
        let length = usize::try_from(wanted).unwrap_or(usize::MAX).min(self.end - self.start);
        let from = self.start;
        self.start += length;
        self.left -= u64::try_from(length)?;
        Ok(&self.buffer[from..from + length])
    }

    /// All data of the current member, at most `most` bytes, without holes.
    ///
    /// # Errors
    /// If it is larger; as for [`Reader::data`].
    pub fn all_data(&mut self, most: u64) -> Result<Vec<u8>> {
        ensure!(self.left <= most, "{} is larger than {most} bytes", shown(&self.name));
        let mut all = Vec::with_capacity(usize::try_from(self.left)?);
        while self.left > 0 {
            all.extend_from_slice(self.data(u64::MAX)?);
        }
        Ok(all)
    }

    /// Ignored information of the archive so far, one line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.passed.warnings()
    }

    fn fill(&mut self) -> Result<()> {
        (self.start, self.end) = (0, 0);
        self.end = loop {
            match self.stream.read(&mut self.buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other.context("read the archive")?,
            }
        };
        Ok(())
    }

    fn pass(&mut self, mut length: u64) -> Result<()> {
        (self.left, self.padding) = (0, 0);
        while length > 0 {
            if self.start == self.end {
                self.fill()?;
                ensure!(self.end > 0, "the archive ends in the middle of {}", shown(&self.name));
            }
            let step = usize::try_from(length).unwrap_or(usize::MAX).min(self.end - self.start);
            self.start += step;
            length -= u64::try_from(step)?;
        }
        Ok(())
    }

    /// One block; `None` if the stream ends before it.
    fn block(&mut self) -> Result<Option<Block>> {
        let (mut block, mut filled) = ([0; BLOCK], 0);
        while filled < BLOCK {
            if self.start == self.end {
                self.fill()?;
                if self.end == 0 {
                    ensure!(filled == 0, "the archive ends in the middle of a block");
                    return Ok(None);
                }
            }
            let length = (BLOCK - filled).min(self.end - self.start);
            block[filled..filled + length].copy_from_slice(&self.buffer[self.start..self.start + length]);
            filled += length;
            self.start += length;
        }
        Ok(Some(block))
    }

    /// The block of a header; `None` at the end mark. An archive without one is truncated.
    fn header(&mut self) -> Result<Option<Block>> {
        if self.ended {
            return Ok(None);
        }
        let Some(block) = self.block()? else {
            ensure!(self.began, "the archive is empty");
            bail!("the archive is truncated: it has no end marker");
        };
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Some(block));
        }
        // One block is sufficient at the very end, because some programs write only one.
        if let Some(next) = self.block()? {
            ensure!(next.iter().all(|byte| *byte == 0), "the archive has an empty block in the middle");
        }
        self.ended = true;
        Ok(None)
    }

    /// Data of a header, with its padding.
    fn header_data(&mut self, size: u64, most: u64) -> Result<Vec<u8>> {
        ensure!(size <= most, "an extended header is larger than {most} bytes");
        self.left = size;
        let data = self.all_data(most)?;
        self.pass(size.next_multiple_of(512) - size)?;
        Ok(data)
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>> {
        ensure!(size <= LARGEST_NAME, "a member has a name of {size} bytes; {} is the most", name::LONGEST);
        let mut name = self.header_data(size, LARGEST_NAME)?;
        while name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    fn extended(&mut self, size: u64, most: u64, extended: &mut Extended) -> Result<()> {
        let data = self.header_data(size, most)?;
        for record in Records(&data) {
            let (key, value) = record?;
            extended
                .set(key, value, &mut self.passed)
                .with_context(|| format!("an extended header has an invalid {}", shown(key)))?;
        }
        Ok(())
    }

    fn member(&mut self, header: Header<'_>, extended: Extended) -> Result<Member> {
        let (sparse, mut lists) = (extended.sparse, extended.lists);
        lists.yield_to(&extended.attributes);
        let in_front = sparse.major == Some(1);
        let long = sparse.name.or(extended.path);
        self.name = long.unwrap_or_else(|| header.name());
        let named = |name: &[u8]| shown(name);
        let mut kind = kind(header).with_context(|| named(&self.name))?;
        // Before directories had a type, they were files whose names end with a slash.
        if kind == Kind::File && self.name.ends_with(b"/") {
            kind = Kind::Directory;
        }
        let header_size = header.size().with_context(|| named(&self.name))?;
        let stored = if kind == Kind::HardLink { 0 } else { extended.size.unwrap_or(header_size) };
        let padded = stored.checked_next_multiple_of(512).filter(|padded| *padded <= u64::MAX >> 1);
        let padded = padded.with_context(|| format!("{}: its size is too large", named(&self.name)))?;
        let (owner, modified) = owner_and_time(header, extended.user, extended.group, extended.modified)
            .with_context(|| named(&self.name))?;
        let mut member = Member {
            name: self.name.clone(),
            link: Vec::new(),
            kind,
            status: Status {
                mode: header.mode().with_context(|| named(&self.name))?,
                user: owner.0,
                group: owner.1,
                modified,
                attributes: extended.attributes,
                lists,
            },
            size: 0,
            data: 0,
            map: None,
        };
        if matches!(kind, Kind::HardLink | Kind::SymbolicLink) {
            member.link = extended.link.unwrap_or_else(|| header.link().to_vec());
        }
        (self.left, self.padding) = (stored, padded - stored);
        if kind == Kind::File {
            let name = named(&self.name);
            let map = self.map(header, in_front, sparse.map, sparse.size).context(name)?;
            member.data = self.left;
            member.size = map.as_ref().map_or(self.left, |(_, size)| *size);
            member.map = map.map(|(map, _)| map);
        }
        Ok(member)
    }

    /// The verified map of a sparse file and its size; `None` for an ordinary file.
    fn map(
        &mut self,
        header: Header<'_>,
        in_front: bool,
        listed: Option<Vec<Segment>>,
        size: Option<u64>,
    ) -> Result<Option<(Vec<Segment>, u64)>> {
        let truncated = "the archive ends in the middle of a map of data and holes";
        let (map, size) = if header.kind() == b'S' {
            // These blocks precede the data and are not included in the size.
            sparse::old(header, &mut || self.block()?.context(truncated))?
        } else if in_front {
            let stored = self.left;
            let (map, taken) = sparse::in_front(&mut || self.block()?.context(truncated))?;
            self.left = stored.checked_sub(taken).context("its map is larger than its data")?;
            (map, size.context("its real size is missing")?)
        } else if let Some(map) = listed {
            (map, size.context("its real size is missing")?)
        } else {
            return Ok(None);
        };
        sparse::check(&map, size, self.left)?;
        Ok(Some((map, size)))
    }
}

impl Extended {
    /// Processes one record; keys without a meaning for ds are skipped and noted.
    fn set(&mut self, key: &[u8], value: &[u8], passed: &mut PassedOver) -> Result<()> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.user = Some(id(integer(value)?)?),
            b"gid" => self.group = Some(id(integer(value)?)?),
            b"mtime" => self.modified = Some(time(value)?),
            b"GNU.sparse.major" => self.sparse.major = Some(decimal(value)?),
            b"GNU.sparse.name" => self.sparse.name = Some(value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size = Some(decimal(value)?),
            b"GNU.sparse.map" => self.sparse.map = Some(sparse::listed(value)?),
            b"GNU.sparse.offset" => self.sparse.offset = Some(decimal(value)?),
            b"GNU.sparse.numbytes" => {
                let offset = self.sparse.offset.take().context("length without an offset")?;
                sparse::push(self.sparse.map.get_or_insert_default(), offset, decimal(value)?)?;
            }
            b"SCHILY.acl.access" | b"SCHILY.acl.default" => {
                if self.lists.add(value, key.ends_with(b"default")).is_err() {
                    passed.note_unreadable();
                }
            }
            _ => return self.attribute(key, value, passed),
        }
        Ok(())
    }

    fn attribute(&mut self, key: &[u8], value: &[u8], passed: &mut PassedOver) -> Result<()> {
        let plain = key.strip_prefix(ATTRIBUTE).map(|name| (decode_key(name), Some(value.to_vec())));
        let encoded = key.strip_prefix(ATTRIBUTE_IN_BASE64);
        let found = plain.or_else(|| Some((from_url(encoded?), from_base64(value))));
        let Some((name, value)) = found.filter(|(name, _)| carries(name)) else {
            passed.note(key);
            return Ok(());
        };
        ensure!(!name.contains(&0) && name.len() <= 255, "name");
        let value = value.context("it is not base64")?;
        // bsdtar writes an attribute in both forms, and encodes the name in both.
        let decoded = from_url(&name);
        if decoded != name && self.attributes.contains(&(decoded, value.clone())) {
            return Ok(());
        }
        self.attributes.retain(|(known, _)| *known != name);
        self.attributes.push((name, value));
        Ok(())
    }
}

fn kind(header: Header<'_>) -> Result<Kind> {
    let device = || header.device();
    Ok(match header.kind() {
        // POSIX says to treat unknown types as files, but that could lose data.
        b'0' | 0 | b'7' => Kind::File,
        b'S' if header.is_gnu() => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::SymbolicLink,
        b'3' => device().map(|(major, minor)| Kind::CharacterDevice(major, minor))?,
        b'4' => device().map(|(major, minor)| Kind::BlockDevice(major, minor))?,
        // D: a directory with a list of its files, in incremental backups.
        b'5' | b'D' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'M' => bail!("it began in another volume; join the volumes first"),
        other => bail!("members of type {:?} are unsupported", char::from(other)),
    })
}

fn owner_and_time(
    header: Header<'_>,
    user: Option<u32>,
    group: Option<u32>,
    modified: Option<Time>,
) -> Result<((u32, u32), Time)> {
    // The fixed fields may be too small for values in an extended header.
    let owner = match (user, group) {
        (Some(user), Some(group)) => (user, group),
        _ => header
            .owner()
            .map(|(own_user, own_group)| (user.unwrap_or(own_user), group.unwrap_or(own_group)))?,
    };
    let modified = match modified {
        Some(modified) => modified,
        None => Time { seconds: header.modified()?, nanoseconds: 0 },
    };
    Ok((owner, modified))
}
