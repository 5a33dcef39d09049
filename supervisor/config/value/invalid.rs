//! Invalid values: the one-line explanation, and the refusal of control characters in any value.
//!
//! Owns the form of that line; knows no value type.

use std::error::Error;
use std::fmt;

use crate::screen::is_hidden;

/// Why a text is not a valid value, and what to write instead.
///
/// Displayed as one line, `why; what to do`, without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    why: String,
    hint: String,
    offset: usize,
}

impl Invalid {
    /// An error of the whole text.
    pub(crate) fn new(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { why: why.into(), hint: hint.into(), offset: 0 }
    }

    /// The same error at byte `offset` of the text.
    pub(crate) fn at(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }

    /// The same error for a text that begins at byte `bytes` of a longer one.
    pub(crate) fn moved(mut self, bytes: usize) -> Self {
        self.offset += bytes;
        self
    }

    /// The reason.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The remedy.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// The position of the error in bytes; 0 for the whole text.
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; {}", self.why, self.hint)
    }
}

impl Error for Invalid {}

/// Refuses the characters that no value may contain: C0 (NUL, newline, tab, escape …), DEL and C1.
///
/// They could end a line of the file (the rest would become a key) or control the terminal that shows them.
pub(crate) fn refuse_control_characters(text: &str) -> Result<(), Invalid> {
    match text.char_indices().find(|(_, character)| character.is_control()) {
        Some((offset, character)) => Err(Invalid::new(
            format!("control character U+{:04X} in a value", u32::from(character)),
            "remove it",
        )
        .at(offset)),
        None => Ok(()),
    }
}

/// `text` in quotes for an error message: cut at 60 characters, hidden characters escaped.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown = String::from("'");
    for character in text.chars().take(SHOWN) {
        if is_hidden(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown.push('\'');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_shows_no_control_character_and_is_bounded() {
        assert_eq!(quoted("a\u{1b}[2J"), "'a\\u{1b}[2J'");
        assert_eq!(quoted("a\u{202e}\u{3164}b"), "'a\\u{202e}\\u{3164}b'");
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), 63);
        assert_eq!(quoted(&"é".repeat(60)), format!("'{}'", "é".repeat(60)));
    }

    #[test]
    fn control_characters_are_found_where_they_are() {
        for bad in ['\0', '\n', '\r', '\t', '\u{1b}', '\u{7f}', '\u{85}', '\u{9f}'] {
            let fault = refuse_control_characters(&format!("é{bad}")).unwrap_err();
            assert_eq!(fault.offset(), 2);
            assert!(!fault.to_string().chars().any(char::is_control));
        }
        assert!(refuse_control_characters("plain ünïcode").is_ok());
    }
}
