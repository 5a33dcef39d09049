//! The loop of the server: accepts connections, forks a process for each, and ends after ten minutes without
//! one. accept(2), fork(2).

use std::io::pipe;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::connection;
use super::site::Site;
use crate::poll::{PollSet, timeout};
use crate::sys::process::{Fork, exit_immediately, fork};

/// The timeout without a connection.
const IDLE: Duration = Duration::from_secs(600);
/// Maximum number of simultaneous connections; a browser uses six, and those of other programs time out soon.
const MAX: usize = 40;

/// Serves until the timeout without a connection.
pub(super) fn serve(listener: &TcpListener, site: &Site<'_>) {
    let mut connections: Vec<(Pid, OwnedFd)> = Vec::new();
    let mut since = Instant::now();
    loop {
        let mut set = PollSet::default();
        if connections.len() < MAX {
            set.input(None, listener.as_fd());
        }
        for (pid, life) in &connections {
            set.input(Some(*pid), life.as_fd());
        }
        let left = connections.is_empty().then(|| IDLE.saturating_sub(since.elapsed()));
        let Ok(ready) = set.wait(timeout(left)) else { return };
        for ready in ready {
            match ready {
                None => {
                    if let Ok((stream, _)) = listener.accept() {
                        connections.extend(begin(listener, stream, site));
                    }
                }
                Some(pid) => {
                    let _ = waitpid(pid, None);
                    connections.retain(|(other, _)| *other != pid);
                    since = Instant::now();
                }
            }
        }
        if connections.is_empty() && since.elapsed() >= IDLE {
            return;
        }
    }
}

/// Forks a process that answers a connection; the descriptor closes with the process.
fn begin(listener: &TcpListener, stream: TcpStream, site: &Site<'_>) -> Option<(Pid, OwnedFd)> {
    let (life, end) = pipe().ok()?;
    match fork().ok()? {
        Fork::Parent(pid) => {
            drop((stream, end));
            Some((pid, life.into()))
        }
        Fork::Child => {
            drop(life);
            // The port must be free as soon as the server has ended.
            let _ = nix::unistd::close(std::os::fd::AsRawFd::as_raw_fd(listener));
            connection::answer(stream, site);
            drop(end);
            exit_immediately(0)
        }
    }
}
