//! The code that runs after clone(2), until a program of the container is executed: PID 1's and every session's.
//!
//! Owns what the new process does in its namespaces, and what it tells its parent. Everything that can be decided or
//! opened was decided and opened before the clone; here are system calls in an order. Knows no monitor, no worker and
//! no lock.

pub mod android;
pub mod init;
pub mod name_servers;
pub mod program;
mod refusal;
pub mod user;
pub mod wire;
