//! Decompression of the .xz file format 1.2.
//!
//! Owns the structure of a stream: header, blocks, index, footer. `xz -T0` records the sizes of each block in its
//! header; such blocks are found without decompressing them, and each becomes a stream of its own for a thread. The
//! blocks of all other streams are decompressed in order.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};

use lzma_rust2::{Action, Status, XzStream};

use super::buffer::{Fault, INPUT, Input, OUTPUT, peek, put, something_follows};
use super::checksum::Checksum;
use super::pool::{Packed, Part, Pool};

/// Maximum size of an xz dictionary, in KiB: `xz -9` uses 64 MiB.
const MEMORY: u32 = 200 << 10;
/// Maximum size of a block for a thread, in bytes: `xz -6 -T0` writes blocks of 24 MiB.
const LARGEST: u64 = 32 << 20;
/// The first bytes of a stream.
const MAGIC: &[u8] = b"\xfd7zXZ\0";
/// The flags of a stream whose blocks end with CRC-64, and of one whose blocks have no checksum: 2.1.1.2.
const CRC_64: [u8; 2] = [0, 4];
const UNCHECKED: [u8; 2] = [0, 0];
/// Size of a stream's header: the magic, two flags and a checksum.
const HEADER: usize = 12;

/// Decompresses all streams, with the threads of a pool if there is one.
///
/// # Errors
/// See [`Fault`].
pub fn decode(input: &mut Input<'_>, output: &mut dyn Write, pool: Option<&Pool>) -> Result<(), Fault> {
    let Some(pool) = pool else { return in_order(input, output) };
    loop {
        let mut header = Vec::new();
        append(input, &mut header, HEADER)?;
        if header[..MAGIC.len()] != *MAGIC || header[HEADER - 4..] != sum32(&header[MAGIC.len()..HEADER - 4])
        {
            return Err(Fault::Corrupt);
        }
        let mut blocks = Blocks { header, records: Vec::new(), pool, running: VecDeque::new() };
        if !blocks.decode(input, output)? {
            let mut rest = blocks.header.as_slice().chain(input);
            return in_order(&mut BufReader::with_capacity(INPUT, &mut rest), output);
        }
        if !something_follows(input)? {
            return Ok(());
        }
        if !MAGIC.starts_with(&peek(input)?[..1]) {
            return Err(Fault::Garbage);
        }
    }
}

/// Decompresses a block that has become a stream of its own, as [`Pool`] needs it.
///
/// # Errors
/// See [`Fault`].
pub fn decode_block(Packed { bytes, length, sum }: Packed) -> Part {
    let mut plain = Plain { bytes: Vec::new(), missing: length };
    plain.bytes.try_reserve_exact(length).map_err(|_| Fault::TooMuchMemory)?;
    let mut stream = bytes.as_slice();
    in_order(&mut BufReader::with_capacity(INPUT, &mut stream), &mut plain).map_err(|fault| match fault {
        Fault::Unwanted => Fault::Corrupt,
        other => other,
    })?;
    if plain.missing > 0 || sum.is_some_and(|sum| sum != sum64(&plain.bytes)) {
        return Err(Fault::Corrupt);
    }
    Ok(plain.bytes)
}

/// The output of a block, which accepts no more than the length in the block's header.
struct Plain {
    bytes: Vec<u8>,
    missing: usize,
}

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.missing = self.missing.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn in_order(input: &mut Input<'_>, output: &mut dyn Write) -> Result<(), Fault> {
    let mut stream = XzStream::new_mem_limit(true, MEMORY);
    let mut buffer = vec![0; OUTPUT];
    loop {
        let rest = peek(input)?;
        let last = rest.is_empty();
        let action = if last { Action::Finish } else { Action::Run };
        let done = stream.process(rest, &mut buffer, action).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Fault::TooShort,
            io::ErrorKind::OutOfMemory => Fault::TooMuchMemory,
            _ => Fault::Corrupt,
        })?;
        input.consume(done.bytes_consumed);
        put(output, &buffer[..done.bytes_produced])?;
        match done.status {
            Status::StreamEnd => return if something_follows(input)? { Err(Fault::Garbage) } else { Ok(()) },
            Status::Ok if last && done.bytes_produced == 0 => return Err(Fault::TooShort),
            Status::Ok => {}
        }
    }
}

/// The blocks of one stream. Each is at first a block, and a stream of its own when it is decompressed.
struct Blocks<'a> {
    header: Vec<u8>,
    /// The sizes of each block, as the index lists them.
    records: Vec<Sizes>,
    pool: &'a Pool,
    /// The blocks whose bytes were not written yet.
    running: VecDeque<u64>,
}

/// The sizes of a block, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sizes {
    /// Header, compressed data and checksum, without the padding.
    unpadded: u64,
    plain: u64,
}

impl Blocks<'_> {
    /// Decompresses the rest of the stream. Returns false if its first block has no sizes; then everything that was read
    /// is in `header`.
    fn decode(&mut self, input: &mut Input<'_>, output: &mut dyn Write) -> Result<bool, Fault> {
        loop {
            let first = *peek(input)?.first().ok_or(Fault::TooShort)?;
            if first == 0 {
                self.write(output, 0)?;
                expect(input, &tail(&self.header, &self.records))?;
                return Ok(true);
            }
            let mut block = Vec::new();
            append(input, &mut block, (usize::from(first) + 1) * 4)?;
            let Some((sizes, rest)) = self.sizes(&block) else {
                self.header.append(&mut block);
                return if self.records.is_empty() { Ok(false) } else { Err(Fault::Mixed) };
            };
            self.records.push(sizes);
            if sizes.plain.max(rest) > LARGEST {
                self.write(output, 0)?;
                let head = [self.header.as_slice(), &block].concat();
                let tail = tail(&self.header, &[sizes]);
                let mut whole = head.as_slice().chain(input.take(rest)).chain(tail.as_slice());
                in_order(&mut BufReader::with_capacity(INPUT, &mut whole), output)?;
                continue;
            }
            let mut missing = usize::try_from(rest).map_err(|_| Fault::TooMuchMemory)?;
            while missing > 0 {
                let step = missing.min(INPUT);
                append(input, &mut block, step)?;
                missing -= step;
                self.write_ready(output)?;
            }
            self.write(output, self.pool.threads - 1)?;
            let packed = self.packed(block, sizes)?;
            self.running.push_back(self.pool.put(packed));
        }
    }

    /// A stream with only this block. CRC-64 is removed from it, because it is verified here in a fifth of the time.
    fn packed(&self, mut block: Vec<u8>, mut sizes: Sizes) -> Result<Packed, Fault> {
        let (mut header, mut sum) = (self.header.clone(), None);
        if header[MAGIC.len()..MAGIC.len() + 2] == CRC_64 {
            let at = block.len().checked_sub(8).ok_or(Fault::Corrupt)?;
            sum = block.split_off(at).try_into().ok();
            sizes.unpadded -= 8;
            header.truncate(MAGIC.len());
            header.extend(UNCHECKED);
            header.extend(sum32(&UNCHECKED));
        }
        let length = usize::try_from(sizes.plain).map_err(|_| Fault::TooMuchMemory)?;
        let bytes = [header.as_slice(), &block, &tail(&header, &[sizes])].concat();
        Ok(Packed { bytes, length, sum })
    }

    /// The sizes in a block's header, and the number of bytes that follow it.
    fn sizes(&self, block: &[u8]) -> Option<(Sizes, u64)> {
        const BOTH: u8 = 0xc0;
        // Sizes of the checksums, by type: the .xz file format, 2.1.1.2.
        const CHECKS: [u64; 16] = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];
        let (flags, mut numbers) = block.get(1..)?.split_first()?;
        if flags & BOTH != BOTH {
            return None;
        }
        let packed = number(&mut numbers)?;
        let plain = number(&mut numbers)?;
        let check = CHECKS[usize::from(self.header[MAGIC.len() + 1] & 0xf)];
        let header = u64::try_from(block.len()).ok()?;
        let unpadded = header.checked_add(packed)?.checked_add(check)?;
        let rest = packed.checked_next_multiple_of(4)?.checked_add(check)?;
        Some((Sizes { unpadded, plain }, rest))
    }

    /// Writes the first blocks until at most this number of them is left.
    fn write(&mut self, output: &mut dyn Write, left: usize) -> Result<(), Fault> {
        while self.running.len() > left {
            let Some(number) = self.running.pop_front() else { break };
            put(output, &self.pool.wait(number)?)?;
        }
        Ok(())
    }

    /// Writes the first blocks that are decompressed already.
    fn write_ready(&mut self, output: &mut dyn Write) -> Result<(), Fault> {
        while let Some(part) = self.running.front().and_then(|number| self.pool.take(*number)) {
            self.running.pop_front();
            put(output, &part?)?;
        }
        Ok(())
    }
}

/// Appends the next bytes of the input.
fn append(input: &mut Input<'_>, bytes: &mut Vec<u8>, mut count: usize) -> Result<(), Fault> {
    while count > 0 {
        let rest = peek(input)?;
        let length = rest.len().min(count);
        if length == 0 {
            return Err(Fault::TooShort);
        }
        bytes.extend_from_slice(&rest[..length]);
        input.consume(length);
        count -= length;
    }
    Ok(())
}

/// Skips these bytes, and refuses others.
fn expect(input: &mut Input<'_>, expected: &[u8]) -> Result<(), Fault> {
    let mut bytes = Vec::new();
    let read = append(input, &mut bytes, expected.len());
    if !expected.starts_with(&bytes) { Err(Fault::Corrupt) } else { read }
}

/// A number of 1.2, at most nine bytes, which is removed from the bytes.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn append_number(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let byte = number.to_le_bytes()[0] & 0x7f;
        number >>= 7;
        bytes.push(if number > 0 { byte | 0x80 } else { byte });
        if number == 0 {
            return;
        }
    }
}

fn sum32(bytes: &[u8]) -> [u8; 4] {
    let mut sum = Checksum::crc32();
    sum.add(bytes);
    let [a, b, c, d, ..] = sum.value().to_le_bytes();
    [a, b, c, d]
}

fn sum64(bytes: &[u8]) -> [u8; 8] {
    let mut sum = Checksum::crc64();
    sum.add(bytes);
    sum.value().to_le_bytes()
}

/// Index and footer of a stream with these blocks: sections 4 and 2.1.2. There is only one way to write them.
fn tail(header: &[u8], records: &[Sizes]) -> Vec<u8> {
    let mut bytes = vec![0];
    append_number(&mut bytes, records.len().try_into().unwrap_or(u64::MAX));
    for record in records {
        append_number(&mut bytes, record.unpadded);
        append_number(&mut bytes, record.plain);
    }
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(sum32(&bytes));
    let size = u32::try_from(bytes.len() / 4 - 1).unwrap_or(u32::MAX).to_le_bytes();
    let end = [size.as_slice(), &header[MAGIC.len()..MAGIC.len() + 2]].concat();
    [bytes.as_slice(), &sum32(&end), &end, b"YZ"].concat()
}
