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

/// A duration in seconds, with its two largest units.
#[must_use]
pub fn duration(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(units.len() - 1);
    let (size, unit) = units[first];
    let large = format!("{} {unit}", seconds / size);
    match units.get(first + 1) {
        Some((next, unit)) if seconds % size >= *next => format!("{large} {} {unit}", seconds % size / next),
        _ => large,
    }
}

/// A size in bytes, with three digits and a binary unit.
#[must_use]
pub fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "B";
    for larger in units {
        if tenths < 10_240 {
            break;
        }
        tenths = (tenths + 512) / 1024;
        unit = larger;
    }
    if tenths % 10 == 0 || tenths >= 1000 {
        format!("{} {unit}", (tenths + 5) / 10)
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_have_two_units_at_most() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min 59 s"),
            (3600, "1 h"),
            (7265, "2 h 1 min"),
            (90_000, "1 d 1 h"),
            (86_459, "1 d"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (123_456, "121 KiB"),
            (5 << 30, "5 GiB"),
            (1 << 60, "1048576 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

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
