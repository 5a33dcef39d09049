//! A tar archive in memory: the `ustar` interchange format of POSIX.1-1988 pax(1), which every tar reads.
//!
//! Owns the format. It contains only regular files of root.

use anyhow::{Context, Result, ensure};

const BLOCK: usize = 512;

/// An archive under construction.
#[derive(Debug)]
pub struct Archive {
    bytes: Vec<u8>,
    /// Modification time of all files, in seconds since 1970.
    time: u64,
}

impl Archive {
    /// An empty archive.
    #[must_use]
    pub fn new(time: u64) -> Self {
        Self { bytes: Vec::new(), time }
    }

    /// Adds a file.
    ///
    /// # Errors
    /// A name longer than the format's 100 bytes, or content of 8 GiB or more.
    pub fn add(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.bytes.extend(header(name, content.len(), self.time).with_context(|| format!("archive {name}"))?);
        self.bytes.extend(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        Ok(())
    }

    /// The complete archive, with its end marker.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend([0; 2 * BLOCK]);
        self.bytes
    }
}

fn header(name: &str, length: usize, time: u64) -> Result<[u8; BLOCK]> {
    ensure!(name.len() <= 100, "the name is longer than 100 bytes");
    let length = u64::try_from(length)?;
    ensure!(length < 1 << 33, "it is larger than 8 GiB");
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{length:011o}\0"));
    put(136, &format!("{:011o}\0", time % (1 << 33)));
    // The checksum is computed with blanks in its own field.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    put(265, "root");
    put(297, "root");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Names and contents of an archive, read as the standard says.
    fn read(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        loop {
            let (header, rest) = bytes.split_at(BLOCK);
            if header.iter().all(|byte| *byte == 0) {
                assert_eq!(rest, [0; BLOCK], "two empty blocks end it");
                return files;
            }
            let text = |range: std::ops::Range<usize>| {
                let text = header[range].split(|byte| *byte == 0).next().unwrap();
                String::from_utf8(text.to_vec()).unwrap()
            };
            let octal = |range| usize::from_str_radix(text(range).trim(), 8).unwrap();
            let blank = |(index, byte): (usize, &u8)| {
                if (148..156).contains(&index) { 32 } else { usize::from(*byte) }
            };
            assert_eq!(octal(148..156), header.iter().enumerate().map(blank).sum::<usize>(), "checksum");
            assert_eq!(&header[257..265], b"ustar\x0000");
            assert_eq!((octal(100..108), octal(108..116), header[156]), (0o600, 0, b'0'));
            let length = octal(124..136);
            files.push((text(0..100), rest[..length].to_vec()));
            bytes = &rest[length.next_multiple_of(BLOCK)..];
        }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            files in proptest::collection::vec(("[a-z/.]{1,100}", proptest::collection::vec(any::<u8>(), 0..1500)), 0..5),
            time in 0_u64..1 << 40,
        ) {
            let mut archive = Archive::new(time);
            for (name, content) in &files {
                archive.add(name, content).unwrap();
            }
            prop_assert_eq!(read(&archive.finish()), files);
        }
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        assert!(Archive::new(0).add(&"x".repeat(101), b"").is_err());
    }
}
