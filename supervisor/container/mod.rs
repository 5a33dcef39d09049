//! What the host does with one container: its lock, its state, starting and joining it, and what it leaves behind.
//!
//! Owns the run directory of a container and the way to its monitor. What runs after clone(2) is in `child`.

pub mod attach;
pub mod leftovers;
pub mod lock;
pub mod occupied;
pub mod shell;
pub mod start;
pub mod status;
pub mod talk;
pub mod usage;

pub use self::leftovers::sweep;
pub use self::lock::Lock;
pub use self::status::monitor;
