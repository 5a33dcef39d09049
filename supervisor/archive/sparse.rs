//! Maps of sparse members: the parts of a file that an archive contains.
//!
//! Owns the parser of four formats (GNU tar's manual, "Sparse Formats"): old GNU headers, and the pax formats 0.0, 0.1
//! and 1.0. All result in one list of segments that is verified once: ordered, disjoint, inside the file, and with the
//! total length of the data.

use anyhow::{Context, Result, ensure};

use super::header::{BLOCK, Block, Header, number};
use super::pax::decimal;

/// Maximum number of segments of a file.
const MAX: usize = 1 << 20;
/// The fields of the map in an old GNU header: four entries, a continuation flag, the real size.
const FIRST: (usize, usize) = (386, 4);
const MORE_FOLLOWS: usize = 482;
const REAL_SIZE: usize = 483;
/// The same fields in a continuation block.
const FURTHER: (usize, usize) = (0, 21);
const STILL_MORE: usize = 504;

/// A segment with data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its offset in the file.
    pub offset: u64,
    /// Its length.
    pub length: u64,
}

/// Parses a map that begins in an old GNU header and continues in the blocks from `next`.
///
/// # Errors
/// If `next` fails, or an entry is malformed. The map is not verified yet.
pub fn old(header: Header<'_>, next: &mut dyn FnMut() -> Result<Block>) -> Result<(Vec<Segment>, u64)> {
    let block = header.bytes();
    let size =
        u64::try_from(number(&block[REAL_SIZE..REAL_SIZE + 12]).context(MALFORMED)?).context(MALFORMED)?;
    let mut map = Vec::new();
    entries(block, FIRST, &mut map)?;
    let mut more = block[MORE_FOLLOWS] != 0;
    while more {
        let block = next()?;
        entries(&block, FURTHER, &mut map)?;
        more = block[STILL_MORE] != 0;
    }
    Ok((map, size))
}

const MALFORMED: &str = "its map of data and holes is malformed";

fn entries(block: &Block, (from, count): (usize, usize), map: &mut Vec<Segment>) -> Result<()> {
    for entry in block[from..from + count * 24].chunks_exact(24) {
        let (offset, length) = entry.split_at(12);
        // An unused entry contains no digits.
        if length.iter().all(|byte| *byte == 0) {
            continue;
        }
        let value = |field| u64::try_from(number(field).context(MALFORMED)?).context(MALFORMED);
        push(map, value(offset)?, value(length)?)?;
    }
    Ok(())
}

/// Adds a segment to a map.
///
/// # Errors
/// If there are too many.
pub fn push(map: &mut Vec<Segment>, offset: u64, length: u64) -> Result<()> {
    ensure!(map.len() < MAX, "it has more than {MAX} data segments");
    map.push(Segment { offset, length });
    Ok(())
}

/// The map of format 0.1: `offset,length,offset,length,…`.
///
/// # Errors
/// If it is malformed.
pub fn listed(text: &[u8]) -> Result<Vec<Segment>> {
    let mut map = Vec::new();
    let mut numbers = text.split(|byte| *byte == b',').filter(|number| !number.is_empty());
    while let Some(offset) = numbers.next() {
        let length = numbers.next().context(MALFORMED)?;
        push(&mut map, decimal(offset).context(MALFORMED)?, decimal(length).context(MALFORMED)?)?;
    }
    Ok(map)
}

/// Parses the map of format 1.0 before the data: a count and that many pairs, one number per line, padded to a whole
/// block. Also returns the number of bytes that were read.
///
/// # Errors
/// If `next` fails, or the map is malformed.
pub fn in_front(next: &mut dyn FnMut() -> Result<Block>) -> Result<(Vec<Segment>, u64)> {
    let (mut map, mut taken) = (Vec::new(), 0);
    let (mut count, mut offset) = (None, None);
    let mut digits = Vec::new();
    loop {
        let block = next()?;
        taken += u64::try_from(BLOCK)?;
        for byte in block {
            if byte != b'\n' {
                digits.push(byte);
                ensure!(digits.len() <= 20, MALFORMED);
                continue;
            }
            let value = decimal(&digits).context(MALFORMED)?;
            digits.clear();
            match (count, offset.take()) {
                (None, _) => count = Some(value),
                (Some(_), None) => offset = Some(value),
                (Some(_), Some(offset)) => push(&mut map, offset, value)?,
            }
            if offset.is_none() && count == Some(u64::try_from(map.len())?) {
                return Ok((map, taken));
            }
        }
    }
}

/// The map in format 1.0.
#[must_use]
pub fn to_front(map: &[Segment]) -> Vec<u8> {
    let mut text = format!("{}\n", map.len());
    for Segment { offset, length } in map {
        text.push_str(&format!("{offset}\n{length}\n"));
    }
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

/// Verifies a map against the size of the file and the length of the data in the archive.
///
/// # Errors
/// Segments that overlap, are not ordered, exceed the file, or do not match the length of the data.
pub fn check(map: &[Segment], size: u64, data: u64) -> Result<()> {
    let (mut end, mut sum) = (0, 0_u64);
    for segment in map {
        ensure!(segment.offset >= end, "its data segments overlap or are out of order");
        end = segment.offset.checked_add(segment.length).context(MALFORMED)?;
        ensure!(end <= size, "a data segment ends beyond the end of the file");
        sum += segment.length;
    }
    ensure!(sum == data, "its data segments total {sum} bytes, but the archive has {data}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn front(bytes: &[u8]) -> Result<(Vec<Segment>, u64)> {
        let mut blocks = bytes.chunks(BLOCK).map(|chunk| {
            let mut block = [0; BLOCK];
            block[..chunk.len()].copy_from_slice(chunk);
            block
        });
        in_front(&mut || blocks.next().context("the end"))
    }

    #[test]
    fn maps_are_checked() {
        let segment = |offset, length| Segment { offset, length };
        assert!(check(&[], 10, 0).is_ok());
        assert!(check(&[segment(0, 4), segment(4, 0), segment(6, 4)], 10, 8).is_ok());
        assert!(check(&[segment(4, 4), segment(0, 4)], 10, 8).is_err(), "backwards");
        assert!(check(&[segment(0, 4), segment(3, 4)], 10, 8).is_err(), "overlapping");
        assert!(check(&[segment(8, 4)], 10, 4).is_err(), "behind the end");
        assert!(check(&[segment(u64::MAX, 4)], u64::MAX, 4).is_err(), "overflowing");
        assert!(check(&[segment(0, 4)], 10, 5).is_err(), "more data than the map says");
    }

    #[test]
    fn malformed_maps_are_refused() {
        for wrong in ["x\n", "1\n2\nx\n", "99999999999999999999999\n", "-1\n", "\n", "2\n1\n1\n"] {
            assert!(front(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        assert!(listed(b"1,2,3").is_err() && listed(b"1,-2").is_err());
        assert_eq!(listed(b"1,2,").unwrap(), [Segment { offset: 1, length: 2 }]);
    }

    proptest! {
        #[test]
        fn a_map_is_read_as_it_was_written(pairs in proptest::collection::vec((any::<u64>(), any::<u64>()), 0..80)) {
            let map: Vec<_> = pairs.into_iter().map(|(offset, length)| Segment { offset, length }).collect();
            let bytes = to_front(&map);
            let (read, taken) = front(&bytes).unwrap();
            prop_assert_eq!(taken, bytes.len() as u64);
            prop_assert_eq!(read, map);
        }

        #[test]
        fn arbitrary_maps_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = (front(&bytes), listed(&bytes));
        }
    }
}
