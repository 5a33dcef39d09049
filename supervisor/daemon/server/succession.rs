//! How the running supervisor executes another program in its place, and how that program takes over.
//!
//! The process, its lock, its socket and its children are kept; see `handover` for the transferred state. Clients that
//! connect in the meantime wait in the socket's queue. Monitors are reconnected as after a crash, through their control
//! sockets.

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
    /// Takes over from the previous program in the same process: the lock, the socket and the children are kept.
    ///
    /// # Errors
    /// On any failure; there is then no supervisor.
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
        log::info!("supervisor {} takes over", env!("CARGO_PKG_VERSION"));
        Ok(server)
    }

    /// Executes another program. Returns only on failure, and then the supervisor continues unchanged.
    pub(super) fn hand_over(&mut self, asker: Pid, program: &OwnedFd) {
        self.workers.dismiss_standby();
        log::info!("supervisor {} executes another program", env!("CARGO_PKG_VERSION"));
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
