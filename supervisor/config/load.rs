//! Reading a configuration file into a document. Owns the errors of that; knows no key.

use std::io;
use std::path::Path;

use super::error::{Error, Kind};
use super::ini::{self, Document};
use super::value::Invalid;
use crate::durable;

pub(super) fn load_document(path: &Path) -> Result<Document, Error> {
    let limit = u64::try_from(ini::LARGEST_FILE).unwrap_or(u64::MAX);
    match durable::read(path, limit) {
        Ok(bytes) => Document::parse(&bytes, path),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(ini::too_large(path)),
        Err(error) => {
            let (kind, hint) = match error.kind() {
                io::ErrorKind::NotFound => (Kind::NotFound, "create the container with 'ds create'"),
                _ => (Kind::Read, "check the file and its permissions"),
            };
            let fault = Invalid::new(format!("cannot be read: {error}"), hint);
            Err(Error::new(kind, "", &fault).of_file(path))
        }
    }
}
