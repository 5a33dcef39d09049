//! Compressed streams: gzip (RFC 1952), xz (the .xz file format 1.2), zstd (RFC 8878).
//!
//! Owns the decompression from a reader to a writer, in the calling process, with limited memory and unlimited output.
//! A stream may be followed by another stream, or by zeros up to the end of a tape block; anything else is an error.

use std::io::{self, BufRead, BufReader, Read, Write};

use lzma_rust2::{Action, Status, XzStream};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use zstd_safe::{DCtx, InBuffer, OutBuffer};

/// Size of the input buffer, in bytes.
const INPUT: usize = 256 << 10;
/// Size of the output buffer, in bytes.
const OUTPUT: usize = 256 << 10;
/// Maximum size of an xz dictionary, in KiB: `xz -9` uses 64 MiB.
const XZ_MEMORY: u32 = 200 << 10;
/// `ZSTD_error_frameParameter_windowTooLarge` of zstd_errors.h; by default, the maximum is 128 MiB.
const WINDOW_TOO_LARGE: usize = 16;

/// The compression of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// gzip(1).
    Gzip,
    /// xz(1).
    Xz,
    /// zstd(1).
    Zstd,
}

impl Format {
    /// Its name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }
}

/// The number of bytes that [`recognise`] needs.
pub const ENOUGH: usize = 6;

/// Detects the compression from the first bytes; `Ok(None)` for an uncompressed stream.
///
/// # Errors
/// The name of a known but unsupported compression.
pub fn recognise(first: &[u8]) -> Result<Option<Format>, &'static str> {
    const SKIPPABLE: &[u8] = b"\x2a\x4d\x18";
    match first {
        [0x1f, 0x8b, ..] => Ok(Some(Format::Gzip)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Ok(Some(Format::Xz)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Some(Format::Zstd)),
        [0x50..=0x5f, rest @ ..] if rest.starts_with(SKIPPABLE) => Ok(Some(Format::Zstd)),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Err("bzip2"),
        [0x04, 0x22, 0x4d, 0x18, ..] => Err("lz4"),
        [0x5d, 0, 0, ..] => Err("lzma"),
        [0x1f, 0x9d, ..] => Err("compress"),
        _ => Ok(None),
    }
}

/// Why a stream could not be decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its format is invalid, or a checksum is wrong.
    Corrupt,
    /// It is truncated.
    TooShort,
    /// It needs more memory than permitted.
    TooMuchMemory,
    /// Its end is followed by other data.
    Garbage,
    /// The input could not be read.
    Unreadable,
    /// The reader of the output has closed it.
    Unwanted,
}

/// An exit code, for processes that cannot send a message.
pub const FAULTS: [Fault; 6] = [
    Fault::Corrupt,
    Fault::TooShort,
    Fault::TooMuchMemory,
    Fault::Garbage,
    Fault::Unreadable,
    Fault::Unwanted,
];

impl Fault {
    /// The rest of a sentence that begins with the name of the format.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Corrupt => "data is corrupt",
            Self::TooShort => "data ends too soon; the file is incomplete",
            Self::TooMuchMemory => "data needs too much memory to be decompressed",
            Self::Garbage => "data is followed by unexpected data",
            Self::Unreadable => "data cannot be read",
            Self::Unwanted => "data was not read to its end",
        }
    }
}

/// Decompresses the whole input.
///
/// # Errors
/// See [`Fault`].
pub fn decode(format: Format, input: &mut dyn Read, output: &mut dyn Write) -> Result<(), Fault> {
    let mut input = BufReader::with_capacity(INPUT, input);
    match format {
        Format::Gzip => gzip(&mut input, output),
        Format::Xz => xz(&mut input, output),
        Format::Zstd => zstd(&mut input, output),
    }
}

type Input<'a> = BufReader<&'a mut dyn Read>;

/// The buffered input; empty at the end.
fn peek<'a>(input: &'a mut Input<'_>) -> Result<&'a [u8], Fault> {
    // The buffer is accessed twice, because a loop cannot return what it borrows.
    while let Err(error) = input.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(Fault::Unreadable);
        }
    }
    Ok(input.buffer())
}

fn put(output: &mut dyn Write, bytes: &[u8]) -> Result<(), Fault> {
    output.write_all(bytes).map_err(|_| Fault::Unwanted)
}

/// Skips zeros, as after a stream on tape; returns whether anything else follows.
fn something_follows(input: &mut Input<'_>) -> Result<bool, Fault> {
    loop {
        let rest = peek(input)?;
        let (length, zeros) = (rest.len(), rest.iter().take_while(|byte| **byte == 0).count());
        input.consume(zeros);
        if zeros < length || length == 0 {
            return Ok(length > 0);
        }
    }
}

fn zstd(input: &mut Input<'_>, output: &mut dyn Write) -> Result<(), Fault> {
    let mut context = DCtx::try_create().ok_or(Fault::TooMuchMemory)?;
    let mut buffer = vec![0; OUTPUT];
    let mut between = true;
    loop {
        let rest = peek(input)?;
        if rest.is_empty() {
            return if between { Ok(()) } else { Err(Fault::TooShort) };
        }
        let mut taken = InBuffer::around(rest);
        let mut made = OutBuffer::around(buffer.as_mut_slice());
        let left = context.decompress_stream(&mut made, &mut taken).map_err(|code| {
            if 0_usize.wrapping_sub(code) == WINDOW_TOO_LARGE { Fault::TooMuchMemory } else { Fault::Corrupt }
        })?;
        between = left == 0;
        let taken = taken.pos();
        put(output, made.as_slice())?;
        input.consume(taken);
    }
}

fn xz(input: &mut Input<'_>, output: &mut dyn Write) -> Result<(), Fault> {
    let mut stream = XzStream::new_mem_limit(true, XZ_MEMORY);
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

fn gzip(input: &mut Input<'_>, output: &mut dyn Write) -> Result<(), Fault> {
    let mut state = Box::new(DecompressorOxide::new());
    let mut window = vec![0; OUTPUT];
    let mut first = true;
    while first || something_follows(input)? {
        gzip_header(input, first)?;
        first = false;
        state.init();
        let (sum, length) = inflate(&mut state, &mut window, input, output)?;
        let trailer = [word(input)?, word(input)?];
        if trailer != [sum, length] {
            return Err(Fault::Corrupt);
        }
    }
    Ok(())
}

fn byte(input: &mut Input<'_>) -> Result<u8, Fault> {
    let byte = *peek(input)?.first().ok_or(Fault::TooShort)?;
    input.consume(1);
    Ok(byte)
}

fn word(input: &mut Input<'_>) -> Result<u32, Fault> {
    Ok(u32::from_le_bytes([byte(input)?, byte(input)?, byte(input)?, byte(input)?]))
}

/// RFC 1952, 2.3.
fn gzip_header(input: &mut Input<'_>, first: bool) -> Result<(), Fault> {
    const CHECKSUM: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    if [byte(input)?, byte(input)?] != [0x1f, 0x8b] {
        return Err(if first { Fault::Corrupt } else { Fault::Garbage });
    }
    let (method, flags) = (byte(input)?, byte(input)?);
    if method != 8 || flags & 0xe0 != 0 {
        return Err(Fault::Corrupt);
    }
    // Time, speed and system.
    for _ in 0..6 {
        byte(input)?;
    }
    if flags & EXTRA != 0 {
        for _ in 0..u16::from_le_bytes([byte(input)?, byte(input)?]) {
            byte(input)?;
        }
    }
    for text in [NAME, COMMENT] {
        while flags & text != 0 && byte(input)? != 0 {}
    }
    if flags & CHECKSUM != 0 {
        byte(input)?;
        byte(input)?;
    }
    Ok(())
}

/// Checksum and length, modulo 2^32, of the output.
fn inflate(
    state: &mut DecompressorOxide,
    window: &mut [u8],
    input: &mut Input<'_>,
    output: &mut dyn Write,
) -> Result<(u32, u32), Fault> {
    let (mut sum, mut length, mut position) = (Checksum::new(), 0_u32, 0);
    loop {
        let rest = peek(input)?;
        // If the input has ended, the decompressor reports that.
        let flags = if rest.is_empty() { 0 } else { TINFL_FLAG_HAS_MORE_INPUT };
        let (status, taken, made) = decompress(state, rest, window, position, flags);
        input.consume(taken);
        let new = &window[position..position + made];
        sum.add(new);
        length = length.wrapping_add(u32::try_from(made).unwrap_or(0));
        position += made;
        // The window is a ring buffer; it is written one revolution at a time.
        let done = status == TINFLStatus::Done;
        if position == window.len() || done {
            put(output, &window[..position])?;
            position = 0;
        }
        match status {
            TINFLStatus::Done => return Ok((sum.value(), length)),
            TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput => {}
            TINFLStatus::FailedCannotMakeProgress => return Err(Fault::TooShort),
            _ => return Err(Fault::Corrupt),
        }
    }
}

/// CRC-32 of RFC 1952, eight bytes per step.
struct Checksum(u32);

const TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut index = 0;
    while index < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = (value >> 1) ^ (0xedb8_8320 * (value & 1));
            bit += 1;
        }
        tables[0][index] = value;
        index += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut index = 0;
        while index < 256 {
            let value = tables[table - 1][index];
            tables[table][index] = (value >> 8) ^ tables[0][(value & 0xff) as usize];
            index += 1;
        }
        table += 1;
    }
    tables
}

impl Checksum {
    fn new() -> Self {
        Self(u32::MAX)
    }

    fn add(&mut self, bytes: &[u8]) {
        let mut sum = self.0;
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let low = (sum ^ u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]])).to_le_bytes();
            let eight = low.iter().chain(&chunk[4..]).enumerate();
            sum = eight.fold(0, |sum, (at, byte)| sum ^ TABLES[7 - at][usize::from(*byte)]);
        }
        for byte in chunks.remainder() {
            sum = (sum >> 8) ^ TABLES[0][usize::from(sum.to_le_bytes()[0] ^ byte)];
        }
        self.0 = sum;
    }

    fn value(&self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
