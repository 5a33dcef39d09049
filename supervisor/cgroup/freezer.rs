//! Freezing and thawing: `cgroup.freeze` of version 2 (5.2), `freezer.state` of version 1 (freezer-subsystem.rst).
//!
//! Owns both interfaces. A process that version 1 has frozen handles no signal, not even SIGKILL, and root of a
//! container can freeze at any level below its own group. Therefore every level is thawed before a signal is sent.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use anyhow::Result;

use super::group::{self, Group, PAYLOAD};
use super::walk::{Visitor, walk};

/// The freezer of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freezer {
    /// Version 2.
    Version2,
    /// The hierarchy of version 1 that has the controller.
    Version1,
}

impl Freezer {
    fn file(self) -> &'static str {
        match self {
            Self::Version2 => "cgroup.freeze",
            Self::Version1 => "freezer.state",
        }
    }

    fn thawed(self) -> &'static str {
        match self {
            Self::Version2 => "0",
            Self::Version1 => "THAWED",
        }
    }

    /// Starts to freeze all processes in the group.
    ///
    /// # Errors
    /// ENOENT with version 2 before 5.2; if a system call fails.
    pub(super) fn freeze(self, group: &Group) -> Result<()> {
        group.write(
            self.file(),
            match self {
                Self::Version2 => "1",
                Self::Version1 => "FROZEN",
            },
        )
    }

    /// Whether the group or one of its ancestors is frozen.
    pub(super) fn is_frozen(self, group: impl AsFd) -> bool {
        let file = match self {
            Self::Version2 => "cgroup.events",
            Self::Version1 => "freezer.state",
        };
        let text = group::read(group, file).unwrap_or_default();
        match self {
            Self::Version2 => text.lines().any(|line| line == "frozen 1"),
            // FREEZING while a process has not stopped yet.
            Self::Version1 => matches!(text.trim(), "FROZEN" | "FREEZING"),
        }
    }

    /// Whether all processes in a container's group are frozen.
    pub(super) fn holds(self, group: &Group) -> bool {
        self.is_frozen(group)
            || group
                .child(PAYLOAD)
                .is_ok_and(|payload| payload.is_some_and(|payload| self.is_frozen(payload)))
    }

    /// Thaws a container as a whole: its group, the root of its namespace, and the group of all containers.
    ///
    /// # Errors
    /// If a write fails.
    pub(super) fn thaw(self, group: &Group) -> Result<()> {
        if let Some(base) = group.above().filter(|base| self.is_told_to_freeze(base)) {
            base.write(self.file(), self.thawed())?;
        }
        if group.has(self.file()) {
            group.write(self.file(), self.thawed())?;
        }
        match group.child(PAYLOAD)? {
            Some(payload) if payload.has(self.file()) => payload.write(self.file(), self.thawed()),
            _ => Ok(()),
        }
    }

    fn is_told_to_freeze(self, group: &Group) -> bool {
        let file = match self {
            Self::Version2 => "cgroup.freeze",
            Self::Version1 => "freezer.self_freezing",
        };
        group.read(file).is_some_and(|text| text.trim() == "1")
    }

    /// Thaws a group, all groups below it, and the group of all containers above it; continues after failures.
    pub(super) fn thaw_all(self, group: &Group, deadline: Instant) {
        if let Some(base) = group.above().filter(|base| self.is_told_to_freeze(base)) {
            let _ = base.write(self.file(), self.thawed());
        }
        let _ = walk(group, deadline, &mut Thaw(self));
    }
}

struct Thaw(Freezer);

impl Visitor for Thaw {
    fn enter(&mut self, group: BorrowedFd<'_>) {
        let _ = group::write(group, self.0.file(), self.0.thawed());
    }
}
