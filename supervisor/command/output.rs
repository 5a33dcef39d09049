//! The format of results: JSON documents and tables.
//!
//! Owns JSON for other programs: it writes `%` as `\u0025`, so that the text passes unchanged through shells, URLs and
//! printf(1).

use std::io;

use anyhow::{Context, Result};
use serde::Serialize;

use super::print;
use crate::exit::ExitCode;
use crate::screen;

/// Prints one JSON document on one line.
///
/// # Errors
/// If standard output cannot be written.
pub fn json<T: Serialize>(document: &T) -> Result<ExitCode> {
    let text = serde_json::to_string(document).context("encode the result")?;
    print(&mut io::stdout(), &format!("{}\n", escape(&text)))
}

/// JSON contains percent signs only in strings. All other characters are printable on a terminal.
fn escape(json: &str) -> String {
    let is_escaped = |character: char| character == '%' || screen::is_hidden(character);
    if !json.contains(is_escaped) {
        return json.to_owned();
    }
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if is_escaped(character) {
            let units = character.encode_utf16(&mut [0; 2]).to_vec();
            units.iter().for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}")));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Prints rows in columns; the first row is the heading.
///
/// # Errors
/// If standard output cannot be written.
pub fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> Result<ExitCode> {
    print(&mut io::stdout(), &columns(rows))
}

/// Rows in columns as [`table`] prints them.
#[must_use]
pub fn columns<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let rows: Vec<_> = rows.iter().map(|row| row.each_ref().map(|cell| screen::line(cell))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let line: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn json_has_no_percent_sign_and_means_the_same(text: String, more in "[%\\\\u\"]{0,9}") {
            let document = (text, more);
            let json = escape(&serde_json::to_string(&document).unwrap());
            prop_assert!(!json.contains('%') && !json.chars().any(screen::is_hidden));
            prop_assert_eq!(serde_json::from_str::<(String, String)>(&json).unwrap(), document);
        }
    }
}
