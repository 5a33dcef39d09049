//! Finding a container's monitor. Owns nothing and waits for no answer: that is `talk`.

use std::os::fd::OwnedFd;

use anyhow::Result;

use crate::config::value::Name;
use crate::paths::Paths;
use crate::socket;

/// Connects to the monitor of a container; `None` when it is not running.
///
/// # Errors
/// When the run directory cannot be read.
pub fn monitor(paths: &Paths, name: &Name) -> Result<Option<OwnedFd>> {
    socket::connect_to(&paths.control(name))
}
