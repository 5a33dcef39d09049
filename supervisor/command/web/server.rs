//! The loop of the server: accepts connections, forks a process for each, and ends after ten minutes without
//! one. Connections of strangers, who have not sent the cookie, make room for new ones. accept(2), fork(2).

use std::io::{PipeReader, Read, pipe};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::connection;
use super::site::Site;
use crate::poll::{PollSet, timeout};
use crate::sys::process::{Fork, exit_immediately, fork, kill};

/// The timeout without a connection.
const IDLE: Duration = Duration::from_secs(600);
/// Maximum number of simultaneous connections; a browser uses six.
const MAX: usize = 40;

/// The process of a connection.
struct Connected {
    pid: Pid,
    /// Receives a byte when the browser has sent the cookie, and closes with the process.
    life: PipeReader,
    is_stranger: bool,
}

/// Serves until the timeout without a connection.
pub(super) fn serve(listener: &TcpListener, site: &Site<'_>) {
    let mut connections: Vec<Connected> = Vec::new();
    let mut since = Instant::now();
    loop {
        let mut set = PollSet::default();
        let stranger = connections.iter().find(|one| one.is_stranger).map(|one| one.pid);
        if connections.len() < MAX || stranger.is_some() {
            set.input(None, listener.as_fd());
        }
        for one in &connections {
            set.input(Some(one.pid), one.life.as_fd());
        }
        let left = connections.is_empty().then(|| IDLE.saturating_sub(since.elapsed()));
        let Ok(ready) = set.wait(timeout(left)) else { return };
        for ready in ready {
            match ready {
                None => {
                    if let Some(oldest) = stranger.filter(|_| connections.len() >= MAX) {
                        let _ = kill(oldest, Signal::SIGKILL as i32);
                        end(&mut connections, oldest);
                    }
                    if let Ok((stream, _)) = listener.accept() {
                        connections.extend(begin(listener, stream, site));
                    }
                }
                Some(pid) => {
                    let Some(one) = connections.iter_mut().find(|one| one.pid == pid) else { continue };
                    one.is_stranger = false;
                    if !matches!(one.life.read(&mut [0]), Ok(1)) {
                        end(&mut connections, pid);
                        since = Instant::now();
                    }
                }
            }
        }
        if connections.is_empty() && since.elapsed() >= IDLE {
            return;
        }
    }
}

fn end(connections: &mut Vec<Connected>, pid: Pid) {
    let _ = waitpid(pid, None);
    connections.retain(|one| one.pid != pid);
}

/// Forks a process that answers a connection.
fn begin(listener: &TcpListener, stream: TcpStream, site: &Site<'_>) -> Option<Connected> {
    let (life, end) = pipe().ok()?;
    match fork().ok()? {
        Fork::Parent(pid) => {
            drop((stream, end));
            Some(Connected { pid, life, is_stranger: true })
        }
        Fork::Child => {
            drop(life);
            // The port must be free as soon as the server has ended.
            let _ = nix::unistd::close(std::os::fd::AsRawFd::as_raw_fd(listener));
            connection::answer(stream, site, end);
            exit_immediately(0)
        }
    }
}
