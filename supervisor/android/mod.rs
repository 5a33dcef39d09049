//! Android as the host: its properties, its shared storage, its wakelocks, and the root manager's list of modules.
//!
//! Owns facts, and changes on the host that are undone again. It does not depend on processes of ds. It uses only
//! programs and files that every Android has, so that tests can simulate them with a directory tree.

pub mod changes;
pub mod manager;
pub mod property;
pub mod storage;
pub mod wakelock;
