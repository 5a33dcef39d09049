//! Droidspaces Supervisor.

pub mod cli;
pub mod exit;
