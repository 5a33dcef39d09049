//! The supervisor process: one poll loop that accepts clients, forks workers and watches monitors.
//!
//! Runs no command itself: what commands do is handed in as a function. What is decided (restarts, autostart) is
//! in `policy`; `launch`, `seal` and `detach` are the way from a shell to a clean process; `server` is the loop.

mod adoption;
mod conditions;
mod containers;
pub mod detach;
pub mod guard;
pub mod handover;
mod late_start;
pub mod launch;
pub mod monitors;
pub mod peer;
pub mod policy;
pub mod seal;
pub mod server;
mod succession;
pub mod task;
pub mod watch;
mod workers;
