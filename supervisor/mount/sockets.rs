//! Unix sockets of the host in a container.
//!
//! Owns the search for one. The directory that a socket is in may belong to a user of the host, such as an app of a
//! phone: links in it are not followed out of the configured directory, and only a socket is bound.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Result;
use nix::mount::MsFlags;
use nix::sys::stat::{SFlag, fstat};

use super::bind::bind;
use crate::rootfs::root::{Root, file_type};

/// Binds the first existing socket to one or two paths; returns the remedy as a warning if there is none.
///
/// # Errors
/// If it cannot be bound.
pub(super) fn bind_first(
    root: &Root,
    sources: &[(&str, &str)],
    (target, also): (&str, Option<&str>),
    remedy: &str,
) -> Result<Option<String>> {
    let Some(socket) = sources.iter().find_map(|(top, path)| find(top, path)) else {
        return Ok(Some(remedy.to_owned()));
    };
    for target in [Some(target), also].into_iter().flatten() {
        bind(&socket, &root.make_file(Path::new(target))?, MsFlags::empty())?;
    }
    Ok(None)
}

/// The socket at a path in a directory of the host.
#[must_use]
pub fn find(top: &str, path: &str) -> Option<OwnedFd> {
    let found = Root::open(Path::new(top)).ok()?.resolve_no_follow(Path::new(path)).ok()?;
    (file_type(&fstat(&found).ok()?) == SFlag::S_IFSOCK).then_some(found)
}
