//! The detach sequence of a console: Ctrl-] twice in a row.
//!
//! Owns its recognition. A single Ctrl-] is held back until the next key and then passed on, so that everything except
//! the sequence can be typed.

/// Ctrl-].
const KEY: u8 = 0x1d;

/// The hint for a user at a terminal.
pub const HINT: &str = "to detach, press Ctrl-] twice";

/// Detects the sequence in the input.
#[derive(Debug, Default)]
pub struct Escape {
    /// The last key was the first half of the sequence and is held back.
    half: bool,
}

impl Escape {
    /// Removes the sequence from the input; `true` if it was found. Drops everything after it.
    pub fn filter(&mut self, typed: &mut Vec<u8>) -> bool {
        let mut passed = Vec::with_capacity(typed.len() + 1);
        for &byte in typed.iter() {
            if self.half && byte == KEY {
                self.half = false;
                *typed = passed;
                return true;
            }
            if std::mem::take(&mut self.half) {
                passed.push(KEY);
            }
            if byte == KEY {
                self.half = true;
            } else {
                passed.push(byte);
            }
        }
        *typed = passed;
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn typed(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut escape = Escape::default();
        let mut passed = Vec::new();
        for piece in pieces {
            let mut bytes = piece.to_vec();
            let left = escape.filter(&mut bytes);
            passed.extend(bytes);
            if left {
                return (passed, true);
            }
        }
        (passed, false)
    }

    #[test]
    fn two_in_a_row_leave_and_one_alone_goes_through() {
        assert_eq!(typed(&[b"ab\x1d\x1dcd"]), (b"ab".to_vec(), true));
        assert_eq!(typed(&[b"ab\x1d", b"\x1dcd"]), (b"ab".to_vec(), true));
        assert_eq!(typed(&[b"ab\x1dcd\x1d"]), (b"ab\x1dcd".to_vec(), false));
        assert_eq!(typed(&[b"\x1dx\x1dy"]), (b"\x1dx\x1dy".to_vec(), false));
        assert_eq!(typed(&[b"\x1d", b"", b"x"]), (b"\x1dx".to_vec(), false));
    }

    proptest! {
        /// However the bytes are split, the output is what precedes the first pair.
        #[test]
        fn pieces_make_no_difference(
            bytes in prop::collection::vec(prop_oneof![Just(KEY), any::<u8>()], 0..40),
            cuts in prop::collection::vec(1..5_usize, 1..40),
        ) {
            let mut pieces: Vec<&[u8]> = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let (passed, left) = typed(&pieces);
            match bytes.windows(2).position(|pair| pair == [KEY, KEY]) {
                Some(index) => prop_assert_eq!((passed, left), (bytes[..index].to_vec(), true)),
                None => {
                    let held = usize::from(bytes.last() == Some(&KEY));
                    prop_assert_eq!((passed, left), (bytes[..bytes.len() - held].to_vec(), false));
                }
            }
        }
    }
}
