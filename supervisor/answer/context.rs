//! The facts that a decision uses, and its possible outcomes. Owns the access to a caller's memory and descriptors.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::memory;
use super::place::Place;
use super::reboot::End;
use crate::cgroup::Cgroup;
use crate::sys::notification::{Notification, Reply, is_waiting};
use crate::sys::process;

/// The facts that a decision uses.
pub(super) struct Context<'a> {
    pub(super) place: &'a Place,
    /// The first process with the caller's filter.
    pub(super) first: Pid,
    pub(super) listener: BorrowedFd<'a>,
    pub(super) cgroup: &'a Cgroup,
}

/// A call whose caller may end before the reply: another process can then get the caller's number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending<'a> {
    listener: BorrowedFd<'a>,
    id: u64,
}

impl Pending<'_> {
    /// Whether everything read about the caller so far was about the caller.
    pub(super) fn is_waiting(self) -> bool {
        is_waiting(self.listener, self.id)
    }
}

impl<'a> Context<'a> {
    /// Whether the callers are PID 1 and its descendants, and not those of a session.
    pub(super) fn is_managers(&self) -> bool {
        self.first == self.place.manager
    }

    pub(super) fn pending(&self, question: &Notification) -> Pending<'a> {
        Pending { listener: self.listener, id: question.id }
    }
}

/// The outcome of a decision.
pub(super) enum Outcome {
    /// Send this reply.
    Reply(Reply),
    /// Send this reply, then run the function. A signal before the reply would interrupt the call and repeat it.
    ReplyFirst(Reply, Box<dyn FnOnce()>),
    /// Install this descriptor in the caller, and reply with its number.
    Descriptor(OwnedFd),
    /// End the container.
    End(End),
}

impl fmt::Debug for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(reply) | Self::ReplyFirst(reply, _) => write!(formatter, "{reply:?}"),
            Self::Descriptor(file) => write!(formatter, "{file:?}"),
            Self::End(end) => write!(formatter, "{end:?}"),
        }
    }
}

pub(super) const CONTINUE: Outcome = Outcome::Reply(Reply::Continue);

/// Duplicates a descriptor of the caller's process. Fails unless its call is still waiting afterwards.
pub(super) fn duplicate(pending: Pending<'_>, caller: Pid, number: i32) -> Result<OwnedFd, Errno> {
    let process = process::pidfd_open(caller)?;
    let file = process::pidfd_getfd(process.as_fd(), number)?;
    if pending.is_waiting() { Ok(file) } else { Err(Errno::ESRCH) }
}

/// Copies memory of a caller. Fails unless the caller's call is still waiting afterwards.
pub(super) fn read_memory<const LENGTH: usize>(
    context: &Context<'_>,
    question: &Notification,
    address: u64,
) -> Result<[u8; LENGTH], Errno> {
    let bytes = memory::read(Pid::from_raw(question.thread.cast_signed()), address)?;
    if context.pending(question).is_waiting() { Ok(bytes) } else { Err(Errno::EFAULT) }
}

/// The lower half of an argument. All examined arguments are of type `int` or `pid_t`.
pub(super) fn low(argument: u64) -> u32 {
    (argument & 0xffff_ffff) as u32
}
