//! Tables of keys, and reading a document by one.
//!
//! Owns what every table has in common: finding a key by what a person wrote, naming the nearest one when there is
//! none, and typed values with their defaults. The tables themselves are in `container` and `supervisor`.

use std::str::FromStr;

use super::error::{Error, Kind};
use super::ini::{Document, Entry};
use super::value::{EnvironmentName, Invalid, quoted};
use crate::nearest::{distance, nearest};

/// One key of a configuration file: the source of its default, its documentation and its completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The section it is in.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What holds when it is absent or empty; empty when there is then no value.
    pub default: &'static str,
    /// What its value looks like.
    pub form: Form,
    /// What it does, in one line.
    pub about: &'static str,
    /// A value one could give it.
    pub example: &'static str,
}

/// What the value of a key looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Any of these words, separated by commas.
    SomeOf(&'static [&'static str]),
    /// A text of the kind that this word in capitals stands for.
    Text(&'static str),
}

/// The keys of one kind of file.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// The section that need not be named on a command line.
    pub main: &'static str,
    /// The keys, by section.
    pub keys: &'static [Key],
    /// The section whose keys are names of environment variables, if there is one.
    pub environment: Option<&'static str>,
    /// Keys that are still read by their old names.
    pub old: &'static [Renamed],
}

/// A key that got another name. A file may have either; the new one holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renamed {
    /// Section and name as they were.
    pub old: (&'static str, &'static str),
    /// Section and name as they are.
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

    /// What a key is called that got another name.
    fn renamed(&self, section: &str, name: &str) -> Option<(&'static str, &'static str)> {
        self.old.iter().find(|renamed| renamed.old == (section, name)).map(|renamed| renamed.new)
    }

    /// What a key was called before.
    pub(super) fn old_spelling(&self, section: &str, name: &str) -> Option<(&'static str, &'static str)> {
        self.old.iter().find(|renamed| renamed.new == (section, name)).map(|renamed| renamed.old)
    }

    /// The section and name that `text` from a command line means: `section.name`, or the name alone when its section
    /// is the main one.
    ///
    /// # Errors
    /// When there is no such key; names the nearest.
    pub fn resolve<'a>(&self, text: &'a str) -> Result<(&'a str, &'a str), Error>
    where
        'static: 'a,
    {
        let (section, name) = text.split_once('.').unwrap_or((self.main, text));
        self.check_key(section, name)
            .map_err(|fault| Error::new(Kind::Unknown, text.escape_debug().to_string(), &fault))?;
        Ok(self.renamed(section, name).unwrap_or((section, name)))
    }

    /// Refuses sections and keys that the table does not have.
    ///
    /// # Errors
    /// The first one in the document, with its place.
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

    /// The text of a key's value: what the document says, or the default when it says nothing.
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
    /// When the document's value is not of the type; with its place.
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
    /// When the document's value is not of the type; with its place.
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
        // Either the name alone is nearly right, and its section is not, or the two together are.
        let effort = |key: &Key, full: &String| {
            let moved = usize::from(key.section != section);
            (distance(name, key.name).min(distance(&written, full)), moved)
        };
        let nearest = self.keys.iter().zip(&full_names).min_by_key(|(key, full)| effort(key, full));
        let hint = suggestion(nearest.map(|(_, full)| full.as_str()));
        Err(Invalid::new(format!("there is no key {} in section {}", quoted(name), quoted(section)), hint))
    }
}

/// The error for a key whose value is wrong: at the value, or at no place when it is a default.
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

/// `fault`, with another way out when it is probably due to a comment behind the value.
fn commented(value: &str, fault: &Invalid) -> Invalid {
    match value.contains(" #") || value.contains(" ;") {
        true => Invalid::new(fault.why(), "put the comment on a line of its own"),
        false => fault.clone(),
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(|| "remove it".to_owned(), |nearest| format!("did you mean '{nearest}'?"))
}
