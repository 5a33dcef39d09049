//! The content of the server, for its loop and for each connection.

use super::pages::Pages;
use super::session::Session;
use crate::paths::Paths;

/// The content.
#[derive(Debug)]
pub(super) struct Site<'a> {
    /// Its port.
    pub port: u16,
    /// Its files.
    pub pages: Pages,
    /// Who may see them.
    pub session: &'a Session,
    /// Where the supervisor is reached.
    pub paths: &'a Paths,
}
