//! The code that runs after clone(2) until a program of the container is executed: for PID 1 and for every session.
//!
//! Owns the steps of the new process in its namespaces, and its messages to the parent. All decisions are made and all
//! files are opened before the clone; this code only makes system calls in a fixed order. It does not depend on
//! monitors, workers or locks.

pub mod android;
pub mod clocks;
pub mod init;
pub mod name_servers;
pub mod program;
mod refusal;
pub mod user;
pub mod wire;
