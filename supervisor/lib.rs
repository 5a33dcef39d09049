//! Droidspaces Supervisor.
pub mod config;
