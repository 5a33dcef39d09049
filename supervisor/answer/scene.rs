//! What an answer is made from, and what one can be. Owns the access to a caller's memory and descriptors.

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

/// What a decision is made from.
pub(super) struct Scene<'a> {
    pub(super) place: &'a Place,
    /// The first process with the caller's filter.
    pub(super) first: Pid,
    pub(super) listener: BorrowedFd<'a>,
    pub(super) cgroup: &'a Cgroup,
}

/// A call that may end before its answer: then another process can have the caller's number.
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

impl<'a> Scene<'a> {
    pub(super) fn pending(&self, question: &Notification) -> Pending<'a> {
        Pending { listener: self.listener, id: question.id }
    }
}

/// What is done about a call.
pub(super) enum Outcome {
    /// The answer.
    Reply(Reply),
    /// The answer, and what happens only once the caller has it: a signal would interrupt and repeat its call.
    ReplyFirst(Reply, Box<dyn FnOnce()>),
    /// The number of this descriptor in the caller.
    Descriptor(OwnedFd),
    /// The container ends.
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

/// A descriptor of the caller's process.
pub(super) fn duplicate(pending: Pending<'_>, caller: Pid, number: i32) -> Result<OwnedFd, Errno> {
    let process = process::pidfd_open(caller)?;
    let file = process::pidfd_getfd(process.as_fd(), number)?;
    if pending.is_waiting() { Ok(file) } else { Err(Errno::ESRCH) }
}

/// Copies memory of a caller, which may be read only while its call waits.
pub(super) fn read_memory(
    scene: &Scene<'_>,
    question: &Notification,
    address: u64,
    bytes: &mut [u8],
) -> Result<(), Errno> {
    memory::read(Pid::from_raw(question.thread.cast_signed()), address, bytes)?;
    if scene.pending(question).is_waiting() { Ok(()) } else { Err(Errno::EFAULT) }
}

/// The lower half of an argument: all that is looked at are `int` or `pid_t`.
pub(super) fn low(argument: u64) -> u32 {
    (argument & 0xffff_ffff) as u32
}
