//! Makes text of a container safe for a terminal: only text, newlines, tabs and colours.
//!
//! A terminal answers queries with input to the shell, and bidirectional controls can make a line look like another
//! one. Owns the list of hidden characters and both ways to show such text: [`Filter`] for a stream, [`line`] for a
//! name or a message. ECMA-48, console_codes(4), Unicode Standard Annex 9.

use std::borrow::Cow;
use std::fmt::Write;

/// Maximum length of a colour sequence, between `ESC [` and `m`.
const LONGEST_COLOUR: usize = 64;
/// Maximum size of the stored colours, in bytes.
const MAX_COLOURS: usize = 1024;
const ESCAPE: u8 = 0x1b;
const RESET: &[u8] = b"\x1b[0m";

/// Whether a character is hidden: it controls the terminal or the order or look of other characters, or is invisible.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// A JSON document without a percent sign and without hidden characters: for shells, URLs and terminals. Both occur
/// only inside strings, where an escape means the same.
#[must_use]
pub fn json(document: &str) -> Cow<'_, str> {
    let is_escaped = |character: char| character == '%' || is_hidden(character);
    if !document.contains(is_escaped) {
        return Cow::Borrowed(document);
    }
    let mut escaped = String::with_capacity(document.len());
    for character in document.chars() {
        if is_escaped(character) {
            let units = character.encode_utf16(&mut [0; 2]).to_vec();
            units.iter().for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}")));
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// The text in one line; hidden characters are written as `\u{…}`.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(' '),
            hidden if is_hidden(hidden) => drop(write!(shown, "{}", hidden.escape_unicode())),
            other => shown.push(other),
        }
    }
    Cow::Owned(shown)
}

/// Passes text, newlines, tabs and colours, however the input is split. Drops escape sequences and hidden characters. A
/// carriage return within a line starts a new line; invalid UTF-8 becomes U+FFFD.
#[derive(Debug, Default)]
pub struct Filter {
    state: State,
    /// The parameters of a control sequence, or the beginning of a character.
    pending: Vec<u8>,
    /// The last character was a carriage return.
    returned: bool,
    /// The line contains text.
    begun: bool,
    /// The control sequences that set the current colours; empty for the default colours.
    colours: Vec<u8>,
    /// The colours were reset by [`Filter::rest`].
    rests: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte.
    Intermediate,
    /// After ESC [; whether it can still be a colour.
    Control(bool),
    /// In a string that BEL or ST ends: OSC, DCS, SOS, PM, APC.
    String,
}

impl Filter {
    /// Processes bytes and appends the safe output.
    pub fn push(&mut self, input: &[u8], output: &mut Vec<u8>) {
        if std::mem::take(&mut self.rests) {
            output.extend_from_slice(&self.colours);
        }
        for byte in input {
            self.take(*byte, output);
        }
    }

    /// The end of the input: drops an incomplete sequence and resets the colour.
    pub fn finish(&mut self, output: &mut Vec<u8>) {
        if self.state == State::Text && !self.pending.is_empty() {
            self.show(char::REPLACEMENT_CHARACTER, output);
        }
        self.rest(output);
        *self = Self::default();
    }

    /// Resets the colours before a wait, in which the process may be killed. They are set again with the next bytes.
    pub fn rest(&mut self, output: &mut Vec<u8>) {
        if !self.colours.is_empty() && !self.rests {
            output.extend_from_slice(RESET);
            self.rests = true;
        }
    }

    fn take(&mut self, byte: u8, output: &mut Vec<u8>) {
        match (self.state, byte) {
            (State::Text, _) => self.text(byte, output),
            (_, ESCAPE) => self.enter(State::Escape),
            // A sequence never extends beyond its line: a truncated one would hide the rest.
            (_, b'\n' | b'\r') => {
                self.enter(State::Text);
                self.text(byte, output);
            }
            (State::Escape, b'[') => self.enter(State::Control(true)),
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => self.enter(State::String),
            (State::Escape | State::Intermediate, 0x20..=0x2f) => self.enter(State::Intermediate),
            (State::Control(is_colour), 0x20..=0x3f) => {
                let is_parameter = matches!(byte, b'0'..=b'9' | b';' | b':');
                let fits = self.pending.len() < LONGEST_COLOUR;
                self.state = State::Control(is_colour && is_parameter && fits);
                if fits {
                    self.pending.push(byte);
                }
            }
            (State::Control(true), b'm') => self.colour(output),
            (State::String, 0x07 | 0x18 | 0x1a) => self.enter(State::Text),
            (State::String, _) => {}
            (State::Escape | State::Intermediate | State::Control(_), 0x20..=0x7e) => self.enter(State::Text),
            // It was not a sequence.
            _ => {
                self.enter(State::Text);
                self.text(byte, output);
            }
        }
    }

    fn enter(&mut self, state: State) {
        self.pending.clear();
        self.state = state;
    }

    fn colour(&mut self, output: &mut Vec<u8>) {
        self.flush_return(output);
        let sequence = [b"\x1b[", &*self.pending, b"m"].concat();
        output.extend_from_slice(&sequence);
        if self.pending.iter().all(|byte| *byte == b'0') {
            self.colours.clear();
        } else {
            // Most programs set a few colours and then reset them. If they never do, the oldest are dropped.
            if self.colours.len() + sequence.len() > MAX_COLOURS {
                self.colours.clear();
            }
            self.colours.extend_from_slice(&sequence);
        }
        self.enter(State::Text);
    }

    fn text(&mut self, byte: u8, output: &mut Vec<u8>) {
        self.pending.push(byte);
        let wrong = match std::str::from_utf8(&self.pending) {
            Ok(text) => {
                let character = text.chars().next().unwrap_or_default();
                self.pending.clear();
                return self.show(character, output);
            }
            Err(error) => error.error_len(),
        };
        let Some(wrong) = wrong else { return };
        let rest = self.pending.split_off(wrong);
        self.pending.clear();
        self.show(char::REPLACEMENT_CHARACTER, output);
        self.push(&rest, output);
    }

    fn show(&mut self, character: char, output: &mut Vec<u8>) {
        match character {
            '\u{1b}' => self.state = State::Escape,
            '\r' => self.returned = true,
            '\n' => {
                (self.returned, self.begun) = (false, false);
                output.push(b'\n');
            }
            '\t' => {
                self.flush_return(output);
                output.push(b'\t');
            }
            hidden if is_hidden(hidden) => {}
            shown => {
                self.flush_return(output);
                self.begun = true;
                output.extend_from_slice(shown.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }

    /// Text that would overwrite the line is shown below it.
    fn flush_return(&mut self, output: &mut Vec<u8>) {
        if std::mem::take(&mut self.returned) && std::mem::take(&mut self.begun) {
            output.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filtered(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut filter, mut output) = (Filter::default(), Vec::new());
        pieces.iter().for_each(|piece| filter.push(piece, &mut output));
        filter.finish(&mut output);
        output
    }

    fn shown(input: &[u8]) -> String {
        String::from_utf8(filtered(&[input])).unwrap()
    }

    #[test]
    fn text_and_colours_pass_and_nothing_else() {
        let cases: [(&[u8], &str); 20] = [
            (b"a\tb\r\nc\n", "a\tb\nc\n"),
            (b"[ \x1b[0;32m  OK  \x1b[0m ] up", "[ \x1b[0;32m  OK  \x1b[0m ] up"),
            (b"\x1b[38:2::1:2:3mx", "\x1b[38:2::1:2:3mx\x1b[0m"),
            (b"\x1b[18tx\x1b[6ny\x1b[cz\x1b[>cz\x1b[?6n", "xyzz"),
            (b"\x1b[>4;1mx\x1b[?1mx\x1b[1 mx", "xxx"),
            (b"\x1b]52;c;QQ==\x07x\x1b]0;title\x1b\\y", "xy"),
            (b"\x1bP$qm\x1b\\x\x1b_G\x1b\\y\x1bXs\x1b\\z\x1b^p\x1b\\.", "xyz."),
            (b"\x1b]52;c;\nnext", "\nnext"),
            (b"\x1bZ\x1bc\x1b(B\x1b#8\x1b7x", "x"),
            (b"\x9b6nx", "\u{fffd}6nx"),
            (b"\xc2\x9b6nx", "6nx"),
            (b"\x05\x08\x07\x7f\x0e\x00x", "x"),
            ("a\u{202e}b\u{2066}c\u{200b}d\u{feff}e".as_bytes(), "abcde"),
            ("gr\u{fc}\u{df} \u{4e2d} \u{1f600}".as_bytes(), "gr\u{fc}\u{df} \u{4e2d} \u{1f600}"),
            (b"\xe2\x82ax\xf0\x9f", "\u{fffd}ax\u{fffd}"),
            (b"50 %\r60 %\r\n", "50 %\n60 %\n"),
            (b"\r\rx\r", "x"),
            (b"\x1b[3\x1b[31mx", "\x1b[31mx\x1b[0m"),
            (b"\x1b", ""),
            (b"\x1b[31", ""),
        ];
        for (input, expected) in cases {
            assert_eq!(shown(input), expected, "{input:?}");
        }
    }

    #[test]
    fn what_is_not_seen_is_written_out_in_a_line() {
        assert_eq!(line("plain \u{e9}"), "plain \u{e9}");
        assert_eq!(line("a\u{202e}b\x1b[6n\u{9b}\nc"), "a\\u{202e}b\\u{1b}[6n\\u{9b} c");
    }

    /// Pieces of terminal sequences, truncated anywhere.
    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"\x1b".to_vec()),
            Just(b"\x1b[".to_vec()),
            Just(b"\x1b]".to_vec()),
            Just(b"\x1bP".to_vec()),
            Just(b"\x1b\\".to_vec()),
            Just("\u{9b}\u{202e}\u{2067}\u{200d}".as_bytes().to_vec()),
            "[0-9;:?> mntc\r\n\t]{0,5}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..4),
            "\\PC{0,3}".prop_map(String::into_bytes),
        ];
        prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
    }

    /// The text without its colours.
    fn without_colours(text: &str) -> String {
        let mut parts = text.split("\x1b[");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| {
            let (parameters, rest) = part.split_once('m').expect("a colour");
            assert!(
                parameters.chars().all(|one| one.is_ascii_digit() || ";:".contains(one)),
                "{parameters:?}"
            );
            text + rest
        })
    }

    proptest! {
        #[test]
        fn nothing_hidden_comes_out_and_cuts_do_not_matter(input in hostile(), cuts: Vec<u8>) {
            let whole = filtered(&[&input]);
            let (mut rest, mut pieces) = (&input[..], Vec::new());
            for cut in cuts {
                let (piece, after) = rest.split_at(usize::from(cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            prop_assert_eq!(&filtered(&pieces), &whole);
            let text = without_colours(&String::from_utf8(whole).unwrap());
            prop_assert!(!text.chars().any(|one| is_hidden(one) && !"\n\t".contains(one)), "{:?}", text);
            prop_assert!(!line(&String::from_utf8_lossy(&input)).chars().any(is_hidden));
        }
    }
}
