//! An error in a configuration: problem, position and remedy, as one line or with the faulty line and a caret.
//!
//! The texts contain no control characters, so that a damaged file cannot control the terminal.

use std::error;
use std::fmt;
use std::path::{Path, PathBuf};

use super::value::Invalid;
use crate::screen::is_hidden;

/// The kind of an error, for code that distinguishes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The file does not exist.
    NotFound,
    /// The file to create already exists.
    Exists,
    /// The file cannot be read.
    Read,
    /// The file cannot be written.
    Write,
    /// The text is not UTF-8, has control characters, or is too large.
    Text,
    /// A line is neither a section, an entry, a comment nor blank.
    Syntax,
    /// A section or key appears twice.
    Duplicate,
    /// The section or key does not exist.
    Unknown,
    /// A value does not match its key's type, or two values exclude each other.
    Value,
    /// A required key is missing.
    Missing,
    /// Values of a command line make the file as a whole invalid.
    Assigned,
}

/// An error in a configuration. Displayed as one line, `FILE:LINE:COLUMN: what: why; what to do`; see
/// [`Error::render`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    place: Option<Box<Place>>,
    what: String,
    why: String,
    hint: String,
}

/// The position of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    file: PathBuf,
    /// The line and the character in it, from 1; `None` for the file as a whole.
    position: Option<(usize, usize)>,
    /// The text of that line.
    source: String,
}

impl Error {
    /// An error outside of any file: in a key or value of a command line.
    pub(super) fn new(kind: Kind, what: impl Into<String>, fault: &Invalid) -> Self {
        Self {
            kind,
            place: None,
            what: what.into(),
            why: fault.why().to_owned(),
            hint: fault.hint().to_owned(),
        }
    }

    /// The same error for `file` as a whole.
    pub(super) fn of_file(mut self, file: &Path) -> Self {
        self.place = Some(Box::new(Place { file: file.to_owned(), position: None, source: String::new() }));
        self
    }

    /// The same error at byte `offset` of the line `source`, which is line `line` (from 1) of `file`.
    pub(super) fn at(mut self, file: &Path, line: usize, source: &str, offset: usize) -> Self {
        let column = source.char_indices().take_while(|(start, _)| *start < offset).count() + 1;
        let (file, source) = (file.to_owned(), source.to_owned());
        self.place = Some(Box::new(Place { file, position: Some((line, column)), source }));
        self
    }

    /// The same error without a position, for a value of the command line that is not in a file yet.
    pub(super) fn without_place(mut self) -> Self {
        self.place = None;
        self
    }

    /// The same error, if it is due to a command line although the file as a whole has it.
    pub(super) fn of_command_line(mut self) -> Self {
        self.kind = Kind::Assigned;
        self
    }

    /// The kind of the error.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the error is on a command line and not in a file.
    pub fn is_of_command_line(&self) -> bool {
        self.kind == Kind::Assigned
            || self.place.is_none()
                && matches!(self.kind, Kind::Syntax | Kind::Unknown | Kind::Value | Kind::Text)
    }

    /// The section, key or other item with the error; empty if it is the text itself.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The reason and the remedy, without the position.
    pub fn reason(&self) -> String {
        if self.hint.is_empty() { self.why.clone() } else { format!("{}; {}", self.why, self.hint) }
    }

    /// The file with the error, if any.
    pub fn file(&self) -> Option<&Path> {
        self.place.as_deref().map(|place| place.file.as_path())
    }

    /// The line and the column where the error begins, both from 1.
    pub fn position(&self) -> Option<(usize, usize)> {
        self.place.as_deref().and_then(|place| place.position)
    }

    /// The error for a terminal: one line, then the line of the file with a caret below it, without a final
    /// newline.
    pub fn render(&self) -> String {
        match self.place.as_deref() {
            Some(Place { position: Some((_, column)), source, .. }) => {
                format!("{self}\n{}", excerpt(source, *column))
            }
            _ => self.to_string(),
        }
    }
}

/// The line `source`, or the part of a long one around `column`, and below it a caret at `column`.
fn excerpt(source: &str, column: usize) -> String {
    const SHOWN: usize = 100;
    const BEFORE: usize = 60;
    let start = if source.chars().count() > SHOWN { (column - 1).saturating_sub(BEFORE) } else { 0 };
    let visible = |character: char| match character {
        '\t' => ' ',
        other if is_hidden(other) => char::REPLACEMENT_CHARACTER,
        other => other,
    };
    let shown: String = source.chars().skip(start).take(SHOWN).map(visible).collect();
    format!("  {}\n  {}^", shown.trim_end(), " ".repeat(column - 1 - start))
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            formatter.write_str(&place.file.to_string_lossy().replace(is_hidden, "?"))?;
            if let Some((line, column)) = place.position {
                write!(formatter, ":{line}:{column}")?;
            }
            formatter.write_str(": ")?;
        }
        if !self.what.is_empty() {
            write!(formatter, "{}: ", self.what)?;
        }
        write!(formatter, "{}; {}", self.why, self.hint)
    }
}

impl error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault() -> Error {
        Error::new(Kind::Value, "limits.memory", &Invalid::new("size '1x' is wrong", "write bytes"))
    }

    #[test]
    fn one_line_with_and_without_a_place() {
        let error = fault();
        assert_eq!(error.to_string(), "limits.memory: size '1x' is wrong; write bytes");
        assert_eq!(error.render(), error.to_string());
        let error = fault().of_file(Path::new("a.ini"));
        assert_eq!(error.render(), "a.ini: limits.memory: size '1x' is wrong; write bytes");
        let error = fault().at(Path::new("a\n.ini"), 7, "memory = 1x", 9);
        assert_eq!(error.to_string(), "a?.ini:7:10: limits.memory: size '1x' is wrong; write bytes");
        assert_eq!((error.position(), error.kind()), (Some((7, 10)), Kind::Value));
    }

    #[test]
    fn the_caret_stands_below_the_fault() {
        let render = |source: &str, offset| {
            let text = fault().at(Path::new("a"), 1, source, offset).render();
            let lines: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
            let caret = lines[1].chars().position(|character| character == '^').unwrap();
            (lines[0].clone(), lines[0].chars().nth(caret))
        };
        assert_eq!(render("\tmémory = 1x", 11), ("   mémory = 1x".to_owned(), Some('1')));
        assert_eq!(render("a\u{1b}b", 1), ("  a\u{fffd}b".to_owned(), Some('\u{fffd}')));
        assert_eq!(render("a", 1).1, None, "the end of the line");
        let long = format!("{}!{}", "a".repeat(5000), "b".repeat(5000));
        let (shown, marked) = render(&long, 5000);
        assert_eq!((shown.chars().count(), marked), (102, Some('!')));
    }
}
