//! The input of a monitor from the worker that forks it. Owns these types only.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use crate::config::{Config, Once, Supervisor as Settings};
use crate::host::Host;
use crate::paths::Paths;

/// The input of a monitor.
#[derive(Debug)]
pub struct Setup {
    /// The container.
    pub config: Config,
    /// The options of this start in addition to the file; already applied to `config`.
    pub once: Once,
    /// The paths of ds.
    pub paths: Paths,
    /// The properties of this machine.
    pub host: Rc<Host>,
    /// The configuration of the supervisor.
    pub settings: Settings,
    /// The sockets.
    pub origin: Origin,
}

/// The sockets of a monitor.
#[derive(Debug)]
pub struct Origin {
    /// The container's control socket.
    pub listener: OwnedFd,
    /// The connection to the worker, until PID 1 runs.
    pub report: OwnedFd,
}
