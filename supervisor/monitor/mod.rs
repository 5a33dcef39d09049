//! The process that stays with one container: parent of its PID 1, owner of its console, its groups and its socket.
//!
//! Forked by the worker of `ds start`. It lives until the container ends for good; a reboot inside, or `ds restart`,
//! loops here, so that the root file system stays attached. Single-threaded, one poll loop, asleep unless something
//! happens. When it ends, in whatever way, PID 1 ends with it (PR_SET_PDEATHSIG) and every mount goes with the
//! mount namespace.

mod clients;
mod console;
mod early;
mod first_process;
pub mod last_exit;
mod name_servers;
mod notify;
pub mod protocol;
mod readiness;
mod run;
mod setup;
mod state;
mod stopping;
mod tree;

pub use self::run::run;
pub use self::setup::{Origin, Setup};
pub use self::stopping::is_stopped;
