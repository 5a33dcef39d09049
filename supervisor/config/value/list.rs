//! The form of a list: items separated by commas, and the fields of a path with options separated by colons.
//!
//! Owns the splitting, and the backslash that escapes a comma, a colon or a backslash in a path. Does not know what an
//! item means.

use std::fmt;
use std::str::FromStr;

use super::invalid::{Invalid, quoted};

/// The items of a comma-separated list without surrounding blanks, each with its byte offset; none for an empty text.
pub(super) fn items(text: &str) -> Vec<(usize, &str)> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    split(text, ',')
        .into_iter()
        .map(|(offset, item)| (offset + item.len() - item.trim_start().len(), item.trim()))
        .collect()
}

/// An item of a list with a limit, in which some items exclude each other.
pub(super) trait Item: FromStr<Err = Invalid> {
    /// The maximum number of items in a list.
    const MAX: usize;
    /// What the items are, in the plural, and what to do if there are too many.
    const TOO_MANY: (&str, &str);

    /// Why this item cannot be in the same list as an earlier one.
    fn conflict(&self, earlier: &Self) -> Option<String>;
}

/// Reads a comma-separated list and ignores blanks around commas; an empty text is an empty list.
pub(super) fn read<T: Item>(text: &str) -> Result<Vec<T>, Invalid> {
    let mut list = Vec::new();
    for (start, item) in items(text) {
        let item = item.parse::<T>().map_err(|fault| fault.moved(start))?;
        push(&mut list, item).map_err(|fault| fault.at(start))?;
    }
    Ok(list)
}

/// Adds an item at the end of a list.
pub(super) fn push<T: Item>(list: &mut Vec<T>, item: T) -> Result<(), Invalid> {
    if list.len() == T::MAX {
        let (plural, hint) = T::TOO_MANY;
        return Err(Invalid::new(format!("more than {} {plural}", T::MAX), hint));
    }
    if let Some(why) = list.iter().find_map(|earlier| item.conflict(earlier)) {
        return Err(Invalid::new(why, "remove one of them"));
    }
    list.push(item);
    Ok(())
}

/// Writes the items of a list with commas between them.
pub(super) fn show<T: fmt::Display>(items: &[T], formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (place, item) in items.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        write!(formatter, "{comma}{item}")?;
    }
    Ok(())
}

/// The positions of `separator` in `text` that are not escaped.
pub(super) fn unescaped(text: &str, separator: char) -> impl Iterator<Item = (usize, char)> {
    let mut after_backslash = false;
    text.char_indices().filter(move |&(_, character)| {
        let escaped = after_backslash;
        after_backslash = character == '\\' && !escaped;
        character == separator && !escaped
    })
}

/// The parts of `text` between its separators, still escaped, with the byte offset of each.
pub(super) fn split(text: &str, separator: char) -> Vec<(usize, &str)> {
    let mut start = 0;
    let mut parts = Vec::new();
    for (end, _) in unescaped(text, separator) {
        parts.push((start, &text[start..end]));
        start = end + separator.len_utf8();
    }
    parts.push((start, &text[start..]));
    parts
}

/// The path in one field.
pub(super) fn field<T: FromStr<Err = Invalid>>((offset, text): (usize, &str)) -> Result<T, Invalid> {
    unescape((offset, text))?.parse::<T>().map_err(|fault| fault.moved(offset))
}

/// The text of a field without its escapes.
pub(super) fn unescape((offset, text): (usize, &str)) -> Result<String, Invalid> {
    let mut path = String::with_capacity(text.len());
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        path.push(match character {
            '\\' => match characters.next() {
                Some((_, escaped @ (',' | ':' | '\\'))) => escaped,
                _ => {
                    let why = format!("a single '\\' in {}", quoted(text));
                    return Err(Invalid::new(why, "write '\\\\' for a backslash").at(offset + place));
                }
            },
            other => other,
        });
    }
    Ok(path)
}

/// A path with its special characters escaped.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if matches!(character, ',' | ':' | '\\') {
                formatter.write_str("\\")?;
            }
            write!(formatter, "{character}")?;
        }
        Ok(())
    }
}
