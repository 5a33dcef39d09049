//! Whether the kernel lets another process answer calls. Owns that probe, which changes nothing.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::unistd::getppid;
use seccompiler::sock_filter;

use crate::poll::{PollSet, timeout};
use crate::subprocess::{self, Subprocess};
use crate::sys::notification::{self, Reply};
use crate::sys::process::{self, Fork, exit_immediately};
use crate::sys::seccomp;

/// Answering a call of another process, seccomp_unotify(2), by having the kernel execute it (5.5).
#[must_use]
pub fn answers_calls() -> bool {
    const TIMEOUT: Duration = Duration::from_secs(5);
    let trial = || -> Result<()> {
        let call = u32::try_from(libc::SYS_getppid)?;
        let listener = seccomp::install_with_listener(&notifying(call))?;
        let child = match process::fork()? {
            Fork::Child => {
                getppid();
                exit_immediately(0);
            }
            Fork::Parent(child) => Subprocess::own(child),
        };
        let mut set = PollSet::default();
        set.input((), listener.as_fd());
        ensure!(!set.wait(timeout(Some(TIMEOUT)))?.is_empty(), "the call did not arrive");
        let call = notification::receive(listener.as_fd())?;
        notification::send(listener.as_fd(), call.id, Reply::Continue)?;
        drop(child);
        Ok(())
    };
    subprocess::succeeds(|| trial().is_ok()).unwrap_or(false)
}

/// A filter that passes one call on, and allows every other one.
fn notifying(call: u32) -> Vec<sock_filter> {
    const LOAD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const PASS_ON: u32 = 0x7fc0_0000;
    let step = |code, jf, k| sock_filter { code, jt: 0, jf, k };
    vec![step(LOAD, 0, 0), step(JUMP_EQUAL, 1, call), step(RETURN, 0, PASS_ON), step(RETURN, 0, ALLOW)]
}
