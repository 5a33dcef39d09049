//! Compressed streams: gzip (RFC 1952), xz (the .xz file format 1.2), zstd (RFC 8878).
//!
//! Owns the decompression from a reader to a writer, in the calling process, with limited memory and unlimited output.
//! A stream may be followed by another stream, or by zeros up to the end of a tape block; anything else is an error.

use std::io::{BufRead, BufReader, Read, Write};

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use zstd_safe::{DCtx, InBuffer, OutBuffer};

use super::buffer::{Fault, INPUT, Input, OUTPUT, peek, put, something_follows};
use super::checksum::Checksum;
use super::pool::Pool;
use super::xz;

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

/// Decompresses the whole input; xz with the threads of a pool, if there is one.
///
/// # Errors
/// See [`Fault`].
pub fn decode(
    format: Format,
    input: &mut dyn Read,
    output: &mut dyn Write,
    pool: Option<&Pool>,
) -> Result<(), Fault> {
    let mut input = BufReader::with_capacity(INPUT, input);
    match format {
        Format::Gzip => gzip(&mut input, output),
        Format::Xz => xz::decode(&mut input, output, pool),
        Format::Zstd => zstd(&mut input, output),
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
        if trailer.map(u64::from) != [sum, length.into()] {
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
) -> Result<(u64, u32), Fault> {
    let (mut sum, mut length, mut position) = (Checksum::crc32(), 0_u32, 0);
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

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
