//! Answers system calls about processes for a container, on kernels without PID namespaces.
//!
//! All processes of such a container have a filter that passes these calls to the monitor (`privilege::answered`). With
//! the answers, the container's init system is PID 1, and processes outside the container do not exist (ESRCH). `table`
//! has the answer to each call with its reason. `place` identifies the container's processes. `signals` sends signals
//! on behalf of callers. seccomp_unotify(2).
//!
//! Serves one call at a time, and waits for no process of the container: `memory` limits the time of everything that may
//! ask a file system. Trusts nothing that the container can write: it acts upon facts about a caller only if the caller's
//! call is still waiting after they were read, and sends a signal through a descriptor of the process that it has
//! checked.

mod caller;
mod context;
mod memory;
mod place;
mod reboot;
mod signals;
mod table;
mod writing;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Result;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use self::context::{Context, Outcome};
use self::place::Place;
pub use self::reboot::End;
use crate::cgroup::Cgroup;
use crate::sys::notification::{self, Reply};

/// The source of the calls that one filter passes on: the filter of PID 1 and its descendants, or of a session.
#[derive(Debug)]
struct Listener {
    descriptor: OwnedFd,
    /// The first process with the filter, whose parent is outside.
    first: Pid,
}

/// Answers for one container.
#[derive(Debug)]
pub struct Answerer {
    listeners: Vec<Listener>,
    place: Place,
    end: Option<End>,
}

impl Answerer {
    /// Begins to answer for a container whose PID 1 is `manager`. `groups` are the names of its control group, below the
    /// root of a hierarchy.
    ///
    /// # Errors
    /// If no control group identifies the container's processes.
    pub fn new(listener: OwnedFd, manager: Pid, groups: [&str; 2]) -> Result<Self> {
        let listeners = vec![Listener { descriptor: listener, first: manager }];
        Ok(Self { listeners, place: Place::of(manager, groups)?, end: None })
    }

    /// PID 1.
    #[must_use]
    pub fn manager(&self) -> Pid {
        self.place.manager
    }

    /// Answers the calls of a session as well; `first` is its process.
    pub fn add(&mut self, listener: OwnedFd, first: Pid) {
        self.listeners.push(Listener { descriptor: listener, first });
    }

    /// The descriptors to poll; [`Answerer::serve`] handles input and hangups.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.listeners.iter().map(|listener| listener.descriptor.as_fd())
    }

    /// Changes the order of the descriptors, so that the last one is another.
    pub fn rotate(&mut self) {
        if let Some(last) = self.listeners.pop() {
            self.listeners.insert(0, last);
        }
    }

    /// How the container has requested its end. Returns each request once.
    pub fn take_end(&mut self) -> Option<End> {
        self.end.take()
    }

    /// Answers one call of a listener. Removes the listener after its last process has ended.
    pub fn serve(&mut self, index: usize, cgroup: &Cgroup) {
        let Some(Listener { descriptor, first }) = self.listeners.get(index) else { return };
        let listener = descriptor.as_fd();
        let events = events(listener);
        if !events.contains(PollFlags::POLLIN) {
            if events.contains(PollFlags::POLLHUP) {
                self.listeners.swap_remove(index);
            }
            return;
        }
        // ENOENT: a signal has interrupted the call.
        let Ok(question) = notification::receive(listener) else { return };
        let context = Context { place: &self.place, first: *first, listener, cgroup };
        match table::decide(&context, &question) {
            Outcome::Reply(reply) => {
                send(listener, question.id, reply);
            }
            Outcome::Descriptor(file) => give(listener, question.id, file.as_fd()),
            // An interrupted call is repeated.
            Outcome::ReplyFirst(reply, afterwards) => {
                if send(listener, question.id, reply) {
                    afterwards();
                }
            }
            // The caller ends with the container.
            Outcome::End(end) => self.end = self.end.or(Some(end)),
        }
    }
}

/// Answers a call; returns whether it still waited: the caller may have ended, or a signal has interrupted its call.
fn send(listener: BorrowedFd<'_>, id: u64, reply: Reply) -> bool {
    notification::send(listener, id, reply).is_ok()
}

/// Answers a call with a new descriptor, in one step where the kernel can: otherwise, a signal in between leaves the
/// descriptor in the caller.
fn give(listener: BorrowedFd<'_>, id: u64, file: BorrowedFd<'_>) {
    match notification::add_descriptor(listener, id, file, true) {
        Ok(_) => return,
        Err(Errno::EINVAL) => {}
        Err(errno) => {
            send(listener, id, Reply::Error(errno));
            return;
        }
    }
    let added = notification::add_descriptor(listener, id, file, false);
    send(listener, id, added.map_or_else(Reply::Error, Reply::Value));
}

fn events(listener: BorrowedFd<'_>) -> PollFlags {
    let mut polled = [PollFd::new(listener, PollFlags::POLLIN)];
    match poll(&mut polled, PollTimeout::ZERO) {
        Ok(1..) => polled[0].revents().unwrap_or(PollFlags::empty()),
        _ => PollFlags::empty(),
    }
}
