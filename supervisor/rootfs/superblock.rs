//! The super block of an image: the file system, and the state of an ext2/3/4 file system.
//!
//! Owns the parser of this untrusted data; opens nothing. Documentation/filesystems/ext4/globals.rst of the kernel
//! ("Super Block"); for other file systems only the magic numbers, linux/magic.h.

use super::magic::{ForeignFile, recognise};

/// The number of bytes that [`probe`] needs: up to the end of the super block of btrfs.
pub const PROBED: usize = 0x1_1000;

/// Offset and length of the super block of ext file systems.
const EXT_OFFSET: usize = 1024;
const EXT_LENGTH: usize = 1024;
/// `EXT2_SUPER_MAGIC`.
const EXT_MAGIC: u16 = 0xEF53;
/// The states of `s_state`.
const STATE_VALID: u16 = 1;
const STATE_ERRORS: u16 = 2;
/// Features.
const COMPATIBLE_JOURNAL: u32 = 0x4;
const INCOMPATIBLE_RECOVER: u32 = 0x4;
const INCOMPATIBLE_JOURNAL_DEVICE: u32 = 0x8;
const INCOMPATIBLE_64_BIT: u32 = 0x80;
/// Extents, 64 bits, flexible groups and all later features.
const INCOMPATIBLE_EXT4: u32 = 0xFFFF_FFC0;
const READ_ONLY_EXT4: u32 = 0xFFFF_FFF8;
const READ_ONLY_CHECKSUMS: u32 = 0x400;

/// The content of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSystem {
    /// ext2, ext3 or ext4.
    Ext(Box<Ext>),
    /// Mounted read-only.
    Btrfs,
    /// Read-only by nature.
    Erofs,
    /// Read-only by nature.
    Squashfs,
    /// A disk with partitions.
    Partitioned,
    /// No file system.
    Foreign(ForeignFile),
    /// A known format that cannot be booted from.
    Other(&'static str),
    /// An unknown format.
    Unknown,
}

/// The super block of an ext file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ext {
    /// `ext2`, `ext3` or `ext4`: all are mounted as ext4, which every supported kernel has.
    pub generation: &'static str,
    /// Bytes of a block.
    pub block_size: u64,
    /// Number of blocks.
    pub blocks: u64,
    /// Number of free blocks, as of the last clean unmount.
    pub free_blocks: u64,
    /// Number of inodes.
    pub inodes: u32,
    /// Number of free inodes.
    pub free_inodes: u32,
    /// It was unmounted cleanly.
    pub clean: bool,
    /// The kernel has found errors in it.
    pub errors: bool,
    /// Its journal must be replayed.
    pub needs_recovery: bool,
    /// Its journal is on another device, which is not supported.
    pub external_journal: bool,
    /// Whether the checksum of the super block is correct, if it has one.
    pub checksum_fits: bool,
    /// Mounts since the last check, and their maximum; 0 for no maximum.
    pub mounts: (u16, u16),
    /// Time of the last check, and seconds until the next one; 0 for never.
    pub checked: (u64, u64),
    /// Time of the last mount, seconds since 1970.
    pub mounted: u64,
    /// Identity.
    pub uuid: [u8; 16],
    /// Label, with invalid UTF-8 removed.
    pub label: String,
}

impl FileSystem {
    /// Its type, as for mount(8).
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ext(ext) => ext.generation,
            Self::Btrfs => "btrfs",
            Self::Erofs => "erofs",
            Self::Squashfs => "squashfs",
            Self::Partitioned => "a disk with partitions",
            Self::Foreign(foreign) => foreign.kind,
            Self::Other(name) => name,
            Self::Unknown => "unknown",
        }
    }
}

impl Ext {
    /// Size of the file system, in bytes; the image must not be smaller.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(self.block_size)
    }

    /// Why a check is due before a mount, at `now` (seconds since 1970); `None` if it is not.
    #[must_use]
    pub fn due(&self, now: u64) -> Option<&'static str> {
        let (mounts, most) = self.mounts;
        let (checked, interval) = self.checked;
        if !self.checksum_fits {
            Some("its super block is damaged")
        } else if self.errors {
            Some("the kernel found errors in it")
        } else if !self.clean || self.needs_recovery {
            Some("it was not unmounted")
        } else if most > 0 && mounts >= most {
            Some("it reached its maximum number of mounts since the last check")
        } else if interval > 0 && checked.saturating_add(interval) < now {
            Some("its last check is too long ago")
        } else {
            None
        }
    }
}

/// Identifies the content of an image from its first bytes; a short image has fewer than [`PROBED`].
#[must_use]
pub fn probe(front: &[u8]) -> FileSystem {
    if let Some(ext) = front.get(EXT_OFFSET..EXT_OFFSET + EXT_LENGTH).and_then(ext) {
        return FileSystem::Ext(Box::new(ext));
    }
    let has = |offset: usize, magic: &[u8]| front.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    match () {
        () if has(0x1_0040, b"_BHRfS_M") => FileSystem::Btrfs,
        () if has(1024, &[0xE2, 0xE1, 0xF5, 0xE0]) => FileSystem::Erofs,
        () if has(0, b"hsqs") => FileSystem::Squashfs,
        () if has(1024, &[0x10, 0x20, 0xF5, 0xF2]) => FileSystem::Other("f2fs"),
        () if has(0, b"XFSB") => FileSystem::Other("xfs"),
        () if has(4086, b"SWAPSPACE2") => FileSystem::Other("swap"),
        () if has(0, b"LUKS\xBA\xBE") => FileSystem::Other("an encrypted volume (LUKS)"),
        () if has(3, b"NTFS    ") => FileSystem::Other("ntfs"),
        () if has(3, b"EXFAT   ") => FileSystem::Other("exfat"),
        () if has(82, b"FAT32   ") || has(54, b"FAT1") => FileSystem::Other("vfat"),
        () => match recognise(front) {
            Some(foreign) => FileSystem::Foreign(foreign),
            None if has(510, &[0x55, 0xAA]) => FileSystem::Partitioned,
            None => FileSystem::Unknown,
        },
    }
}

/// Parses the super block; `None` if it is invalid.
fn ext(block: &[u8]) -> Option<Ext> {
    let bytes = |offset: usize| block.get(offset..offset + 4)?.try_into().ok();
    let word = |offset: usize| bytes(offset).map(u32::from_le_bytes);
    let half = |offset: usize| Some(u16::from_le_bytes(block.get(offset..offset + 2)?.try_into().ok()?));
    if half(0x38)? != EXT_MAGIC {
        return None;
    }
    let shift = word(0x18)?;
    let block_size = if shift <= 6 { 1024_u64 << shift } else { return None };
    let (compatible, incompatible, read_only) = (word(0x5C)?, word(0x60)?, word(0x64)?);
    let high = |offset: usize| {
        if incompatible & INCOMPATIBLE_64_BIT == 0 { Some(0) } else { Some(u64::from(word(offset)?) << 32) }
    };
    let state = half(0x3A)?;
    let generation = if incompatible & INCOMPATIBLE_EXT4 != 0 || read_only & READ_ONLY_EXT4 != 0 {
        "ext4"
    } else if compatible & COMPATIBLE_JOURNAL != 0 {
        "ext3"
    } else {
        "ext2"
    };
    // A negative number of mounts means no maximum: tune2fs(8), -c.
    let most = i16::from_le_bytes(half(0x36)?.to_le_bytes());
    let label = block.get(0x78..0x88)?.split(|byte| *byte == 0).next().unwrap_or_default();
    let checked = read_only & READ_ONLY_CHECKSUMS != 0;
    Some(Ext {
        generation,
        block_size,
        blocks: u64::from(word(0x4)?) | high(0x150)?,
        free_blocks: u64::from(word(0xC)?) | high(0x158)?,
        inodes: word(0x0)?,
        free_inodes: word(0x10)?,
        clean: state & STATE_VALID != 0,
        errors: state & STATE_ERRORS != 0,
        needs_recovery: incompatible & INCOMPATIBLE_RECOVER != 0,
        external_journal: incompatible & INCOMPATIBLE_JOURNAL_DEVICE != 0,
        checksum_fits: !checked || word(0x3FC)? == checksum(block.get(..0x3FC)?),
        mounts: (half(0x34)?, u16::try_from(most).unwrap_or(0)),
        checked: (u64::from(word(0x40)?), u64::from(word(0x44)?)),
        mounted: u64::from(word(0x2C)?),
        uuid: block.get(0x68..0x78)?.try_into().ok()?,
        label: String::from_utf8_lossy(label).into_owned(),
    })
}

/// CRC-32C (Castagnoli) without the final complement, as in ext4.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ if sum & 1 == 1 { 0x82F6_3B78 } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A super block of mke2fs: 8192 blocks of 4 KiB, clean, ext4.
    fn made() -> Vec<u8> {
        let mut front = vec![0; PROBED];
        let mut put = |offset: usize, bytes: &[u8]| {
            front[EXT_OFFSET + offset..EXT_OFFSET + offset + bytes.len()].copy_from_slice(bytes);
        };
        put(0x4, &8192_u32.to_le_bytes());
        put(0xC, &4096_u32.to_le_bytes());
        put(0x18, &2_u32.to_le_bytes());
        put(0x36, &(-1_i16).to_le_bytes());
        put(0x38, &EXT_MAGIC.to_le_bytes());
        put(0x3A, &STATE_VALID.to_le_bytes());
        put(0x40, &1000_u32.to_le_bytes());
        put(0x60, &0x40_u32.to_le_bytes());
        put(0x78, b"web");
        front
    }

    fn parsed(change: impl Fn(&mut [u8])) -> Ext {
        let mut front = made();
        change(&mut front[EXT_OFFSET..]);
        match probe(&front) {
            FileSystem::Ext(ext) => *ext,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_due_for_a_check_is_what_the_super_block_says() {
        let clean = parsed(|_| {});
        assert_eq!((clean.generation, clean.bytes(), clean.label.as_str()), ("ext4", 32 << 20, "web"));
        assert_eq!(clean.due(1 << 40), None, "any number of mounts, at any time");
        assert!(parsed(|block| block[0x3A] = 0).due(0).unwrap().contains("not unmounted"));
        assert!(parsed(|block| block[0x60] |= 4).due(0).unwrap().contains("not unmounted"));
        assert!(parsed(|block| block[0x3A] = 3).due(0).unwrap().contains("errors"));
        let often = parsed(|block| (block[0x34], block[0x36], block[0x37]) = (20, 20, 0));
        assert!(often.due(0).unwrap().contains("maximum number of mounts"));
        let once = parsed(|block| (block[0x34], block[0x36], block[0x37]) = (19, 20, 0));
        assert_eq!(once.due(0), None);
        let interval = parsed(|block| block[0x44] = 100);
        assert_eq!(interval.due(1100), None);
        assert!(interval.due(1101).unwrap().contains("too long ago"));
        assert!(
            parsed(|block| block[0x65] = 4).due(0).unwrap().contains("damaged"),
            "its checksum is missing"
        );
    }

    #[test]
    fn generations_and_large_file_systems_are_distinguished() {
        assert_eq!(parsed(|block| block[0x60] = 0).generation, "ext2");
        assert_eq!(parsed(|block| (block[0x60], block[0x5C]) = (0, 4)).generation, "ext3");
        let large = parsed(|block| (block[0x60], block[0x150]) = (0xC0, 1));
        assert_eq!(large.blocks, (1 << 32) + 8192);
        let small = parsed(|block| block[0x150] = 1);
        assert_eq!(small.blocks, 8192, "the upper half counts with 64bit only");
    }

    #[test]
    fn what_mke2fs_makes_is_clean_and_its_checksum_fits() {
        let Some(mke2fs) = crate::tool::Tool::find("mke2fs") else { return };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        let words =
            ["-q", "-t", "ext4", "-O", "metadata_csum,64bit", "-L", "web", path.to_str().unwrap(), "8M"];
        let words = words.map(std::ffi::OsStr::new);
        let made = mke2fs.run(&mut crate::tool::Invocation::new(&words)).unwrap();
        assert!(made.is_success(), "{}", made.said);
        let FileSystem::Ext(ext) = probe(&std::fs::read(&path).unwrap()) else { panic!() };
        assert!(ext.clean && ext.checksum_fits && !ext.needs_recovery, "{ext:?}");
        assert_eq!((ext.bytes(), ext.label.as_str(), ext.due(u64::MAX)), (8 << 20, "web", None));
    }

    #[test]
    fn other_things_are_named() {
        let with = |offset: usize, magic: &[u8]| {
            let mut front = vec![0; PROBED];
            front[offset..offset + magic.len()].copy_from_slice(magic);
            probe(&front)
        };
        assert_eq!(with(0x1_0040, b"_BHRfS_M"), FileSystem::Btrfs);
        assert_eq!(with(1024, &0xE0F5_E1E2_u32.to_le_bytes()), FileSystem::Erofs);
        assert_eq!(with(0, b"hsqs"), FileSystem::Squashfs);
        assert_eq!(with(1024, &0xF2F5_2010_u32.to_le_bytes()), FileSystem::Other("f2fs"));
        assert_eq!(with(0, b"XFSB"), FileSystem::Other("xfs"));
        assert_eq!(with(4086, b"SWAPSPACE2"), FileSystem::Other("swap"));
        assert_eq!(probe(&[0; PROBED]), FileSystem::Unknown);
        assert_eq!(probe(b""), FileSystem::Unknown);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_do_not_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..3000), length in 0..PROBED) {
            let _ = probe(&bytes);
            let mut front = made();
            for (place, byte) in front[EXT_OFFSET..].iter_mut().zip(&bytes) {
                *place = *byte;
            }
            front[EXT_OFFSET + 0x38..EXT_OFFSET + 0x3A].copy_from_slice(&EXT_MAGIC.to_le_bytes());
            front.truncate(length);
            if let FileSystem::Ext(ext) = probe(&front) {
                let _ = (ext.bytes(), ext.due(u64::MAX));
            }
        }
    }
}
