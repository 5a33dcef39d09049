//! How a new process joins the groups of a container. Owns the open files for it, and the group of sessions.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;

use super::freezer::Freezer;
use super::group::{Group, PAYLOAD};
use crate::host::Hierarchies;
use crate::sys::errno_of;

/// The group of sessions on version 2: systemd forbids processes in the namespace root itself.
const SESSIONS: &str = "ds-session";

/// The state of the group of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    /// Existing or new.
    Present,
    /// Recreated if it has no processes, because root in the container has made it unusable.
    Renewed,
}

/// Open files with which a new process joins; opened before the clone.
#[derive(Debug, Default)]
pub struct Joining {
    /// The version 2 group.
    directory: Option<OwnedFd>,
    /// Its `cgroup.procs`.
    procs: Option<File>,
    /// Whether a process may be cloned into the version 2 group.
    takes_births: bool,
    tasks: Vec<File>,
    /// The version 1 group with the freezer.
    freezer: Option<OwnedFd>,
}

impl Joining {
    /// Adds the version 2 group. Since 6.13, the kernel kills a process that is cloned into a group that was killed
    /// before.
    pub(super) fn version2(&mut self, group: Group, takes_births: bool) -> Result<()> {
        self.procs = Some(group.open_to_write("cgroup.procs")?);
        self.directory = Some(group.into_descriptor());
        self.takes_births = takes_births;
        Ok(())
    }

    /// Adds a version 1 group.
    pub(super) fn version1(&mut self, group: &Group) -> Result<()> {
        self.tasks.push(group.open_to_write("tasks")?);
        Ok(())
    }

    /// Opens the files that a session in a running container needs to join; creates the group of sessions.
    ///
    /// # Errors
    /// If the container is frozen, or a group cannot be opened; a hierarchy in which the container has no group is
    /// skipped.
    pub fn of_session(hierarchies: &Hierarchies, base: &str, container: &str, leaf: Leaf) -> Result<Self> {
        let below: PathBuf = [base, container].iter().collect();
        let mut joining = Self::default();
        if let Some(hierarchy) = &hierarchies.version2 {
            let payload = Group::below(&hierarchy.root, &below.join(PAYLOAD))?;
            if let Some(payload) = payload {
                let (group, takes_births) = sessions(&payload, container, leaf)?;
                joining.version2(group, takes_births)?;
            }
        }
        for hierarchy in &hierarchies.version1 {
            let found = Group::below(&hierarchy.root, &below)?;
            let Some(group) = found else { continue };
            if hierarchy.has_freezer() && Freezer::Version1.holds(&group) {
                return refuse(container);
            }
            let group = group.child(PAYLOAD)?.unwrap_or(group);
            joining.version1(&group)?;
            if hierarchy.has_freezer() {
                joining.freezer = Some(group.into_descriptor());
            }
        }
        Ok(joining)
    }

    /// Whether all processes in the groups are frozen, by either version.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        let is_frozen = |freezer: Freezer, group: &Option<OwnedFd>| {
            group.as_ref().is_some_and(|group| freezer.is_frozen(group))
        };
        is_frozen(Freezer::Version2, &self.directory) || is_frozen(Freezer::Version1, &self.freezer)
    }

    /// The version 2 group for clone3(2).
    #[must_use]
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.directory.as_ref().filter(|_| self.takes_births).map(AsFd::as_fd)
    }

    /// Moves the calling process; `born_inside` if it was cloned into the version 2 group.
    ///
    /// For version 1, the single thread is written to `tasks`: unlike `cgroup.procs`, it takes no lock that waits for
    /// every process of the machine.
    ///
    /// # Errors
    /// If the write fails.
    pub fn join(&self, born_inside: bool) -> Result<()> {
        if let (false, Some(mut procs)) = (born_inside, self.procs.as_ref()) {
            procs.write_all(b"0").context("join the cgroup (v2)")?;
        }
        for mut tasks in &self.tasks {
            tasks.write_all(b"0").context("join the cgroup (v1)")?;
        }
        Ok(())
    }
}

/// The group of sessions below a namespace root, created if necessary, and whether processes may be cloned into it.
/// Root in the container can make it unusable: a frozen group is thawed, and a limit on the number of groups is lifted.
fn sessions(payload: &Group, container: &str, leaf: Leaf) -> Result<(Group, bool)> {
    if leaf == Leaf::Renewed
        && let Some(spoilt) = payload.child(SESSIONS)?
    {
        let _ = spoilt.remove();
    }
    let (group, made) = match make(payload) {
        // The limit belongs to the machine, or the group stays unchanged.
        Err(error) if errno_of(&error) == Some(Errno::EAGAIN) => (payload.again()?, false),
        other => other?,
    };
    if Freezer::Version2.is_frozen(&group) {
        if Freezer::Version2.is_frozen(payload) {
            return refuse(container);
        }
        Freezer::Version2.thaw(&group)?;
    }
    Ok((group, made || leaf == Leaf::Present))
}

fn make(payload: &Group) -> Result<(Group, bool)> {
    match payload.make(SESSIONS) {
        Err(error) if errno_of(&error) == Some(Errno::EAGAIN) => {
            for limit in ["cgroup.max.descendants", "cgroup.max.depth"] {
                let _ = payload.write(limit, "max");
            }
            payload.make(SESSIONS)
        }
        other => other,
    }
}

fn refuse<T>(container: &str) -> Result<T> {
    bail!("it is frozen; thaw it with 'ds thaw {container}'")
}

impl Group {
    fn again(&self) -> Result<Self> {
        self.child(".")?.context("it has vanished")
    }
}
