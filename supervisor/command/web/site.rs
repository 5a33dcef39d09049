//! The data that the loop of the server and each connection use.

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
    /// The session that may access them.
    pub session: &'a Session,
    /// The paths with the supervisor's socket.
    pub paths: &'a Paths,
}
