//! INI text as an editable document. Only this module uses `serde_ini`.
//!
//! Owns the reader (unchanged lines are written back byte for byte), the limits on what a file may contain, and edits
//! of single lines. Knows no section or key by name and opens no file.
//!
//! `serde_ini` splits one line at a time into section, entry, comment or blank. Around it: blanks at either end of a
//! line and a byte-order mark are ignored; line endings are preserved; control characters, duplicates and
//! oversized input are refused with line and column. There are no inline comments and no quotes: a value is
//! the text between `=` and the end of the line, without surrounding blanks.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::from_utf8;

use serde_ini::parse::SyntaxError;
use serde_ini::{Item as Token, Parser};

use super::error::{Error, Kind};
use super::value::{Invalid, quoted, refuse_control_characters};

/// The maximum size of a file in bytes.
pub const LARGEST_FILE: usize = 1 << 20;
/// The maximum length of a line in bytes.
pub const LONGEST_LINE: usize = 64 << 10;
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text of an INI file, by lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    file: PathBuf,
    marked: bool,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    text: String,
    /// `\n`, `\r\n`, or nothing if the last line lacks one.
    ending: &'static str,
    item: Item,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    /// A blank line or a comment.
    Layout,
    Section(String),
    /// A key, and the position of its value.
    Entry(String, Range<usize>),
}

/// One `key = value` of a document, and its position.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The section the entry is in.
    pub section: &'a str,
    /// Its key.
    pub key: &'a str,
    /// Its value, without surrounding blanks.
    pub value: &'a str,
    place: usize,
    offset: usize,
}

impl Document {
    /// An empty document for `file`.
    pub fn empty(file: &Path) -> Self {
        Self { file: file.to_owned(), marked: false, lines: Vec::new() }
    }

    /// Reads the content of `file`; the name is for errors only.
    ///
    /// # Errors
    /// The first error in the text, with its position.
    pub fn parse(bytes: &[u8], file: &Path) -> Result<Self, Error> {
        if bytes.len() > LARGEST_FILE {
            return Err(too_large(file));
        }
        let text = from_utf8(bytes).map_err(|fault| not_utf8(bytes, fault.valid_up_to(), file))?;
        let unmarked = text.strip_prefix(BYTE_ORDER_MARK);
        let mut document = Self { file: file.to_owned(), marked: unmarked.is_some(), lines: Vec::new() };
        for (place, line) in unmarked.unwrap_or(text).split_inclusive('\n').enumerate() {
            let (text, ending) = split_ending(line);
            let line = Line::new(text.to_owned(), ending).map_err(|(kind, fault)| {
                Error::new(kind, "", &fault).at(file, place + 1, text, fault.offset())
            })?;
            document.lines.push(line);
        }
        document.refuse_duplicates()?;
        Ok(document)
    }

    /// The file of the document.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The value of `key` in `section`, if the document has it.
    pub fn get(&self, section: &str, key: &str) -> Option<&str> {
        self.entry(section, key).map(|entry| entry.value)
    }

    /// The entry for `key` in `section`, if the document has it.
    pub fn entry(&self, section: &str, key: &str) -> Option<Entry<'_>> {
        self.entries().find(|entry| entry.section == section && entry.key == key)
    }

    /// All entries, in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut section = "";
        self.lines.iter().enumerate().filter_map(move |(place, line)| match &line.item {
            Item::Layout => None,
            Item::Section(name) => {
                section = name;
                None
            }
            Item::Entry(key, value) => {
                Some(Entry { section, key, value: &line.text[value.clone()], place, offset: value.start })
            }
        })
    }

    /// All sections in the order of the file.
    pub fn sections(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(|line| match &line.item {
            Item::Section(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Sets `key` in `section`: changes its line, or adds one at the end of the section, or adds the section at the end
    /// of the document. No other line changes.
    ///
    /// # Errors
    /// If the text could not be read back unchanged: control characters, leading or trailing blanks, a section or key
    /// with syntax characters, a line that is too long.
    pub fn set(&mut self, section: &str, key: &str, value: &str) -> Result<(), Invalid> {
        representable(section, key, value)?;
        match self
            .entry(section, key)
            .map(|entry| (entry.place, entry.offset, entry.offset + entry.value.len()))
        {
            Some((place, start, end)) => {
                let line = &mut self.lines[place];
                let text = format!("{}{value}{}", &line.text[..start], &line.text[end..]);
                *line = Line::new(text, line.ending).map_err(|(_, fault)| fault)?;
                Ok(())
            }
            None => self.add(section, key, value),
        }
    }

    /// Removes the line of `key` in `section`; returns whether there was one.
    pub fn unset(&mut self, section: &str, key: &str) -> bool {
        let place = self.entry(section, key).map(|entry| entry.place);
        place.map(|place| self.lines.remove(place)).is_some()
    }

    /// `error` at byte `offset` of the value of `entry`.
    pub fn at_value(&self, entry: &Entry<'_>, offset: usize, error: Error) -> Error {
        self.at(entry.place, entry.offset + offset, error)
    }

    /// `error` at the key of `entry`.
    pub fn at_key(&self, entry: &Entry<'_>, error: Error) -> Error {
        self.at(entry.place, indent(&self.lines[entry.place].text).len(), error)
    }

    /// `error` at the header of `section`, or of the whole file if there is none.
    pub fn at_section(&self, section: &str, error: Error) -> Error {
        let header = |line: &Line| matches!(&line.item, Item::Section(name) if name == section);
        match self.lines.iter().position(header) {
            Some(place) => self.at(place, indent(&self.lines[place].text).len(), error),
            None => error.of_file(&self.file),
        }
    }

    fn at(&self, place: usize, offset: usize, error: Error) -> Error {
        error.at(&self.file, place + 1, &self.lines[place].text, offset)
    }

    fn add(&mut self, section: &str, key: &str, value: &str) -> Result<(), Invalid> {
        let ending = self
            .lines
            .first()
            .map_or("\n", |first| if first.ending.is_empty() { "\n" } else { first.ending });
        let new = |text: String| Line::new(text, ending).map_err(|(_, fault)| fault);
        let last = self.entries().filter(|entry| entry.section == section).last();
        let last = last.map(|entry| (entry.place, self.lines[entry.place].layout_of_entry()));
        let header = || {
            self.lines.iter().position(|line| matches!(&line.item, Item::Section(name) if name == section))
        };
        match last.or_else(|| Some((header()?, ("", " = ")))) {
            Some((before, (indent, separator))) => {
                let line = new(format!("{indent}{key}{separator}{value}"))?;
                self.insert(before + 1, line);
            }
            None => {
                let mut lines = vec![new(format!("[{section}]"))?, new(format!("{key} = {value}"))?];
                if self.lines.last().is_some_and(|last| !last.text.trim().is_empty()) {
                    lines.insert(0, new(String::new())?);
                }
                lines.into_iter().for_each(|line| self.insert(self.lines.len(), line));
            }
        }
        Ok(())
    }

    fn insert(&mut self, place: usize, line: Line) {
        if let Some(before) = place.checked_sub(1).and_then(|before| self.lines.get_mut(before))
            && before.ending.is_empty()
        {
            before.ending = line.ending;
        }
        self.lines.insert(place, line);
    }

    fn refuse_duplicates(&self) -> Result<(), Error> {
        const HINT: &str = "remove or merge one of them";
        let mut seen = BTreeMap::new();
        let mut section = "";
        for (place, line) in self.lines.iter().enumerate() {
            let (key, what) = match &line.item {
                Item::Layout => continue,
                Item::Section(name) => {
                    section = name;
                    ("", format!("section {}", quoted(name)))
                }
                Item::Entry(key, _) => (key.as_str(), format!("key {}", quoted(key))),
            };
            if let Some(earlier) = seen.insert((section, key), place) {
                let fault = Invalid::new(format!("{what} was already on line {}", earlier + 1), HINT);
                return Err(self.at(
                    place,
                    indent(&line.text).len(),
                    Error::new(Kind::Duplicate, "", &fault),
                ));
            }
            if section.is_empty() {
                let fault = Invalid::new(
                    format!("{what} is in no section"),
                    "put the section's name in '[' and ']' above it",
                );
                return Err(self.at(place, indent(&line.text).len(), Error::new(Kind::Syntax, "", &fault)));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Document {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.marked {
            write!(formatter, "{BYTE_ORDER_MARK}")?;
        }
        self.lines.iter().try_for_each(|line| write!(formatter, "{}{}", line.text, line.ending))
    }
}

impl Line {
    /// The line `text` without a line ending.
    fn new(text: String, ending: &'static str) -> Result<Self, (Kind, Invalid)> {
        if text.len() > LONGEST_LINE {
            let fault = Invalid::new(format!("the line has more than {LONGEST_LINE} bytes"), "shorten it");
            return Err((Kind::Text, fault));
        }
        refuse_control_characters_but_tabs(&text).map_err(|fault| (Kind::Text, fault))?;
        let item = tokenise(&text).map_err(|fault| (Kind::Syntax, fault.moved(indent(&text).len())))?;
        Ok(Self { text, ending, item })
    }

    /// The text before the key of an entry, and that between the key and its value.
    fn layout_of_entry(&self) -> (&str, &str) {
        let indent = indent(&self.text);
        match &self.item {
            Item::Entry(key, value) => (indent, &self.text[indent.len() + key.len()..value.start]),
            _ => (indent, " = "),
        }
    }
}

/// The leading blanks of a line.
fn indent(text: &str) -> &str {
    &text[..text.len() - text.trim_start().len()]
}

/// A line and its ending.
fn split_ending(line: &str) -> (&str, &'static str) {
    match (line.strip_suffix("\r\n"), line.strip_suffix('\n')) {
        (Some(text), _) => (text, "\r\n"),
        (None, Some(text)) => (text, "\n"),
        (None, None) => (line, ""),
    }
}

/// The kind of a line according to `serde_ini`, without surrounding blanks.
fn tokenise(text: &str) -> Result<Item, Invalid> {
    const FORM: &str = "write '[section]', 'key = value' or '# comment', each on a line of its own";
    let token = match Parser::from_str(text.trim()).next() {
        None => return Ok(Item::Layout),
        Some(Ok(token)) => token,
        Some(Err(serde_ini::parse::Error::Syntax(error))) => {
            return Err(Invalid::new(
                match error {
                    SyntaxError::SectionNotClosed => "the line begins with '[' but does not end with ']'",
                    SyntaxError::SectionName => "the section's name contains ']'",
                    SyntaxError::MissingEquals => "no '=' between a key and a value",
                },
                FORM,
            ));
        }
        Some(Err(serde_ini::parse::Error::Inner(never))) => match never {},
    };
    match token {
        Token::Empty | Token::Comment { .. } => Ok(Item::Layout),
        Token::Section { name } if name.trim().is_empty() => {
            Err(Invalid::new("the section has no name", FORM))
        }
        Token::Section { name } => Ok(Item::Section(name.trim().to_owned())),
        Token::Value { key, .. } if key.is_empty() => Err(Invalid::new("no key before '='", FORM)),
        Token::Value { key, value } => {
            let after_equals = text.find('=').map_or(text.len(), |equals| equals + 1);
            let start = text.len() - text[after_equals..].trim_start().len();
            Ok(Item::Entry(key, start..start + value.len()))
        }
    }
}

/// Refuses characters that no file may contain. A tab is permitted: between words it is a blank, and in a value the
/// type refuses it.
fn refuse_control_characters_but_tabs(text: &str) -> Result<(), Invalid> {
    let Some((offset, character)) =
        text.char_indices().find(|(_, character)| character.is_control() && *character != '\t')
    else {
        return Ok(());
    };
    let hint = match character {
        '\0' => "the file is damaged or not text; restore it or write it again",
        _ => "remove it",
    };
    Err(Invalid::new(format!("control character U+{:04X}", u32::from(character)), hint).at(offset))
}

/// Refuses text that would be read back differently.
fn representable(section: &str, key: &str, value: &str) -> Result<(), Invalid> {
    for text in [section, key, value] {
        refuse_control_characters(text)?;
        if text.trim() != text {
            return Err(Invalid::new(format!("{} begins or ends with a blank", quoted(text)), "remove it"));
        }
    }
    if section.is_empty() || section.contains(']') {
        return Err(Invalid::new(
            format!("{} cannot be the name of a section", quoted(section)),
            "choose another",
        ));
    }
    if key.is_empty() || key.starts_with(['[', '#', ';']) || key.contains('=') {
        return Err(Invalid::new(format!("{} cannot be a key", quoted(key)), "choose another"));
    }
    Ok(())
}

/// The error for a file of more than [`LARGEST_FILE`] bytes.
pub(super) fn too_large(file: &Path) -> Error {
    let fault = Invalid::new(format!("larger than {LARGEST_FILE} bytes"), "is this the right file?");
    Error::new(Kind::Text, "", &fault).of_file(file)
}

/// The error for bytes that are invalid UTF-8 from `offset` on.
fn not_utf8(bytes: &[u8], offset: usize, file: &Path) -> Error {
    let (before, after) = bytes.split_at(offset);
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let end = after.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |newline| offset + newline);
    let line = before.split(|byte| *byte == b'\n').count();
    let fault = Invalid::new(format!("byte 0x{:02X} is not UTF-8", bytes[offset]), "save the file as UTF-8");
    let source = String::from_utf8_lossy(&bytes[start..end]);
    Error::new(Kind::Text, "", &fault).at(file, line, &source, offset - start)
}

#[cfg(test)]
#[path = "ini_tests.rs"]
mod tests;
