//! The host's operations on one container: its lock, its state, starting and joining it, and the removal of its
//! remains.
//!
//! Owns the run directory of a container and the connection to its monitor. `child` has the code that runs after
//! clone(2).

pub mod attach;
pub mod leftovers;
pub mod lock;
pub mod occupied;
pub mod shell;
mod shell_calls;
pub mod start;
pub mod status;
pub mod talk;
pub mod usage;

pub use self::leftovers::{forget, sweep};
pub use self::lock::Lock;
pub use self::status::monitor;
