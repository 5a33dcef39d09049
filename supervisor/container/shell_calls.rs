//! The calls of a temporary container without a PID namespace: a process of its own answers them.
//!
//! Owns that process, which lives as long as the worker's handle of it, and the connection on which the program hands its
//! listener over. `answer` has the answers.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

use crate::answer::Answerer;
use crate::cgroup::Cgroup;
use crate::child::wire::FromChild;
use crate::poll::{PollSet, timeout_until};
use crate::socket;
use crate::subprocess::{Subprocess, release_streams};

/// Gives the listener to the process that answers, and waits until it has it.
///
/// # Errors
/// If that process has ended.
pub(super) fn hand_over(answers: Option<&OwnedFd>, listener: &OwnedFd) -> Result<()> {
    let answers = answers.context("no process answers its calls")?;
    socket::send(answers, &FromChild::Listener, &[listener.as_fd()])?;
    match socket::receive::<FromChild>(answers)?.map(|received| received.message) {
        Some(FromChild::Ready) => Ok(()),
        Some(FromChild::Failed(failed)) => Err(failed.into()),
        _ => bail!("the process that answers its calls has ended"),
    }
}

/// Forks the process that answers, for a container with this PID 1.
///
/// # Errors
/// If fork(2) fails.
pub(super) fn begin(
    connection: &OwnedFd,
    manager: Pid,
    group: [&str; 2],
    cgroup: &Cgroup,
) -> Result<Subprocess> {
    Subprocess::fork(|| match serve(connection, manager, group, cgroup) {
        Ok(()) => 0,
        Err(error) => {
            let _ = socket::send(connection, &FromChild::Failed((&error).into()), &[]);
            1
        }
    })
}

/// Answers until no process has the filter any more.
fn serve(connection: &OwnedFd, manager: Pid, group: [&str; 2], cgroup: &Cgroup) -> Result<()> {
    release_streams()?;
    let Some(received) = socket::receive::<FromChild>(connection)? else { return Ok(()) };
    let listener = received.descriptors.into_iter().next().context("the program sent no listener")?;
    let mut answerer = Answerer::new(listener, manager, group)?;
    socket::send(connection, &FromChild::Ready, &[])?;
    loop {
        let mut set = PollSet::default();
        answerer.descriptors().for_each(|descriptor| set.input((), descriptor));
        if set.wait(timeout_until(None))?.is_empty() {
            return Ok(());
        }
        answerer.serve(0, cgroup);
        if answerer.descriptors().next().is_none() || answerer.take_end().is_some() {
            return Ok(());
        }
    }
}
