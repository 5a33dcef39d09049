//! The process that monitors one container: parent of its PID 1, owner of its console, its control groups and its
//! socket.
//!
//! The worker of `ds start` forks it. It lives until the container ends for good; a reboot inside, or `ds restart`, is
//! a loop in the monitor, so that the root file system stays mounted. It has one thread and one poll loop, and sleeps
//! until an event occurs. When it ends for any reason, PID 1 ends with it (PR_SET_PDEATHSIG), and every mount ends with
//! the mount namespace.

mod calls;
mod clients;
mod console;
mod early;
pub mod firmware;
mod first_process;
mod hotplug;
pub mod last_exit;
mod name_servers;
mod notify;
mod part;
pub mod protocol;
mod readiness;
mod run;
mod setup;
mod state;
mod stopping;
pub mod surroundings;
mod tree;

pub use self::run::run;
pub use self::setup::{Origin, Setup};
pub use self::stopping::is_stopped;
