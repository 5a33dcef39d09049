//! The supervisor process: one poll loop that accepts clients, forks workers and watches monitors.
//!
//! It never runs a command: the code for commands is passed in as a function. `policy` decides about restarts and
//! autostart; `launch`, `seal` and `detach` lead from a shell to a clean process; `server` is the loop.

mod adoption;
mod autostart;
mod cleanup;
mod conditions;
pub mod detach;
pub mod environment;
pub mod guard;
pub mod handover;
pub mod launch;
mod module_status;
pub mod monitors;
mod name_servers;
mod networks;
pub mod policy;
pub mod seal;
pub mod server;
pub mod task;
mod wakelocks;
pub mod watch;
mod workers;
