//! Droidspaces Supervisor.

pub mod cli;
pub mod command;
pub mod compat;
pub mod exit;
pub mod nearest;
