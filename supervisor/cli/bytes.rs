//! Arguments of a command in a container that are not UTF-8, such as file names in an older encoding.
//!
//! Owns their form as text, which the messages between processes need: a NUL character, which no argument can contain,
//! precedes each byte that is not UTF-8. Every other argument must be text.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The argument as text.
#[must_use]
pub fn encode(word: &OsStr) -> String {
    let mut text = String::new();
    for chunk in word.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().flat_map(|byte| ['\0', char::from(*byte)]));
    }
    text
}

/// The bytes of an argument.
#[must_use]
pub fn decode(text: &str) -> Vec<u8> {
    let mut pieces = text.split('\0');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let mut letters = piece.chars();
        match letters.next().map(u8::try_from) {
            Some(Ok(byte @ 0x80..)) => {
                bytes.push(byte);
                bytes.extend(letters.as_str().as_bytes());
            }
            // Not ours: execve(2) cannot pass it on.
            _ => bytes.extend([b"\0", piece.as_bytes()].concat()),
        }
    }
    bytes
}

/// Whether an argument is UTF-8.
#[must_use]
pub fn is_text(text: &str) -> bool {
    !text.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_argument_keeps_its_bytes(bytes in prop::collection::vec(1u8.., 0..40)) {
            let text = encode(OsStr::from_bytes(&bytes));
            prop_assert_eq!(is_text(&text), std::str::from_utf8(&bytes).is_ok());
            prop_assert_eq!(decode(&text), bytes);
        }

        #[test]
        fn text_stays_as_it_is(text: String) {
            if text.is_ascii() || is_text(&text) {
                prop_assert_eq!(decode(&text), text.as_bytes());
            }
        }
    }
}
