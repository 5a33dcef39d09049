//! The settings of the user: `container.ini` and `supervisor.ini` as typed values, valid by construction.
//!
//! Owns those types (`sections`), the table of keys (`keys`) and the conversion between a file's text and them
//! (`container`, `edit`). Decides nothing (that is `plan`), probes nothing (that is `host`), and opens no file but the
//! configuration itself.

mod container;
mod edit;
mod error;
mod images;
pub mod ini;
mod keys;
mod load;
mod once;
mod own;
mod schema;
mod sections;
mod seeding;
mod supervisor;
pub mod value;

pub use container::SCHEMA;
pub use edit::assignment;
pub use error::{Error, Kind};
pub use images::Images;
pub use keys::KEYS;
pub use once::Once;
pub use schema::{Form, Key, Schema};
pub use sections::{Android, Config, Container, Hardware, Limits, Mounts, Network, RootSource, Security};
pub use seeding::Seeding;
pub use supervisor::Supervisor;
