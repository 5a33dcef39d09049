//! A mount namespace of the caller's own. Owns how it is entered; mounts nothing else. mount_namespaces(7).

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::call;
use crate::sys::CallError;

/// Moves this process into a new mount namespace. Later mounts of the host still appear in it; the host sees none of
/// the mounts made here.
///
/// # Errors
/// If unshare(2) or mount(2) fails.
pub fn enter_private_namespace() -> Result<(), CallError> {
    call!(unshare(CloneFlags::CLONE_NEWNS), "unshare(CLONE_NEWNS)")?;
    let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    call!(mount(None::<&str>, "/", None::<&str>, slave, None::<&str>), "mount(/, slave)")
}
