//! Finds a container's monitor. Owns nothing and waits for no answer: `talk` does.

use std::os::fd::OwnedFd;

use anyhow::Result;

use crate::config::value::Name;
use crate::paths::Paths;
use crate::socket;

/// Connects to the monitor of a container; `None` if it is not running.
///
/// # Errors
/// If the run directory cannot be read.
pub fn monitor(paths: &Paths, name: &Name) -> Result<Option<OwnedFd>> {
    socket::connect_to(&paths.control(name))
}
