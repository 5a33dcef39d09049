//! The 512-byte header of a member: POSIX.1-1988 ustar, with the extensions of GNU tar.
//!
//! Owns the fields of one block and its checksum; knows nothing about the blocks before and after it. Numbers are
//! octal, or base-256 if the highest bit of the first byte is set (GNU tar's manual, "Extensions").

use anyhow::{Context, Result, ensure};

/// Size of a block, of which everything in an archive is a multiple.
pub const BLOCK: usize = 512;
/// One block.
pub type Block = [u8; BLOCK];

/// A field: its offset and its length.
type Field = (usize, usize);

const NAME: Field = (0, 100);
const MODE: Field = (100, 8);
const USER: Field = (108, 8);
const GROUP: Field = (116, 8);
const SIZE: Field = (124, 12);
const MODIFIED: Field = (136, 12);
const CHECKSUM: Field = (148, 8);
const KIND: usize = 156;
const LINK: Field = (157, 100);
const MAGIC: Field = (257, 8);
const MAJOR: Field = (329, 8);
const MINOR: Field = (337, 8);
const PREFIX: Field = (345, 155);

const USTAR: &[u8; 8] = b"ustar\x0000";
const GNU: &[u8; 8] = b"ustar  \0";

/// A header with a verified checksum.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a>(&'a Block);

impl<'a> Header<'a> {
    /// Verifies the checksum; some old programs sum signed bytes.
    ///
    /// # Errors
    /// If neither sum is correct.
    pub fn verify(block: &'a Block) -> Result<Self> {
        let wanted = number(field(block, CHECKSUM)).ok();
        let (from, length) = CHECKSUM;
        let blank = i64::try_from(length)? * i64::from(b' ');
        let (mut unsigned, mut signed) = (blank, blank);
        for byte in block[..from].iter().chain(&block[from + length..]) {
            unsigned += i64::from(*byte);
            signed += i64::from(byte.cast_signed());
        }
        ensure!(wanted == Some(unsigned) || wanted == Some(signed), "a header has a wrong checksum");
        Ok(Self(block))
    }

    /// The type flag.
    #[must_use]
    pub fn kind(self) -> u8 {
        self.0[KIND]
    }

    /// The name, with the prefix of ustar.
    #[must_use]
    pub fn name(self) -> Vec<u8> {
        let name = text(field(self.0, NAME));
        let prefix = text(field(self.0, PREFIX));
        // GNU tar and the oldest programs use the space of the prefix for other data.
        let has_prefix = field(self.0, MAGIC)[..6] == USTAR[..6] && !prefix.is_empty();
        if has_prefix { [prefix, b"/", name].concat() } else { name.to_vec() }
    }

    /// The target of a link.
    #[must_use]
    pub fn link(self) -> &'a [u8] {
        text(field(self.0, LINK))
    }

    /// Whether GNU tar wrote it, so that the fields of old sparse members are valid.
    #[must_use]
    pub fn is_gnu(self) -> bool {
        field(self.0, MAGIC) == GNU
    }

    /// Length of the data.
    ///
    /// # Errors
    /// If it is not a number, or negative.
    pub fn size(self) -> Result<u64> {
        self.unsigned(SIZE, "size")
    }

    /// Permission bits; file type bits, which some programs put there, are dropped.
    ///
    /// # Errors
    /// If it is not a number, or negative.
    pub fn mode(self) -> Result<u32> {
        Ok(u32::try_from(self.unsigned(MODE, "mode")? & 0o7777)?)
    }

    /// Owner and group.
    ///
    /// # Errors
    /// If one is not a number, or not a valid ID.
    pub fn owner(self) -> Result<(u32, u32)> {
        Ok((id(self.signed(USER, "owner")?)?, id(self.signed(GROUP, "group")?)?))
    }

    /// Time of the last change, seconds since 1970.
    ///
    /// # Errors
    /// If it is not a number.
    pub fn modified(self) -> Result<i64> {
        self.signed(MODIFIED, "time")
    }

    /// Major and minor number of a device.
    ///
    /// # Errors
    /// If one is not a number, or larger than Linux has them (12 and 20 bits).
    pub fn device(self) -> Result<(u32, u32)> {
        let (major, minor) = (self.unsigned(MAJOR, "device")?, self.unsigned(MINOR, "device")?);
        ensure!(major < 1 << 12 && minor < 1 << 20, "the device number {major}:{minor} is too large");
        Ok((u32::try_from(major)?, u32::try_from(minor)?))
    }

    /// The bytes of the block.
    #[must_use]
    pub fn bytes(self) -> &'a Block {
        self.0
    }

    fn signed(self, place: Field, what: &str) -> Result<i64> {
        number(field(self.0, place)).with_context(|| format!("its {what} is not a number"))
    }

    fn unsigned(self, place: Field, what: &str) -> Result<u64> {
        let value = self.signed(place, what)?;
        u64::try_from(value).ok().with_context(|| format!("its {what} is negative"))
    }
}

/// A user or group id: -1 means "unchanged" for chown(2), so it is invalid.
///
/// # Errors
/// If it is outside of what an id can be.
pub fn id(value: i64) -> Result<u32> {
    let id = u32::try_from(value).ok().filter(|id| *id != u32::MAX);
    id.with_context(|| format!("{value} is not a user or group ID"))
}

/// A number field: octal between blanks and NULs, empty for 0, or base-256.
///
/// # Errors
/// If it is neither, or does not fit.
pub fn number(field: &[u8]) -> Result<i64> {
    if let Some((first, rest)) = field.split_first().filter(|(first, _)| *first & 0x80 != 0) {
        // Two's complement with the highest bit as a mark; the next one is the sign.
        let start = if first & 0x40 == 0 { i64::from(first & 0x3f) } else { i64::from(first.cast_signed()) };
        return rest.iter().try_fold(start, |sum, byte| {
            sum.checked_mul(256).and_then(|sum| sum.checked_add(i64::from(*byte))).context("it is too large")
        });
    }
    let end = field.iter().rposition(|byte| !matches!(byte, b' ' | 0)).map_or(0, |last| last + 1);
    field[..end].iter().skip_while(|byte| **byte == b' ').try_fold(0_i64, |sum, digit| {
        ensure!((b'0'..=b'7').contains(digit), "it is not octal");
        let sum = sum.checked_mul(8).and_then(|sum| sum.checked_add(i64::from(digit - b'0')));
        sum.context("it is too large")
    })
}

fn field(block: &Block, (from, length): Field) -> &[u8] {
    &block[from..from + length]
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The fields of a header to write; pax records contain values that do not fit.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    /// The type flag.
    pub kind: u8,
    /// Name; truncated if it is too long.
    pub name: &'a [u8],
    /// The target of a link; truncated if it is too long.
    pub link: &'a [u8],
    /// Permission bits.
    pub mode: u32,
    /// Owner and group; 0 when too large.
    pub owner: (u32, u32),
    /// Length of the data; 0 if too large.
    pub size: u64,
    /// Seconds since 1970; 0 when before or too large.
    pub modified: i64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
}

/// Largest value of an octal field of 8 bytes.
pub const MAX_SHORT: u64 = 0o777_7777;
/// Largest value of an octal field of 12 bytes.
pub const MAX_LONG: u64 = 0o777_7777_7777;

impl Fields<'_> {
    /// The header block, with its checksum.
    #[must_use]
    pub fn block(&self) -> Block {
        let mut block = [0; BLOCK];
        put(&mut block, NAME, self.name);
        put_number(&mut block, MODE, u64::from(self.mode));
        put_number(&mut block, USER, u64::from(self.owner.0));
        put_number(&mut block, GROUP, u64::from(self.owner.1));
        put_number(&mut block, SIZE, self.size);
        put_number(&mut block, MODIFIED, u64::try_from(self.modified).unwrap_or(0));
        block[KIND] = self.kind;
        put(&mut block, LINK, self.link);
        put(&mut block, MAGIC, USTAR);
        put_number(&mut block, MAJOR, u64::from(self.device.0));
        put_number(&mut block, MINOR, u64::from(self.device.1));
        put(&mut block, CHECKSUM, &[b' '; 8]);
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        put(&mut block, (CHECKSUM.0, 7), format!("{sum:06o}\0").as_bytes());
        block
    }
}

fn put(block: &mut Block, (from, length): Field, bytes: &[u8]) {
    let length = length.min(bytes.len());
    block[from..from + length].copy_from_slice(&bytes[..length]);
}

fn put_number(block: &mut Block, (from, length): Field, value: u64) {
    let most = if length == 8 { MAX_SHORT } else { MAX_LONG };
    let value = if value > most { 0 } else { value };
    put(block, (from, length), format!("{value:0width$o}", width = length - 1).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_in_every_spelling() {
        assert_eq!(number(b"0000644\0").unwrap(), 0o644);
        assert_eq!(number(b"  644 \0\0").unwrap(), 0o644);
        assert_eq!(number(b"\0\0\0\0\0\0\0\0").unwrap(), 0);
        assert_eq!(number(b"777777777777").unwrap(), 0o7777_7777_7777);
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\x02").unwrap(), 258);
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xfe").unwrap(), -2);
        assert_eq!(number(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff").unwrap(), i64::MAX);
        for wrong in [b"8".as_slice(), b"-1", b"0x1", b"1 1", b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert!(number(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn a_header_is_read_as_it_was_written(
            name in proptest::collection::vec(1_u8.., 1..100), mode in 0_u32..0o10000,
            owner in (0_u32..0o10_000_000, 0_u32..0o10_000_000), size in 0..=MAX_LONG,
            modified in 0_i64..0o777_7777_7777, device in (0_u32..4096, 0_u32..1 << 20),
        ) {
            let block = Fields { kind: b'3', name: &name, link: b"to", mode, owner, size, modified, device }.block();
            let header = Header::verify(&block).unwrap();
            prop_assert_eq!(header.name(), name);
            prop_assert_eq!((header.kind(), header.link()), (b'3', b"to".as_slice()));
            prop_assert_eq!(header.mode().unwrap(), mode);
            prop_assert_eq!(header.owner().unwrap(), owner);
            prop_assert_eq!(header.size().unwrap(), size);
            prop_assert_eq!(header.modified().unwrap(), modified);
            prop_assert_eq!(header.device().unwrap(), device);
            let mut spoilt = block;
            spoilt[0] ^= 1;
            prop_assert!(Header::verify(&spoilt).is_err());
        }

        #[test]
        fn arbitrary_blocks_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), BLOCK)) {
            let sum: u64 = bytes.iter().enumerate()
                .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) }).sum();
            bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            let block: &Block = bytes.as_slice().try_into().unwrap();
            let header = Header::verify(block).unwrap();
            let _ = (header.name(), header.link().len(), header.mode().is_ok(), header.owner().is_ok());
            let _ = (header.size().is_ok(), header.modified().is_ok(), header.device().is_ok());
        }
    }
}
