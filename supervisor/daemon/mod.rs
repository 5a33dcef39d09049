//! The supervisor process: one poll loop that accepts clients, forks workers and watches monitors.
//!
//! Runs no command itself. What is decided (restarts, autostart) is in `policy`, what is done in the rest.

pub mod policy;
pub mod protocol;
pub mod worker;
