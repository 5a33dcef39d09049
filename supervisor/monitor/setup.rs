//! What a monitor is given by the worker that forks it.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use crate::config::{Config, Once, Supervisor as Settings};
use crate::host::Host;
use crate::paths::Paths;

/// What a worker hands to the monitor that it forks.
#[derive(Debug)]
pub struct Setup {
    /// The container.
    pub config: Config,
    /// What was asked for beyond its file; already in `config`.
    pub once: Once,
    /// Where everything of ours is.
    pub paths: Paths,
    /// What this machine is.
    pub host: Rc<Host>,
    /// How the supervisor is configured.
    pub settings: Settings,
    /// The sockets.
    pub origin: Origin,
}

/// The sockets of a monitor.
#[derive(Debug)]
pub struct Origin {
    /// The container's control socket.
    pub listener: OwnedFd,
    /// Where the start is reported, until PID 1 runs.
    pub report: OwnedFd,
}
