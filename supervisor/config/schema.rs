//! Tables of keys, and reading a document by one.
//!
//! Owns what all tables have in common: the search for a key, the suggestion of a similar one if there is
//! none, and typed values with their defaults. The tables are in `container` and `supervisor`.

use std::str::FromStr;

use super::error::{Error, Kind};
use super::ini::{Document, Entry};
use super::value::{EnvironmentName, Invalid, quoted};
use crate::nearest::{distance, nearest};

/// One key of a configuration file: the source of its default, documentation and completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The section it is in.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The default, which also applies to an empty value; empty if there is none.
    pub default: &'static str,
    /// The form of its value.
    pub form: Form,
    /// Its effect, in one line.
    pub about: &'static str,
    /// An example of a value.
    pub example: &'static str,
}

/// The form of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Any of these words, separated by commas.
    SomeOf(&'static [&'static str]),
    /// A text, described by this word in capitals.
    Text(&'static str),
}

/// The keys of one kind of file.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// The section that can be omitted on a command line.
    pub main: &'static str,
    /// The keys, by section.
    pub keys: &'static [Key],
    /// The section whose keys are names of environment variables, if there is one.
    pub environment: Option<&'static str>,
    /// Old names of keys that are still accepted.
    pub old: &'static [Renamed],
}

/// A renamed key. A file may contain either name; the new one takes precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renamed {
    /// The old section and name.
    pub old: (&'static str, &'static str),
    /// The new section and name.
    pub new: (&'static str, &'static str),
}

impl Key {
    /// A row of a table, its columns in the order of the fields.
    pub(super) const fn new(
        section: &'static str,
        name: &'static str,
        default: &'static str,
        form: Form,
        about: &'static str,
        example: &'static str,
    ) -> Self {
        Self { section, name, default, form, about, example }
    }

    /// The key as it is written on a command line and in messages: `section.name`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

impl Schema {
    /// The sections, in the order of the table.
    pub fn sections(&self) -> Vec<&'static str> {
        let mut sections: Vec<&'static str> = self.keys.iter().map(|key| key.section).collect();
        sections.dedup();
        sections.extend(self.environment);
        sections
    }

    /// The key `name` of `section`.
    pub fn find(&self, section: &str, name: &str) -> Option<&'static Key> {
        let (section, name) = self.renamed(section, name).unwrap_or((section, name));
        self.keys.iter().find(|key| key.section == section && key.name == name)
    }

    /// The new name of a renamed key.
    fn renamed(&self, section: &str, name: &str) -> Option<(&'static str, &'static str)> {
        self.old.iter().find(|renamed| renamed.old == (section, name)).map(|renamed| renamed.new)
    }

    /// The old name of a key.
    pub(super) fn old_spelling(&self, section: &str, name: &str) -> Option<(&'static str, &'static str)> {
        self.old.iter().find(|renamed| renamed.new == (section, name)).map(|renamed| renamed.old)
    }

    /// The section and name of `text` from a command line: `section.name`, or only the name if its section
    /// is the main one.
    ///
    /// # Errors
    /// If there is no such key; suggests a similar one.
    pub fn resolve<'a>(&self, text: &'a str) -> Result<(&'a str, &'a str), Error>
    where
        'static: 'a,
    {
        let (section, name) = text.split_once('.').unwrap_or((self.main, text));
        self.check_key(section, name)
            .map_err(|fault| Error::new(Kind::Unknown, text.escape_debug().to_string(), &fault))?;
        Ok(self.renamed(section, name).unwrap_or((section, name)))
    }

    /// Refuses sections and keys that are not in the table.
    ///
    /// # Errors
    /// The first one in the document, with its position.
    pub fn check(&self, document: &Document) -> Result<(), Error> {
        let sections = self.sections();
        if let Some(section) = document.sections().find(|section| !sections.contains(section)) {
            let hint = suggestion(nearest(section, sections).map(|found| found.word));
            let fault = Invalid::new(format!("there is no section {}", quoted(section)), hint);
            return Err(document.at_section(section, Error::new(Kind::Unknown, "", &fault)));
        }
        for entry in document.entries() {
            if let Err(fault) = self.check_key(entry.section, entry.key) {
                return Err(document.at_key(&entry, Error::new(Kind::Unknown, "", &fault)));
            }
        }
        Ok(())
    }

    /// The text of a key's value in the document, or its default.
    fn value<'a>(&self, document: &'a Document, section: &str, name: &str) -> (Option<Entry<'a>>, &'a str) {
        let default = self.find(section, name).map_or("", |key| key.default);
        let entry = |section, name| document.entry(section, name).filter(|entry| !entry.value.is_empty());
        let old = || self.old_spelling(section, name).and_then(|(section, name)| entry(section, name));
        let entry = entry(section, name).or_else(old);
        (entry, entry.map_or(default, |entry| entry.value))
    }

    /// The value of a key that always has one.
    ///
    /// # Errors
    /// If the document's value has another type; with its position.
    pub fn read<T: FromStr<Err = Invalid>>(
        &self,
        document: &Document,
        section: &str,
        name: &str,
    ) -> Result<T, Error> {
        let (entry, text) = self.value(document, section, name);
        text.parse().map_err(|fault| value_error(document, entry, section, name, &fault))
    }

    /// The value of a key that may have none.
    ///
    /// # Errors
    /// If the document's value has another type; with its position.
    pub fn read_optional<T: FromStr<Err = Invalid>>(
        &self,
        document: &Document,
        section: &str,
        name: &str,
    ) -> Result<Option<T>, Error> {
        match self.value(document, section, name) {
            (None, "") => Ok(None),
            _ => self.read(document, section, name).map(Some),
        }
    }

    fn check_key(&self, section: &str, name: &str) -> Result<(), Invalid> {
        if self.environment == Some(section) {
            return name.parse::<EnvironmentName>().map(|_| ());
        }
        if self.find(section, name).is_some() {
            return Ok(());
        }
        let full_names: Vec<String> = self.keys.iter().map(Key::full_name).collect();
        let written = format!("{section}.{name}");
        // Either the name is similar to a key and the section differs, or the full name is similar.
        let effort = |key: &Key, full: &String| {
            let moved = usize::from(key.section != section);
            (distance(name, key.name).min(distance(&written, full)), moved)
        };
        let nearest = self.keys.iter().zip(&full_names).min_by_key(|(key, full)| effort(key, full));
        let hint = suggestion(nearest.map(|(_, full)| full.as_str()));
        Err(Invalid::new(format!("there is no key {} in section {}", quoted(name), quoted(section)), hint))
    }
}

/// The error for a key with an invalid value: at the value, or without a position for a default.
pub(super) fn value_error(
    document: &Document,
    entry: Option<Entry<'_>>,
    section: &str,
    name: &str,
    fault: &Invalid,
) -> Error {
    let error = Error::new(
        Kind::Value,
        format!("{section}.{name}"),
        &commented(entry.map_or("", |entry| entry.value), fault),
    );
    match entry {
        Some(entry) => document.at_value(&entry, fault.offset(), error),
        None => error.of_file(document.file()),
    }
}

/// `fault`, with another remedy if it is probably caused by a comment after the value.
fn commented(value: &str, fault: &Invalid) -> Invalid {
    match value.contains(" #") || value.contains(" ;") {
        true => Invalid::new(fault.why(), "put the comment on a line of its own"),
        false => fault.clone(),
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(|| "remove it".to_owned(), |nearest| format!("did you mean '{nearest}'?"))
}
