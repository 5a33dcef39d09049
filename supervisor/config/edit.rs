//! From the file of a configuration to its values, and changes back into the file.
//!
//! Owns reading, making, changing and deriving container.ini. Touches no other file.

use std::collections::BTreeSet;
use std::path::Path;

use super::container::{self, SCHEMA};
use super::error::{Error, Kind};
use super::ini::Document;
use super::keys::KEYS;
use super::load::load_document;
use super::own;
use super::sections::Config;
use super::value::{self, Invalid, Name, Uuid};
use crate::durable;

/// The permission bits of a configuration file: environment variables may be secrets.
const MODE: u32 = 0o600;

impl Config {
    /// Reads the configuration of the container `name` from the file `path`.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is no such file, else the first fault in it.
    pub fn load(path: &Path, name: &Name) -> Result<Self, Error> {
        container::read(&expanded(load_document(path)?, name), name)
    }

    /// Reads the configuration of the container `name` from `text`, the content of `file`.
    ///
    /// # Errors
    /// The first fault in the text, with its place.
    pub fn parse(text: &[u8], file: &Path, name: &Name) -> Result<Self, Error> {
        container::read(&expanded(Document::parse(text, file)?, name), name)
    }

    /// The configuration that `assignments` (keys and values) describe, for a container that has no file.
    ///
    /// # Errors
    /// The first wrong key or value.
    pub fn transient(name: &Name, assignments: &[(impl AsRef<str>, impl AsRef<str>)]) -> Result<Self, Error> {
        let mut document = Document::empty(Path::new(""));
        apply(&mut document, assignments)?;
        complete(&mut document)?;
        container::read(&document, name).map_err(Error::without_place)
    }

    /// Writes the new file `path` with what `assignments` say and a fresh UUID, and returns the configuration it is.
    ///
    /// The caller keeps others from creating the same container meanwhile.
    ///
    /// # Errors
    /// [`Kind::Exists`], the first wrong key or value, or why the file cannot be written; then there is no file.
    pub fn create(
        path: &Path,
        name: &Name,
        assignments: &[(impl AsRef<str>, impl AsRef<str>)],
    ) -> Result<Self, Error> {
        if path.symlink_metadata().is_ok() {
            let fault =
                Invalid::new("the file exists already", "choose another name, or change it with 'ds set'");
            return Err(Error::new(Kind::Exists, "", &fault).of_file(path));
        }
        let mut document = Document::parse(HEADING.as_bytes(), path)?;
        apply(&mut document, &sorted(assignments))?;
        Self::write_new(document, path, name)
    }

    /// Writes the new file `path` with `document`, completed.
    fn write_new(mut document: Document, path: &Path, name: &Name) -> Result<Self, Error> {
        complete(&mut document)?;
        localise(&mut document, name);
        let text = document.to_string();
        let config = Self::parse(text.as_bytes(), path, name).map_err(Error::without_place)?;
        save(path, &text)?;
        Ok(config)
    }

    /// Changes the keys in `assignments` in the file `path`, where an empty value removes a key; everything else in the
    /// file stays as it is. The whole result is validated before it is written.
    ///
    /// # Errors
    /// The first wrong key or value, a fault elsewhere in the file, or why it cannot be read or written; then the file
    /// is unchanged.
    pub fn edit(
        path: &Path,
        name: &Name,
        assignments: &[(impl AsRef<str>, impl AsRef<str>)],
    ) -> Result<Self, Error> {
        let (changed, config) = edited(path, name, assignments)?;
        if let Some(text) = changed {
            save(path, &text)?;
        }
        Ok(config)
    }

    /// What [`Config::edit`] would make of the file `path`; nothing is written.
    ///
    /// # Errors
    /// As for [`Config::edit`].
    pub fn try_edit(
        path: &Path,
        name: &Name,
        assignments: &[(impl AsRef<str>, impl AsRef<str>)],
    ) -> Result<Self, Error> {
        Ok(edited(path, name, assignments)?.1)
    }

    /// Has `text` take the place of the file `path`, or only checks it if not `written`. A text without a UUID keeps
    /// that of the file.
    ///
    /// # Errors
    /// The first fault in the text, with its place, or why the file cannot be read or written.
    pub fn replace(path: &Path, name: &Name, text: &[u8], written: bool) -> Result<Self, Error> {
        let original = load_document(path)?;
        let mut document = Document::parse(text, path)?;
        if document.get("container", "uuid").is_none_or(str::is_empty)
            && let Some(uuid) = original.get("container", "uuid")
        {
            let uuid = uuid.to_owned();
            document.set("container", "uuid", &uuid).map_err(|fault| Error::new(Kind::Value, "", &fault))?;
        }
        let config = Self::parse(text, path, name)
            .and_then(|_| Self::parse(document.to_string().as_bytes(), path, name))?;
        if written {
            save(path, &document.to_string())?;
        }
        Ok(config)
    }

    /// Writes the new file `path` with `text`, the content of another container's configuration, changed by
    /// `assignments` and with a UUID of its own; comments are kept, but for the first line of ours.
    ///
    /// # Errors
    /// As for [`Config::create`], and the first fault in the text.
    pub fn derive(
        text: &[u8],
        path: &Path,
        name: &Name,
        assignments: &[(impl AsRef<str>, impl AsRef<str>)],
    ) -> Result<Self, Error> {
        let text = [HEADING.as_bytes(), own::without_heading(text, HEADING)].concat();
        let mut document = Document::parse(&text, path)?;
        document.unset("container", "uuid");
        apply(&mut document, assignments)?;
        Self::write_new(document, path, name)
    }

    /// The text of the configuration of the container `name` with every path in full, so that it means the same
    /// anywhere on this machine.
    ///
    /// # Errors
    /// A fault in the text.
    pub fn detached(text: &[u8], file: &Path, name: &Name) -> Result<String, Error> {
        Ok(expanded(Document::parse(text, file)?, name).to_string())
    }

    /// The text of a configuration without what belongs to one machine: its UUID and where its root file system is.
    ///
    /// # Errors
    /// A fault in the text.
    pub fn portable(text: &[u8], file: &Path, name: &Name) -> Result<String, Error> {
        let mut document = expanded(Document::parse(text, file)?, name);
        for key in ["uuid", "rootfs", "image", "image-partition"] {
            document.unset("container", key);
        }
        Ok(document.to_string())
    }

    /// What `key` is now, defaults included; empty when it has no value. `container.` may be left out.
    ///
    /// # Errors
    /// If there is no such key, or no such environment variable.
    pub fn get(&self, key: &str) -> Result<String, Error> {
        let (section, name) = SCHEMA.resolve(key)?;
        self.text_of(section, name).ok_or_else(|| {
            let fault = Invalid::new("the variable is not set", "set it with 'ds set'");
            Error::new(Kind::Missing, format!("{section}.{name}"), &fault)
        })
    }

    /// Every key with what it is now, `section.key` and value, in the order of the table; environment variables last.
    pub fn settings(&self) -> Vec<(String, String)> {
        let known =
            KEYS.iter().map(|key| (key.full_name(), self.text_of(key.section, key.name).unwrap_or_default()));
        let free =
            self.environment.iter().map(|(name, value)| (format!("environment.{name}"), value.clone()));
        known.chain(free).collect()
    }
}

/// The text of the file `path` with new values, unless it stays as it is, and the configuration that it is.
fn edited(
    path: &Path,
    name: &Name,
    assignments: &[(impl AsRef<str>, impl AsRef<str>)],
) -> Result<(Option<String>, Config), Error> {
    let original = load_document(path)?;
    let mut document = original.clone();
    let assigned = apply(&mut document, assignments)?;
    localise(&mut document, name);
    let text = document.to_string();
    let config = Config::parse(text.as_bytes(), path, name).map_err(|error| {
        if assigned.contains(error.what()) {
            return error.without_place();
        }
        // Lines may have moved; a fault that was there before is where the file on disk has it.
        container::read(&expanded(original.clone(), name), name).err().unwrap_or(error)
    })?;
    Ok(((document != original).then_some(text), config))
}

/// The first line of a new file.
const HEADING: &str = "# 'ds get NAME' shows all settings, 'ds set NAME KEY=VALUE' changes one here.\n";

/// The document with every path in full.
fn expanded(mut document: Document, name: &Name) -> Document {
    if let Some(place) = own::Place::of(document.file(), name) {
        place.expand(&mut document);
    }
    document
}

/// The document as it is to be written: without the name of the container's own directory.
fn localise(document: &mut Document, name: &Name) {
    if let Some(place) = own::Place::of(document.file(), name) {
        place.localise(document);
    }
}

/// The key and the value in `text`, `key=value` from a command line.
///
/// # Errors
/// If there is no `=`.
pub fn assignment(text: &str) -> Result<(&str, &str), Error> {
    text.split_once('=').ok_or_else(|| {
        let fault = Invalid::new("no '=' in it", "write KEY=VALUE, or KEY= to go back to the default");
        Error::new(Kind::Syntax, value::quoted(text), &fault)
    })
}

/// Makes the changes of `assignments` in `document`; returns the full names of the keys they are about.
fn apply(
    document: &mut Document,
    assignments: &[(impl AsRef<str>, impl AsRef<str>)],
) -> Result<BTreeSet<String>, Error> {
    let mut assigned = BTreeSet::new();
    for (key, value) in assignments {
        let (key, value) = (key.as_ref(), value.as_ref());
        let (section, name) = match (SCHEMA.resolve(key), key.split_once('.')) {
            (Ok(found), _) => found,
            // A key the file should not have can be removed, at least.
            (Err(_), Some(written)) if value.is_empty() && document.get(written.0, written.1).is_some() => {
                written
            }
            (Err(error), _) => return Err(error),
        };
        let full_name = format!("{section}.{name}");
        // The key takes the place of its old spelling.
        if let Some((old_section, old_name)) = SCHEMA.old_spelling(section, name) {
            document.unset(old_section, old_name);
        }
        if value.is_empty() {
            document.unset(section, name);
        } else {
            document
                .set(section, name, value)
                .map_err(|fault| Error::new(Kind::Value, &full_name, &fault))?;
        }
        assigned.insert(full_name);
    }
    Ok(assigned)
}

/// `assignments` in the order of the table, so that a new file has each section once and in its usual place.
fn sorted<K: AsRef<str>, V: AsRef<str>>(assignments: &[(K, V)]) -> Vec<(&str, &str)> {
    let mut sorted: Vec<_> = assignments.iter().map(|(key, value)| (key.as_ref(), value.as_ref())).collect();
    sorted.sort_by_key(|(key, _)| {
        let place = |(section, name)| KEYS.iter().position(|key| key.section == section && key.name == name);
        SCHEMA.resolve(key).ok().and_then(place).unwrap_or(KEYS.len())
    });
    sorted
}

/// Gives `document` what every container needs and nobody writes by hand.
fn complete(document: &mut Document) -> Result<(), Error> {
    if document.get("container", "uuid").is_some() {
        return Ok(());
    }
    let failed =
        |why: String| Error::new(Kind::Missing, "container.uuid", &Invalid::new(why, "set it yourself"));
    let uuid = Uuid::random().map_err(|error| failed(format!("/dev/urandom cannot be read: {error}")))?;
    document.set("container", "uuid", &uuid.to_string()).map_err(|fault| failed(fault.why().to_owned()))
}

fn save(path: &Path, text: &str) -> Result<(), Error> {
    durable::write(path, text.as_bytes(), MODE).map_err(|error| {
        let fault =
            Invalid::new(format!("cannot be written: {error}"), "check the directory and its file system");
        Error::new(Kind::Write, "", &fault).of_file(path)
    })
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
