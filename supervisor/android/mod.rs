//! Android as the machine below: its properties, its shared storage, its wakelocks, and the list of modules.
//!
//! Facts, and effects on the host that are undone again. No process of ours is known here. Everything is found through
//! the programs and files that every Android has, so that a directory tree with the same files will do for tests.

pub mod changes;
pub mod manager;
pub mod property;
pub mod storage;
pub mod wakelock;
