//! The parts of a monitor, as its loop sees them: descriptors to wait for, and a deadline.
//!
//! Owns the names of the events. A part owns its fields, and handles no event of another part. ARCHITECTURE.md
//! describes how to add one.

use std::time::Instant;

use crate::network::Attachment;
use crate::poll::PollSet;
use crate::signals::Signals;

/// The event that poll(2) reported.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ready {
    Signals,
    Listener,
    Client(u64),
    Notify,
    Routes,
    Devices,
    Console,
    Viewer(usize),
    Network,
    /// A call of a process in the container.
    Calls(usize),
    /// During a boot only: the process that becomes PID 1.
    Child,
    /// During the first boot only: the worker that requested it.
    Worker,
}

/// A part of the monitor.
pub(super) trait Part {
    /// Adds the descriptors of the part, each with the event that it reports.
    fn watch<'a>(&'a self, set: &mut PollSet<'a, Ready>);

    /// When the part has to act without an event.
    fn due(&self) -> Option<Instant> {
        None
    }
}

impl<P: Part> Part for Option<P> {
    fn watch<'a>(&'a self, set: &mut PollSet<'a, Ready>) {
        if let Some(part) = self {
            part.watch(set);
        }
    }

    fn due(&self) -> Option<Instant> {
        self.as_ref().and_then(Part::due)
    }
}

impl Part for Signals {
    fn watch<'a>(&'a self, set: &mut PollSet<'a, Ready>) {
        set.input(Ready::Signals, self.fd());
    }
}

impl Part for Attachment {
    fn watch<'a>(&'a self, set: &mut PollSet<'a, Ready>) {
        if let Some(descriptor) = self.fd() {
            set.input(Ready::Network, descriptor);
        }
    }

    fn due(&self) -> Option<Instant> {
        Self::due(self)
    }
}
