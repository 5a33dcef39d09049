//! Reads configurations from files and writes changes back.
//!
//! Owns the reading, creation and editing of container.ini. Touches no other file.

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

/// The permission bits of a configuration file, which may contain secrets in environment variables.
const MODE: u32 = 0o600;

impl Config {
    /// Reads the configuration of the container `name` from the file `path`.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if the file does not exist, else the first error in it.
    pub fn load(path: &Path, name: &Name) -> Result<Self, Error> {
        container::read(&expanded(load_document(path)?, name), name)
    }

    /// Reads the configuration of the container `name` from `text`, the content of `file`.
    ///
    /// # Errors
    /// The first error in the text, with its position.
    pub fn parse(text: &[u8], file: &Path, name: &Name) -> Result<Self, Error> {
        container::read(&expanded(Document::parse(text, file)?, name), name)
    }

    /// The configuration from `assignments` (keys and values), for a container without a file.
    ///
    /// # Errors
    /// The first invalid key or value.
    pub fn transient(name: &Name, assignments: &[(impl AsRef<str>, impl AsRef<str>)]) -> Result<Self, Error> {
        let mut document = Document::empty(Path::new(""));
        apply(&mut document, assignments)?;
        complete(&mut document)?;
        container::read(&document, name).map_err(Error::without_place)
    }

    /// Writes the new file `path` with `assignments` and a new UUID; returns the configuration.
    ///
    /// The caller prevents concurrent creation of the same container.
    ///
    /// # Errors
    /// [`Kind::Exists`], the first invalid key or value, or why the file cannot be written; no file then exists.
    pub fn create(
        path: &Path,
        name: &Name,
        assignments: &[(impl AsRef<str>, impl AsRef<str>)],
    ) -> Result<Self, Error> {
        if path.symlink_metadata().is_ok() {
            let fault =
                Invalid::new("the file already exists", "choose another name, or change it with 'ds set'");
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

    /// Changes the keys of `assignments` in the file `path`; an empty value removes a key. Everything else in the
    /// file is preserved. The complete result is validated before it is written.
    ///
    /// # Errors
    /// The first invalid key or value, an error elsewhere in the file, or why it cannot be read or written; the file
    /// is then unchanged.
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

    /// The result of [`Config::edit`] on the file `path`, without writing it.
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

    /// Replaces the file `path` by `text`, or only checks it if not `written`. A text without a UUID keeps
    /// that of the file.
    ///
    /// # Errors
    /// The first error in the text, with its position, or why the file cannot be read or written.
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

    /// Writes the new file `path` with `text`, another container's configuration, changed by
    /// `assignments` and with a new UUID. Comments are preserved, except the first line if ds wrote it.
    ///
    /// # Errors
    /// As for [`Config::create`], and the first error in the text.
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

    /// The text of the configuration of the container `name` with absolute paths, so that it is valid
    /// anywhere on this machine.
    ///
    /// # Errors
    /// An error in the text.
    pub fn detached(text: &[u8], file: &Path, name: &Name) -> Result<String, Error> {
        Ok(expanded(Document::parse(text, file)?, name).to_string())
    }

    /// The text of a configuration without machine-specific settings: the UUID and the location of the root file
    /// system.
    ///
    /// # Errors
    /// An error in the text.
    pub fn portable(text: &[u8], file: &Path, name: &Name) -> Result<String, Error> {
        let mut document = expanded(Document::parse(text, file)?, name);
        for key in ["uuid", "rootfs", "image", "image-partition"] {
            document.unset("container", key);
        }
        Ok(document.to_string())
    }

    /// The value of `key`, or its default; empty if it has none. `container.` can be omitted.
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

    /// All keys as `section.key` with their values, in the order of the table; environment variables last.
    pub fn settings(&self) -> Vec<(String, String)> {
        let known =
            KEYS.iter().map(|key| (key.full_name(), self.text_of(key.section, key.name).unwrap_or_default()));
        let free =
            self.environment.iter().map(|(name, value)| (format!("environment.{name}"), value.clone()));
        known.chain(free).collect()
    }
}

/// The text of the file `path` with new values, if it changes, and the resulting configuration.
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
        // Lines may have moved; an error that existed before is reported at its position in the file on disk.
        container::read(&expanded(original.clone(), name), name)
            .err()
            .unwrap_or_else(|| error.of_command_line())
    })?;
    Ok(((document != original).then_some(text), config))
}

/// The first line of a new file.
const HEADING: &str = "# 'ds get NAME' shows all settings, 'ds set NAME KEY=VALUE' changes one here.\n";

/// The document with absolute paths.
fn expanded(mut document: Document, name: &Name) -> Document {
    if let Some(place) = own::Place::of(document.file(), name) {
        place.expand(&mut document);
    }
    document
}

/// The document to write: without the name of the container's own directory.
fn localise(document: &mut Document, name: &Name) {
    if let Some(place) = own::Place::of(document.file(), name) {
        place.localise(document);
    }
}

/// The key and the value of `text`, which is `key=value` from a command line.
///
/// # Errors
/// If there is no `=`.
pub fn assignment(text: &str) -> Result<(&str, &str), Error> {
    text.split_once('=').ok_or_else(|| {
        let fault = Invalid::new("no '=' in it", "write KEY=VALUE, or KEY= to restore the default");
        Error::new(Kind::Syntax, value::quoted(text), &fault)
    })
}

/// Applies `assignments` to `document`; returns the full names of the keys.
fn apply(
    document: &mut Document,
    assignments: &[(impl AsRef<str>, impl AsRef<str>)],
) -> Result<BTreeSet<String>, Error> {
    let mut assigned = BTreeSet::new();
    for (key, value) in assignments {
        let (key, value) = (key.as_ref(), value.as_ref());
        let (section, name) = match (SCHEMA.resolve(key), key.split_once('.')) {
            (Ok(found), _) => found,
            // An invalid key can be removed.
            (Err(_), Some(written)) if value.is_empty() && document.get(written.0, written.1).is_some() => {
                written
            }
            (Err(error), _) => return Err(error),
        };
        let full_name = format!("{section}.{name}");
        // The key replaces its old spelling.
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

/// `assignments` in the order of the table, so that a new file has each section once and in the usual order.
fn sorted<K: AsRef<str>, V: AsRef<str>>(assignments: &[(K, V)]) -> Vec<(&str, &str)> {
    let mut sorted: Vec<_> = assignments.iter().map(|(key, value)| (key.as_ref(), value.as_ref())).collect();
    sorted.sort_by_key(|(key, _)| {
        let place = |(section, name)| KEYS.iter().position(|key| key.section == section && key.name == name);
        SCHEMA.resolve(key).ok().and_then(place).unwrap_or(KEYS.len())
    });
    sorted
}

/// Adds the generated settings that every container needs to `document`.
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
