//! How the running supervisor leaves its place to another program, and how that one takes it.
//!
//! The process, its lock, its socket and its children stay; see `handover` for what goes along. Clients that connect
//! meanwhile wait in the socket's queue. Monitors are found again as after a crash, by their control sockets.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::Result;
use nix::fcntl::FdFlag;
use nix::sys::signal::SigSet;
use nix::unistd::Pid;

use super::Server;
use crate::call;
use crate::daemon::handover::{self, State};
use crate::paths::Paths;
use crate::sys::descriptor::adopt;
use crate::worker::protocol::FromSupervisor;

impl Server {
    /// Takes the place of the program before, in the same process: the lock, the socket and the children stay.
    ///
    /// # Errors
    /// What is in the way; the place is empty then.
    pub fn succeed(paths: Paths, state: State, foreground: bool) -> Result<Self> {
        let (listener, lock) = (adopt(state.listener), adopt(state.lock));
        let mut server = Self::assemble(paths, listener, lock, foreground)?;
        server.workers.resume(state.workers, state.cancelling);
        let kept: Vec<_> =
            server.workers.descriptors().chain(server.lock.as_ref().map(AsFd::as_fd)).collect();
        handover::mark(&kept, FdFlag::FD_CLOEXEC)?;
        call!(SigSet::all().thread_unblock(), "sigprocmask")?;
        server.since = Duration::from_millis(state.since_ms);
        server.policy = state.policy;
        server.policy.limit(server.settings.start_parallel);
        server.autostart.resume(state.pending, state.guard);
        server.asker = Some(Pid::from_raw(state.asker));
        log::info!("supervisor {} takes the place", env!("CARGO_PKG_VERSION"));
        Ok(server)
    }

    /// Becomes another program. Returns only when that did not work, and then everything goes on as before.
    pub(super) fn hand_over(&mut self, asker: Pid, program: &OwnedFd) {
        self.workers.dismiss_standby();
        log::info!("supervisor {} leaves its place to another program", env!("CARGO_PKG_VERSION"));
        let Some(lock) = &self.lock else { return };
        let (pending, guard) = self.autostart.hand_over();
        let mut state = State {
            lock: lock.as_raw_fd(),
            since_ms: u64::try_from(self.since.as_millis()).unwrap_or(0),
            asker: asker.as_raw(),
            policy: std::mem::take(&mut self.policy),
            pending,
            guard,
            ..State::default()
        };
        self.workers.describe(&mut state);
        let kept: Vec<_> = self.workers.descriptors().chain([lock.as_fd()]).collect();
        let Err(error) = state.hand_over(program, &kept, &self.paths);
        self.policy = state.policy;
        self.autostart.resume(state.pending, state.guard);
        self.autostart.look_for_storage();
        log::error!("{error:#}");
        self.workers.tell(asker, &FromSupervisor::Failed(format!("{error:#}")));
    }
}
