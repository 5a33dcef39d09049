//! POSIX access control lists: the text in archives, and the kernel's attribute.
//!
//! Owns both formats. It parses every form that star, GNU tar, bsdtar and setfacl(1) write, and writes one form. It
//! looks up no user and accesses no file: the caller resolves names. acl(5), "Long text form" and "Short text form";
//! linux/posix_acl_xattr.h.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use super::header::id;
use super::pax::integer;

/// The attribute for access.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute of a directory that new entries inherit.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

/// Version of the attribute, and the id of an entry without one.
const VERSION: u32 = 2;
const NO_ID: u32 = u32::MAX;
/// Maximum number of entries of a list; the attribute can hold about 8000, and file systems far fewer.
const MAX_ENTRIES: usize = 1000;

/// The subject of an entry, with the tags of the attribute; in the order that the kernel requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// The owner.
    Owner = 0x01,
    /// A user.
    User = 0x02,
    /// The owning group.
    OwningGroup = 0x04,
    /// A group.
    Group = 0x08,
    /// The mask: the maximum for all except the owner and others.
    Mask = 0x10,
    /// All others.
    Other = 0x20,
}

const TAGS: [Tag; 6] = [Tag::Owner, Tag::User, Tag::OwningGroup, Tag::Group, Tag::Mask, Tag::Other];

/// A user or a group in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name; empty if the text has only a number.
    pub name: Vec<u8>,
    /// Its number, if the text has one.
    pub id: Option<u32>,
}

/// An entry of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    tag: Tag,
    who: Option<Named>,
    permissions: u8,
}

/// The lists of one member in the archive: names and numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Texts {
    access: Vec<Entry>,
    default: Vec<Entry>,
    /// A text was invalid; users that the list excluded must stay excluded.
    unreadable: bool,
}

/// A list in the kernel's form: one entry for each tag and id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acl(BTreeMap<(Tag, u32), u8>);

impl Texts {
    /// Parses a record. `default` for the record of the default list; an entry may be marked as default as well.
    ///
    /// # Errors
    /// Why it is invalid; [`Texts::narrowed`] then denies access to the file's group.
    pub fn add(&mut self, text: &[u8], default: bool) -> Result<()> {
        let read = self.read(text, default);
        self.unreadable |= read.is_err() && !default;
        read
    }

    fn read(&mut self, text: &[u8], default: bool) -> Result<()> {
        let (mut access, mut defaults) = (Vec::new(), Vec::new());
        for line in text.split(|byte| *byte == b'\n') {
            let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
            for entry in line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if entry.is_empty() {
                    continue;
                }
                let (entry, marked) = read_entry(entry)?;
                let list = if default || marked { &mut defaults } else { &mut access };
                ensure!(list.len() < MAX_ENTRIES, "it has more than {MAX_ENTRIES} entries");
                list.push(entry);
            }
        }
        for (list, new) in [(&mut self.access, access), (&mut self.default, defaults)] {
            if !new.is_empty() {
                *list = new;
            }
        }
        Ok(())
    }

    /// Discards texts that the attributes contain too: attributes are exact, and a text has the names of another
    /// system.
    pub fn yield_to(&mut self, attributes: &[(Vec<u8>, Vec<u8>)]) {
        let has = |wanted: &[u8]| attributes.iter().any(|(name, _)| name == wanted);
        if has(ACCESS) {
            self.access.clear();
            self.unreadable = false;
        }
        if has(DEFAULT) {
            self.default.clear();
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.access.is_empty() && self.default.is_empty() && !self.unreadable
    }

    /// Whether a name must be looked up.
    #[must_use]
    pub fn has_names(&self) -> bool {
        let named = |entry: &Entry| entry.who.as_ref().is_some_and(|who| !who.name.is_empty());
        self.access.iter().chain(&self.default).any(named)
    }

    /// Approximate memory usage, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let entries = self.access.iter().chain(&self.default);
        entries.map(|entry| 64 + entry.who.as_ref().map_or(0, |who| who.name.len())).sum()
    }

    /// The mode of a file without its list: the group gets its own permissions in the list, not those of the mask.
    #[must_use]
    pub fn narrowed(&self, mode: u32) -> u32 {
        let of = |tag: Tag| {
            let found = self.access.iter().find(|entry| entry.tag == tag);
            found.map(|entry| u32::from(entry.permissions))
        };
        match of(Tag::OwningGroup) {
            _ if self.unreadable => mode & !0o070,
            Some(group) => mode & !0o070 | (mode & 0o070 & ((group & of(Tag::Mask).unwrap_or(7)) << 3)),
            None => mode,
        }
    }

    /// The lists with numbers: for access, and the default of a directory. `look_up` resolves users (`true`) and
    /// groups; unknown ones are passed to `unknown` and skipped. Missing entries are derived from `mode`.
    ///
    /// # Errors
    /// If a list is contradictory.
    pub fn resolve(
        &self,
        mode: u32,
        look_up: &mut dyn FnMut(bool, &[u8]) -> Option<u32>,
        unknown: &mut dyn FnMut(&[u8]),
    ) -> Result<(Option<Acl>, Option<Acl>)> {
        let mut list = |entries: &[Entry]| -> Result<Option<Acl>> {
            let mut list = Acl::default();
            for entry in entries {
                let number = match &entry.who {
                    None => NO_ID,
                    Some(who) => {
                        let found = look_up(entry.tag == Tag::User, &who.name).or(who.id);
                        let Some(number) = found else {
                            unknown(&who.name);
                            continue;
                        };
                        number
                    }
                };
                list.put(entry.tag, number, entry.permissions)?;
            }
            list.complete(mode);
            Ok((!entries.is_empty()).then_some(list))
        };
        Ok((list(&self.access)?, list(&self.default)?))
    }
}

impl Acl {
    fn put(&mut self, tag: Tag, id: u32, permissions: u8) -> Result<()> {
        match self.0.insert((tag, id), permissions) {
            // Two names of one user: the permissions that both have.
            Some(before) if id != NO_ID => self.0.insert((tag, id), before & permissions),
            Some(_) => bail!("it has a duplicate entry"),
            None => None,
        };
        Ok(())
    }

    /// Adds required entries from the mode, whose group bits are the mask if there is one.
    fn complete(&mut self, mode: u32) {
        let bits = |shift: u32| u8::try_from(mode >> shift & 7).unwrap_or(0);
        self.0.entry((Tag::Owner, NO_ID)).or_insert(bits(6));
        self.0.entry((Tag::OwningGroup, NO_ID)).or_insert(bits(3));
        self.0.entry((Tag::Other, NO_ID)).or_insert(bits(0));
        if self.0.keys().any(|(_, id)| *id != NO_ID) {
            self.0.entry((Tag::Mask, NO_ID)).or_insert(bits(3));
        }
    }

    fn of(&self, tag: Tag) -> Option<u8> {
        self.0.get(&(tag, NO_ID)).copied()
    }

    /// Whether permission bits can represent it completely.
    #[must_use]
    pub fn is_trivial(&self) -> bool {
        self.0.len() <= 3
    }

    /// The mode of a file with this list.
    #[must_use]
    pub fn mode(&self, mode: u32) -> u32 {
        let group = self.of(Tag::Mask).or(self.of(Tag::OwningGroup)).unwrap_or(0);
        let bits = [(self.of(Tag::Owner).unwrap_or(0), 6), (group, 3), (self.of(Tag::Other).unwrap_or(0), 0)];
        bits.into_iter().fold(mode & !0o777, |mode, (bits, shift)| mode | u32::from(bits) << shift)
    }

    /// The value of the attribute.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for ((tag, id), permissions) in &self.0 {
            bytes.extend((*tag as u16).to_le_bytes());
            bytes.extend(u16::from(*permissions).to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    /// Parses the value of the attribute.
    ///
    /// # Errors
    /// If it has another version, or is malformed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let wrong = "it is not an access control list";
        let (version, entries) = bytes.split_first_chunk::<4>().context(wrong)?;
        ensure!(u32::from_le_bytes(*version) == VERSION && entries.len() % 8 == 0, "{wrong}");
        let mut list = Self::default();
        for entry in entries.chunks_exact(8) {
            let half = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
            let number = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
            let tag = TAGS.into_iter().find(|tag| *tag as u16 == half(0)).context(wrong)?;
            let permissions = u8::try_from(half(2)).ok().filter(|bits| *bits <= 7).context(wrong)?;
            let named = matches!(tag, Tag::User | Tag::Group);
            ensure!(!named || number != NO_ID, "{wrong}");
            list.put(tag, if named { number } else { NO_ID }, permissions)?;
        }
        Ok(list)
    }

    /// The text for an archive, with numbers: GNU tar, star and bsdtar can read it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let line = |((tag, id), permissions): (&(Tag, u32), &u8)| {
            let who = if *id == NO_ID { String::new() } else { id.to_string() };
            let bit = |bit: u8, letter: char| if permissions & bit == 0 { '-' } else { letter };
            let word = match tag {
                Tag::Owner | Tag::User => "user",
                Tag::OwningGroup | Tag::Group => "group",
                Tag::Mask => "mask",
                Tag::Other => "other",
            };
            format!("{word}:{who}:{}{}{}\n", bit(4, 'r'), bit(2, 'w'), bit(1, 'x'))
        };
        self.0.iter().map(line).collect()
    }
}

/// The mode of a file that cannot have the list in this attribute; the same rule as for [`Texts::narrowed`].
#[must_use]
pub fn narrowed(mode: u32, value: &[u8]) -> u32 {
    let list = Acl::from_bytes(value).ok();
    let group = list.and_then(|list| Some(list.of(Tag::OwningGroup)? & list.of(Tag::Mask).unwrap_or(7)));
    mode & (!0o070 | u32::from(group.unwrap_or(0)) << 3)
}

/// `[default:]TAG:[WHO]:PERMISSIONS[:ID]`; the second field may be omitted if it is always empty. Also returns whether
/// it is marked as default.
fn read_entry(text: &[u8]) -> Result<(Entry, bool)> {
    let mut fields: Vec<&[u8]> = text.split(|byte| *byte == b':').map(<[u8]>::trim_ascii).collect();
    let marked = matches!(fields[0], b"default" | b"d") && fields.len() > 1;
    if marked {
        fields.remove(0);
    }
    let (who, rest) = match (fields[0], fields.len()) {
        (b"user" | b"u" | b"group" | b"g", 3..) => (fields[1], &fields[2..]),
        (b"mask" | b"m" | b"other" | b"o", 3..) if fields[1].is_empty() => (fields[1], &fields[2..]),
        (b"mask" | b"m" | b"other" | b"o", 2) => (&b""[..], &fields[1..]),
        _ => bail!("an entry is malformed"),
    };
    let number = match rest {
        [_] | [_, b""] => None,
        [_, number] => Some(id(integer(number)?)?),
        _ => bail!("an entry has too many fields"),
    };
    let user = matches!(fields[0], b"user" | b"u");
    let tag = match fields[0] {
        b"mask" | b"m" => Tag::Mask,
        b"other" | b"o" => Tag::Other,
        _ => match (user, who.is_empty()) {
            (true, true) => Tag::Owner,
            (true, false) => Tag::User,
            (false, true) => Tag::OwningGroup,
            (false, false) => Tag::Group,
        },
    };
    let who = match integer(who) {
        _ if who.is_empty() => None,
        Ok(plain) => Some(Named { name: Vec::new(), id: Some(id(plain)?) }),
        Err(_) => Some(Named { name: unquoted(who), id: number }),
    };
    Ok((Entry { tag, who, permissions: read_permissions(rest[0])? }, marked))
}

/// Letters in any order, or an octal digit.
fn read_permissions(text: &[u8]) -> Result<u8> {
    if let [digit @ b'0'..=b'7'] = text {
        return Ok(digit - b'0');
    }
    ensure!(!text.is_empty(), "an entry has no permissions");
    text.iter().try_fold(0, |bits, letter| {
        Ok(bits
            | match letter {
                b'r' => 4,
                b'w' => 2,
                b'x' => 1,
                b'-' => 0,
                _ => bail!("its permissions are malformed"),
            })
    })
}

/// acl_to_any_text(3) escapes characters that would end a name with a backslash and three octal digits.
fn unquoted(mut text: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        match (first, rest) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..]) => {
                name.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                text = rest;
            }
            _ => {
                name.push(*first);
                text = rest;
            }
        }
    }
    name
}

#[cfg(test)]
#[path = "acl_tests.rs"]
mod tests;
