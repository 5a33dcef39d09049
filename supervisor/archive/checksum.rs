//! The checksums of gzip and xz: CRC-32 of RFC 1952, and CRC-64 of ECMA-182.
//!
//! Owns their tables, which are built when they are first used. Eight bytes are added per step.

use std::sync::LazyLock;

/// What each byte contributes, by its distance to the last of eight bytes.
type Tables = [[u64; 256]; 8];

/// The polynomials, with the lowest bit first.
static CRC_32: LazyLock<Box<Tables>> = LazyLock::new(|| tables(0xedb8_8320));
static CRC_64: LazyLock<Box<Tables>> = LazyLock::new(|| tables(0xc96c_5795_d787_0f42));

/// A checksum of 32 or 64 bits.
pub struct Checksum {
    tables: &'static Tables,
    sum: u64,
    inverted: u64,
}

fn tables(polynomial: u64) -> Box<Tables> {
    let mut tables = Box::new([[0; 256]; 8]);
    for byte in 0..=u8::MAX {
        let step = |value: u64, _| (value >> 1) ^ (polynomial * (value & 1));
        tables[0][usize::from(byte)] = (0..8).fold(u64::from(byte), step);
    }
    for distance in 1..8 {
        for byte in 0..256 {
            let value: u64 = tables[distance - 1][byte];
            tables[distance][byte] = (value >> 8) ^ tables[0][usize::from(value.to_le_bytes()[0])];
        }
    }
    tables
}

impl Checksum {
    /// CRC-32.
    pub fn crc32() -> Self {
        Self::new(&CRC_32, u64::from(u32::MAX))
    }

    /// CRC-64.
    pub fn crc64() -> Self {
        Self::new(&CRC_64, u64::MAX)
    }

    fn new(tables: &'static Tables, inverted: u64) -> Self {
        Self { tables, sum: inverted, inverted }
    }

    pub fn add(&mut self, bytes: &[u8]) {
        let mut sum = self.sum;
        let (chunks, rest) = bytes.as_chunks::<8>();
        for chunk in chunks {
            let eight = (sum ^ u64::from_le_bytes(*chunk)).to_le_bytes();
            sum = (0..8).fold(0, |sum, at| sum ^ self.tables[7 - at][usize::from(eight[at])]);
        }
        for byte in rest {
            sum = (sum >> 8) ^ self.tables[0][usize::from(sum.to_le_bytes()[0] ^ byte)];
        }
        self.sum = sum;
    }

    /// The checksum; the upper half of one of 32 bits is zero.
    pub fn value(&self) -> u64 {
        self.sum ^ self.inverted
    }
}
