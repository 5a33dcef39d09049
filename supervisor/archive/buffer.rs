//! The input and the output of a decompressor, and what can be wrong with them.

use std::io::{self, BufRead, BufReader, Read, Write};

/// Size of the input buffer, in bytes.
pub const INPUT: usize = 256 << 10;
/// Size of the output buffer, in bytes.
pub const OUTPUT: usize = 256 << 10;
/// Why a stream could not be decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its format is invalid, or a checksum is wrong.
    Corrupt,
    /// It is truncated.
    TooShort,
    /// It needs more memory than permitted.
    TooMuchMemory,
    /// Only some blocks of an xz stream have their sizes in their headers.
    Mixed,
    /// Its end is followed by other data.
    Garbage,
    /// The input could not be read.
    Unreadable,
    /// The reader of the output has closed it.
    Unwanted,
}

/// An exit code, for processes that cannot send a message.
pub const FAULTS: [Fault; 7] = [
    Fault::Corrupt,
    Fault::TooShort,
    Fault::TooMuchMemory,
    Fault::Mixed,
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
            Self::Mixed => "data has blocks with and without sizes, which is unsupported; compress it again",
            Self::Garbage => "data is followed by unexpected data",
            Self::Unreadable => "data cannot be read",
            Self::Unwanted => "data was not read to its end",
        }
    }
}

pub type Input<'a> = BufReader<&'a mut dyn Read>;

/// The buffered input; empty at the end.
pub fn peek<'a>(input: &'a mut Input<'_>) -> Result<&'a [u8], Fault> {
    // The buffer is accessed twice, because a loop cannot return what it borrows.
    while let Err(error) = input.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(Fault::Unreadable);
        }
    }
    Ok(input.buffer())
}

pub fn put(output: &mut dyn Write, bytes: &[u8]) -> Result<(), Fault> {
    output.write_all(bytes).map_err(|_| Fault::Unwanted)
}

/// Skips zeros, as after a stream on tape; returns whether anything else follows.
pub fn something_follows(input: &mut Input<'_>) -> Result<bool, Fault> {
    loop {
        let rest = peek(input)?;
        let (length, zeros) = (rest.len(), rest.iter().take_while(|byte| **byte == 0).count());
        input.consume(zeros);
        if zeros < length || length == 0 {
            return Ok(length > 0);
        }
    }
}
