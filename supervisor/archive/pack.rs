//! Packs a tree into members of an archive, in a reproducible order.
//!
//! Names are sorted within each directory. A file with several names is packed once, followed by hard links. Follows no
//! link and enters no submount; sockets are skipped with a warning. The tree must not change: a change during the
//! operation is an error.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use nix::sys::stat::SFlag;

use super::entry::{Entry, Opener, What};
use super::name::{parts, shown};
use super::reader::{Kind, Member};
use super::writer::Writer;
use crate::rootfs::root::{Root, file_type};

/// The result.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Packed {
    /// Members.
    pub entries: u64,
    /// Bytes of file data.
    pub bytes: u64,
    /// Skipped entries with the reason, one line each.
    pub skipped: Vec<String>,
}

/// Packs the tree below `source` with names that begin with `prefix`, or `.`; `progress` receives the number of bytes
/// of file data. Writes only members: the caller writes the end mark ([`Writer::end`]).
///
/// # Errors
/// One line that names the entry.
pub fn pack(
    source: &Root,
    prefix: &str,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64),
) -> Result<Packed> {
    let (opener, top) = Opener::new(source)?;
    let mut writer = Writer::new(out);
    let mut packing =
        Packing { opener, writer: &mut writer, progress, linked: HashMap::new(), packed: Packed::default() };
    let mut name = prefix.as_bytes().to_vec();
    packing.entry(top, &mut name)?;
    let packed = packing.packed;
    writer.flush()?;
    Ok(packed)
}

struct Packing<'a, 'b> {
    opener: Opener,
    writer: &'a mut Writer<'b>,
    progress: &'a mut dyn FnMut(u64),
    /// The first name of each file with several names.
    linked: HashMap<libc::ino_t, Vec<u8>>,
    packed: Packed,
}

impl Packing<'_, '_> {
    /// Packs an entry and everything below it. `name` is its name in the archive, and is restored afterwards.
    fn entry(&mut self, entry: Entry, name: &mut Vec<u8>) -> Result<()> {
        match entry.what {
            What::Kind(Kind::Directory) => {
                self.member(&entry, Kind::Directory, name).with_context(|| shown(name))?;
                let list = entry.list().with_context(|| shown(name))?;
                // Entries are opened relative to the descriptor; the status is no longer needed.
                let directory = entry.file;
                let length = name.len();
                for listed in list {
                    name.push(b'/');
                    name.extend_from_slice(listed.name.to_bytes());
                    let opened = self.opener.open(directory.as_fd(), &listed);
                    self.entry(opened.with_context(|| shown(name))?, name)?;
                    name.truncate(length);
                }
                Ok(())
            }
            What::Kind(kind) => self.member(&entry, kind, name).with_context(|| shown(name)),
            What::Socket => {
                self.skip(name, "a socket");
                Ok(())
            }
            What::Mounted => {
                self.skip(name, "it is a mount point");
                let directory = file_type(&entry.stat) == SFlag::S_IFDIR;
                if directory { self.member(&entry, Kind::Directory, name) } else { Ok(()) }
            }
        }
    }

    fn skip(&mut self, name: &[u8], why: &str) {
        self.packed.skipped.push(format!("{}: {why}", shown(name)));
    }

    fn member(&mut self, entry: &Entry, kind: Kind, name: &[u8]) -> Result<()> {
        // Names that could not be unpacked are not packed.
        parts(name)?;
        self.packed.entries += 1;
        let mut member = Member {
            name: name.to_vec(),
            link: Vec::new(),
            kind,
            status: entry.status.clone(),
            size: 0,
            data: 0,
            map: None,
        };
        match kind {
            Kind::Directory => member.name.push(b'/'),
            _ if entry.stat.st_nlink > 1 => {
                if let Some(first) = self.linked.get(&entry.stat.st_ino) {
                    member.kind = Kind::HardLink;
                    member.link.clone_from(first);
                    // The attributes are stored with the first name.
                    member.status.attributes.clear();
                    return self.writer.member(&member);
                }
                self.linked.insert(entry.stat.st_ino, name.to_vec());
            }
            _ => {}
        }
        match kind {
            Kind::SymbolicLink => member.link = entry.target()?,
            Kind::File => return self.file(entry, member),
            _ => {}
        }
        self.writer.member(&member)
    }

    fn file(&mut self, entry: &Entry, mut member: Member) -> Result<()> {
        member.size = entry.size();
        member.data = member.size;
        member.map = entry.map()?;
        let mut file = &entry.file;
        let Some(mut map) = member.map.take() else {
            self.writer.member(&member)?;
            self.data(&mut file, member.data)?;
            return self.writer.fill_up();
        };
        member.data = map.iter().map(|segment| segment.length).sum();
        let pieces = map.clone();
        // GNU tar marks a hole at the end in this way.
        if map.last().is_none_or(|last| last.offset + last.length < member.size) {
            super::sparse::push(&mut map, member.size, 0)?;
        }
        member.map = Some(map);
        self.writer.member(&member)?;
        for piece in pieces {
            file.seek(SeekFrom::Start(piece.offset))?;
            self.data(&mut file, piece.length)?;
        }
        self.writer.fill_up()
    }

    /// Copies data in steps, to report progress in between.
    fn data(&mut self, file: &mut dyn Read, mut length: u64) -> Result<()> {
        const STEP: u64 = 4 << 20;
        while length > 0 {
            let step = length.min(STEP);
            self.writer.data(file, step)?;
            length -= step;
            self.packed.bytes += step;
            (self.progress)(self.packed.bytes);
        }
        Ok(())
    }
}
