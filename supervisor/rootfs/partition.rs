//! Partition tables of disk images: MBR with logical partitions, and GPT with sectors of 512 or 4096 bytes.
//!
//! Owns the parser of this untrusted data. It reads through a function, opens nothing, and does not interpret the
//! content of a partition. UEFI specification, "GUID Partition Table (GPT) Disk Layout"; for the MBR,
//! block/partitions/msdos.c of the kernel.

use std::io;

use anyhow::{Context, Result, bail, ensure};

/// Possible sector sizes.
pub const SECTORS: [u64; 2] = [512, 4096];
/// Maximum number of partitions: the usual capacity of a GPT.
const MAX: u32 = 256;
/// The first logical partition.
const FIRST_LOGICAL: u32 = 5;
/// Types of the MBR: extended partitions, which contain others, and the type for GPT.
const EXTENDED: [u8; 3] = [0x05, 0x0F, 0x85];
const PROTECTIVE: u8 = 0xEE;

/// A partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Its number, as in the kernel.
    pub number: u32,
    /// Its offset, in bytes.
    pub start: u64,
    /// Its size, in bytes.
    pub length: u64,
}

/// Reads exactly this number of bytes at an offset of the image.
pub type ReadAt<'a> = &'a mut dyn FnMut(u64, &mut [u8]) -> io::Result<()>;

/// The partitions of an image of `size` bytes, by number; empty without a table. `sector` is the sector size for an
/// MBR, which does not contain it.
///
/// # Errors
/// If a table is damaged or cannot be read.
pub fn read(size: u64, sector: u64, at: ReadAt<'_>) -> Result<Vec<Partition>> {
    let Some(table) = boot_record(0, size, at)? else { return Ok(Vec::new()) };
    if table.iter().any(|entry| entry.kind == PROTECTIVE) {
        return gpt(size, at);
    }
    let mut found = Vec::new();
    for (number, entry) in (1..).zip(&table) {
        if EXTENDED.contains(&entry.kind) {
            logical(entry.start.saturating_mul(sector), size, sector, &mut found, at)?;
        } else if entry.kind != 0 && entry.sectors > 0 {
            found.push(entry.partition(number, 0, sector));
        }
    }
    found.sort_by_key(|partition| partition.number);
    Ok(found)
}

/// An entry of a boot record.
#[derive(Debug, Clone, Copy)]
struct Entry {
    kind: u8,
    start: u64,
    sectors: u64,
}

impl Entry {
    fn partition(self, number: u32, base: u64, sector: u64) -> Partition {
        let start = base.saturating_add(self.start.saturating_mul(sector));
        Partition { number, start, length: self.sectors.saturating_mul(sector) }
    }
}

/// The four entries of the boot record at an offset; `None` without its signature.
fn boot_record(place: u64, size: u64, at: ReadAt<'_>) -> Result<Option<[Entry; 4]>> {
    if place.checked_add(512).is_none_or(|end| end > size) {
        return Ok(None);
    }
    let mut block = [0; 512];
    at(place, &mut block).context("read its partition table")?;
    if block[510..] != [0x55, 0xAA] {
        return Ok(None);
    }
    Ok(Some([0, 1, 2, 3].map(|index| {
        let entry = &block[446 + 16 * index..][..16];
        let word = |at: usize| {
            u64::from(u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]))
        };
        Entry { kind: entry[4], start: word(8), sectors: word(12) }
    })))
}

/// The chain of boot records, each with one partition and the position of the next record.
fn logical(base: u64, size: u64, sector: u64, found: &mut Vec<Partition>, at: ReadAt<'_>) -> Result<()> {
    let (mut place, mut number) = (base, FIRST_LOGICAL);
    while number < MAX {
        let Some(table) = boot_record(place, size, at)? else { return Ok(()) };
        for entry in table {
            if entry.kind != 0 && !EXTENDED.contains(&entry.kind) && entry.sectors > 0 {
                found.push(entry.partition(number, place, sector));
                number += 1;
            }
        }
        let next = table.iter().find(|entry| EXTENDED.contains(&entry.kind) && entry.sectors > 0);
        let Some(next) = next else { return Ok(()) };
        // Each record is after the previous one, so the chain ends.
        let further = base.saturating_add(next.start.saturating_mul(sector));
        ensure!(further > place, "its partition table is damaged: its logical partitions form a loop");
        place = further;
    }
    Ok(())
}

/// The table after a protective boot record; its copy at the end if it is damaged.
fn gpt(size: u64, at: ReadAt<'_>) -> Result<Vec<Partition>> {
    for sector in SECTORS {
        for place in [sector, size.saturating_sub(sector) / sector * sector] {
            if let Some(partitions) = gpt_at(place, size, sector, at)? {
                return Ok(partitions);
            }
        }
    }
    bail!("its partition table (GPT) is damaged, and so is the copy at its end; see 'sgdisk --verify'")
}

/// The table whose header is at an offset; `None` if there is none, or its checksums are wrong.
fn gpt_at(place: u64, size: u64, sector: u64, at: ReadAt<'_>) -> Result<Option<Vec<Partition>>> {
    if place < sector || place.checked_add(sector).is_none_or(|end| end > size) {
        return Ok(None);
    }
    let mut header = [0; 512];
    at(place, &mut header).context("read its partition table")?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let length = usize::try_from(word(12))?;
    if &header[..8] != b"EFI PART" || !(92..=512).contains(&length) {
        return Ok(None);
    }
    let (checksum, mut covered) = (word(16), header[..length].to_vec());
    covered[16..20].fill(0);
    let (count, entry) = (word(80), usize::try_from(word(84))?);
    let (Some(start), true) = (long(72).checked_mul(sector), checksum == crc32(&covered)) else {
        return Ok(None);
    };
    if count > 4 * MAX || !(128..=4096).contains(&entry) {
        return Ok(None);
    }
    let mut entries = vec![0; entry * usize::try_from(count)?];
    let end = start.checked_add(u64::try_from(entries.len())?);
    if end.is_none_or(|end| end > size) || at(start, &mut entries).is_err() || word(88) != crc32(&entries) {
        return Ok(None);
    }
    let long = |bytes: &[u8], at: usize| {
        bytes[at..at + 8].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let used = (1..).zip(entries.chunks_exact(entry)).filter(|(_, entry)| entry[..16] != [0; 16]);
    Ok(Some(
        used.map(|(number, entry)| {
            let (first, last) = (long(entry, 32), long(entry, 40));
            let sectors = last.saturating_sub(first).saturating_add(1);
            Partition { number, start: first.saturating_mul(sector), length: sectors.saturating_mul(sector) }
        })
        .collect(),
    ))
}

/// CRC-32 of IEEE 802.3, as in the UEFI specification.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ if sum & 1 == 1 { 0xEDB8_8320 } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reading(disk: &[u8]) -> impl FnMut(u64, &mut [u8]) -> io::Result<()> {
        move |at, buffer| {
            let at = usize::try_from(at).map_err(io::Error::other)?;
            let found = disk.get(at..at + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(found);
            Ok(())
        }
    }

    fn table(disk: &[u8], sector: u64) -> Result<Vec<(u32, u64, u64)>> {
        let found = read(disk.len() as u64, sector, &mut reading(disk))?;
        Ok(found.into_iter().map(|found| (found.number, found.start, found.length)).collect())
    }

    fn entry(disk: &mut [u8], record: usize, index: usize, kind: u8, start: u32, sectors: u32) {
        let place = record + 446 + 16 * index;
        disk[place + 4] = kind;
        disk[place + 8..place + 12].copy_from_slice(&start.to_le_bytes());
        disk[place + 12..place + 16].copy_from_slice(&sectors.to_le_bytes());
        disk[record + 510..record + 512].copy_from_slice(&[0x55, 0xAA]);
    }

    /// A disk with a GPT at these sectors, with entries (first sector, last sector).
    fn gpt_disk(sector: usize, partitions: &[(u64, u64)]) -> Vec<u8> {
        let mut disk = vec![0; 128 * sector];
        entry(&mut disk, 0, 0, PROTECTIVE, 1, u32::MAX);
        let mut entries = vec![0; 128 * 128];
        for (place, (first, last)) in entries.chunks_exact_mut(128).zip(partitions) {
            place[..16].fill(7);
            place[32..40].copy_from_slice(&first.to_le_bytes());
            place[40..48].copy_from_slice(&last.to_le_bytes());
        }
        for (header, at) in [(1, 2), (127, 127 - entries.len() / sector)] {
            let mut block = vec![0; 92];
            block[..8].copy_from_slice(b"EFI PART");
            block[12..16].copy_from_slice(&92_u32.to_le_bytes());
            block[72..80].copy_from_slice(&(at as u64).to_le_bytes());
            block[80..84].copy_from_slice(&128_u32.to_le_bytes());
            block[84..88].copy_from_slice(&128_u32.to_le_bytes());
            block[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
            let sum = crc32(&block);
            block[16..20].copy_from_slice(&sum.to_le_bytes());
            disk[header * sector..header * sector + 92].copy_from_slice(&block);
            disk[at * sector..at * sector + entries.len()].copy_from_slice(&entries);
        }
        disk
    }

    #[test]
    fn primary_and_logical_partitions_are_counted_as_the_kernel_does() {
        let mut disk = vec![0; 64 * 512];
        entry(&mut disk, 0, 0, 0x83, 1, 9);
        entry(&mut disk, 0, 2, 0x05, 20, 40);
        entry(&mut disk, 0, 3, 0x82, 10, 5);
        entry(&mut disk, 20 * 512, 0, 0x83, 1, 4);
        entry(&mut disk, 20 * 512, 1, 0x05, 10, 9);
        entry(&mut disk, 30 * 512, 0, 0x83, 2, 5);
        let expected = [(1, 1, 9), (4, 10, 5), (5, 21, 4), (6, 32, 5)].map(|(n, s, l)| (n, s * 512, l * 512));
        assert_eq!(table(&disk, 512).unwrap(), expected);
        assert_eq!(table(&disk, 4096).unwrap()[0], (1, 4096, 9 * 4096));
        entry(&mut disk, 30 * 512, 1, 0x05, 10, 9);
        assert!(table(&disk, 512).unwrap_err().to_string().contains("form a loop"));
        assert_eq!(table(&vec![0; 4096], 512).unwrap(), []);
        assert_eq!(table(b"short", 512).unwrap(), []);
    }

    #[test]
    fn a_table_is_found_in_either_size_of_sectors_and_in_its_copy() {
        for sector in SECTORS.map(|sector| usize::try_from(sector).unwrap()) {
            let whole = gpt_disk(sector, &[(40, 49), (0, 0), (50, 50)]);
            let unit = sector as u64;
            let expected = vec![(1, 40 * unit, 10 * unit), (2, 0, unit), (3, 50 * unit, unit)];
            assert_eq!(table(&whole, 512).unwrap(), expected);
            for damaged in [sector + 30, 2 * sector + 5] {
                let mut disk = whole.clone();
                disk[damaged] ^= 1;
                assert_eq!(table(&disk, 512).unwrap(), expected, "the copy");
                disk[127 * sector + 30] ^= 1;
                assert!(table(&disk, 512).unwrap_err().to_string().contains("damaged"));
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_do_not_panic(
            changes in proptest::collection::vec((0_usize..65_536, any::<u8>()), 0..40), gpt in any::<bool>(), length in 0_usize..65_536,
        ) {
            let mut disk = if gpt { gpt_disk(512, &[(40, 49)]) } else { vec![0; 65_536] };
            disk.resize(65_536, 0);
            if !gpt {
                entry(&mut disk, 0, 0, 0x0F, 1, 100);
            }
            for (at, byte) in changes {
                disk[at % if gpt { 65_536 } else { 2048 }] = byte;
            }
            disk.truncate(length);
            for sector in SECTORS {
                if let Ok(found) = table(&disk, sector) {
                    prop_assert!(found.len() <= 4 * MAX as usize);
                }
            }
        }

        #[test]
        fn partitions_are_read_as_they_were_written(
            primary in proptest::collection::vec((1_u32.., 1_u32.., 1_u8..5), 0..4),
            listed in proptest::collection::vec((1_u64..1 << 50, 0_u64..1 << 20), 1..100),
        ) {
            let mut disk = vec![0; 512];
            disk[510..].copy_from_slice(&[0x55, 0xAA]);
            for (index, (start, sectors, kind)) in primary.iter().enumerate() {
                entry(&mut disk, 0, index, *kind, *start, *sectors);
            }
            let expected: Vec<_> = (1..).zip(&primary)
                .map(|(number, (start, sectors, _))| (number, u64::from(*start) * 512, u64::from(*sectors) * 512)).collect();
            prop_assert_eq!(table(&disk, 512).unwrap(), expected);
            let listed: Vec<_> = listed.iter().map(|(first, more)| (*first, first + more)).collect();
            let expected: Vec<_> = (1..).zip(&listed)
                .map(|(number, (first, last))| (number, first * 4096, (last - first + 1) * 4096)).collect();
            prop_assert_eq!(table(&gpt_disk(4096, &listed), 512).unwrap(), expected);
        }
    }
}
