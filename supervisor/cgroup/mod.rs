//! The control groups of one container: cgroups(7), Documentation/admin-guide/cgroup-v2.rst of the kernel.
//!
//! Owns `droidspaces/NAME/` in each hierarchy, which has the limits; its child `payload/` is the root of the
//! container's cgroup namespace. So the container cannot raise its own limits, and no process of ds is in a group that
//! the container delegates. Nothing outside these directories is changed, except that version 2 controllers are enabled
//! in their ancestors.
//!
//! The groups below belong to root of the container, who may freeze them, limit them, and create any number of them.
//! Operations on them use descriptors, cover every level, and have a timeout.

mod create;
mod devices;
mod freezer;
mod frozen;
mod group;
mod joining;
mod kill;
mod limits;
mod members;
mod remove;
mod walk;

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::config::Limits;
use crate::fault;
use crate::host::Hierarchies;
use crate::host::cgroup::Root;
use crate::plan::cgroups::Layout;
use crate::plan::devices::{Enforcement, Policy, Rule};
use freezer::Freezer;
pub use frozen::{is_frozen, kill_frozen, kill_frozen_group};
use group::{Group, PAYLOAD};
pub use joining::{Joining, Leaf};
use limits::Row;

/// The timeout for all groups of a container to become empty after a kill.
const EMPTYING: Duration = Duration::from_secs(5);
/// The timeout for thawing and killing every level.
const ROUND: Duration = Duration::from_secs(2);
/// The timeout for processes to stop or to resume.
const FREEZING: Duration = Duration::from_secs(10);

/// The requested groups of a container.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The version that the container sees.
    pub layout: Layout,
    /// Limits.
    pub limits: &'a Limits,
    /// The devices that its processes may use.
    pub devices: &'a Policy,
}

/// The groups of one container.
#[derive(Debug)]
pub struct Cgroup {
    version2: Option<Group>,
    version1: Vec<Group>,
    /// Those of version 1 with a namespace root of their own.
    payloads: Vec<usize>,
    /// The version 1 hierarchy with the freezer.
    freezer1: Option<usize>,
    /// Whether PID 1 may be cloned into the version 2 group.
    fresh: bool,
    /// The mechanism that enforces the device policy, except the system call filter, which is independent of groups.
    devices: Enforcement,
    /// The program that enforces it, on version 2.
    program: Option<OwnedFd>,
    /// Whether the groups are removed when this is dropped; sessions only borrow them.
    owned: bool,
}

impl Cgroup {
    /// Creates the groups. A missing hierarchy or a limit that cannot be set is a warning.
    ///
    /// # Errors
    /// If the directories of the selected version cannot be created.
    pub fn create(
        hierarchies: &Hierarchies,
        base: &str,
        container: &str,
        wanted: Wanted<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let mut cgroup = Self::none();
        let Wanted { layout, limits, devices } = wanted;
        // In every hierarchy, visible or not: a container can mount any of them, and sees everything below the group
        // that it was in when its namespace was created (cgroup_namespaces(7)).
        if let Some(hierarchy) = &hierarchies.version2 {
            let made = create::version2(hierarchy, base, container, warnings);
            if let Some(made) = required(made, layout == Layout::Version2, "v2", warnings)? {
                (cgroup.version2, cgroup.fresh) = (Some(made.group), made.fresh);
            }
        }
        let mut unenforced = cgroup.enforce_by_program(devices);
        let limits = limits::table(limits);
        for hierarchy in &hierarchies.version1 {
            // A hierarchy that has no limits and is not visible needs no separate namespace root.
            let limited = limits.iter().any(|row| {
                !hierarchies.version2_has(row.controller)
                    && hierarchies.version1_with(row.controller) == Some(hierarchy)
            });
            let made = create::version1(hierarchy, base, container);
            let Some(group) = required(made, false, &hierarchy.label(), warnings)? else { continue };
            let mut payload = layout == Layout::Version1 || limited;
            if hierarchy.has("devices") && cgroup.enforce_by_list(&group, devices, &mut unenforced) {
                payload = true;
            }
            if payload {
                let made = create::payload1(hierarchy, &group);
                payload = required(made, false, &hierarchy.label(), warnings)?.is_some();
            }
            if payload {
                cgroup.payloads.push(cgroup.version1.len());
            }
            if hierarchy.has_freezer() {
                cgroup.freezer1 = Some(cgroup.version1.len());
            }
            cgroup.version1.push(group);
        }
        for row in &limits {
            if let Err(error) = cgroup.limit(hierarchies, row) {
                warnings.push(format!("limits.{} has no effect: {error:#}", row.key()));
            }
        }
        if cgroup.devices == Enforcement::Nothing {
            warnings.extend(unenforced.iter().map(|error| format!("device policy: {error:#}")));
        }
        Ok(cgroup)
    }

    /// Creates groups only for a device policy, if it can be enforced, for a container without limits and without
    /// visible control groups. Returns empty groups if it cannot, unless groups are `kept` for another purpose as well.
    ///
    /// # Errors
    /// If a group cannot be created.
    pub fn for_devices(
        hierarchies: &Hierarchies,
        base: &str,
        container: &str,
        devices: &Policy,
        kept: bool,
    ) -> Result<Self> {
        let mut cgroup = Self::none();
        if *devices == Policy::Everything && !kept {
            return Ok(cgroup);
        }
        if let Some(hierarchy) = &hierarchies.version2 {
            let made = create::bare2(hierarchy, base, container)?;
            (cgroup.version2, cgroup.fresh) = (Some(made.group), made.fresh);
        }
        let mut unenforced = cgroup.enforce_by_program(devices);
        if cgroup.devices == Enforcement::Nothing && !(kept && cgroup.version2.is_some()) {
            cgroup.remove()?;
            (cgroup.version2, cgroup.owned) = (None, true);
            if let Some(hierarchy) = hierarchies.version1_with("devices") {
                let group = create::version1(hierarchy, base, container)?;
                if cgroup.enforce_by_list(&group, devices, &mut unenforced) {
                    create::payload1(hierarchy, &group)?;
                    cgroup.payloads.push(cgroup.version1.len());
                }
                cgroup.version1.push(group);
            }
        }
        Ok(cgroup)
    }

    fn none() -> Self {
        Self {
            version2: None,
            version1: Vec::new(),
            payloads: Vec::new(),
            freezer1: None,
            fresh: false,
            devices: Enforcement::Nothing,
            program: None,
            owned: true,
        }
    }

    /// The mechanism that enforces the device policy.
    #[must_use]
    pub fn devices(&self) -> Enforcement {
        self.devices
    }

    /// Attaches the program to the version 2 group, if there is one; returns the error.
    fn enforce_by_program(&mut self, policy: &Policy) -> Option<anyhow::Error> {
        let (Policy::Only(rules), Some(group)) = (policy, &self.version2) else { return None };
        match fault::point("devices").and_then(|()| devices::attach(group, rules)) {
            Ok(program) => (self.devices, self.program) = (Enforcement::Program, Some(program)),
            Err(error) => return Some(error),
        }
        None
    }

    /// Changes the enforced policy.
    ///
    /// # Errors
    /// The error of the kernel; the previous policy then remains.
    pub fn change_devices(&mut self, old: &Policy, new: &Policy) -> Result<()> {
        let (Policy::Only(before), Policy::Only(after)) = (old, new) else { return Ok(()) };
        match (self.devices, &self.program, &self.version2) {
            (Enforcement::Program, Some(program), Some(group)) => {
                self.program = Some(devices::replace(group, program, after)?);
                Ok(())
            }
            (Enforcement::Controller, ..) => {
                let group = self.version1.iter().find(|group| group.has("devices.allow"));
                devices::change(
                    group.context("the group of the devices controller has vanished")?,
                    before,
                    after,
                )
            }
            _ => Ok(()),
        }
    }

    /// Writes the list of a version 1 group without children, unless the policy is already enforced; returns whether
    /// it is now enforced there.
    fn enforce_by_list(
        &mut self,
        group: &Group,
        policy: &Policy,
        unenforced: &mut Option<anyhow::Error>,
    ) -> bool {
        let Policy::Only(rules) = policy else { return false };
        if self.devices != Enforcement::Nothing {
            return false;
        }
        match write_list(group, rules) {
            Ok(()) => self.devices = Enforcement::Controller,
            Err(error) => *unenforced = Some(error),
        }
        self.devices == Enforcement::Controller
    }

    /// Writes one limit to the version that has its controller.
    fn limit(&self, hierarchies: &Hierarchies, row: &Row) -> Result<()> {
        let controller = row.controller;
        if hierarchies.version2_has(controller) {
            let Some(group) = &self.version2 else {
                bail!("the {controller} controller is on cgroup v2, but the container uses v1");
            };
            return group.write(row.version2.0, &row.version2.1);
        }
        let Some(hierarchy) = hierarchies.version1_with(controller) else {
            bail!("kernel has no {controller} controller; see 'ds check'");
        };
        let is_there = |group: &&Group| group.path.ancestors().nth(2) == Some(hierarchy.root.path.as_path());
        let group = self.version1.iter().find(is_there);
        let group = group.context("the container has no group of this controller")?;
        row.version1.iter().try_for_each(|(file, value)| group.write(file, value))
    }

    /// The existing groups of a container.
    #[must_use]
    pub fn existing(hierarchies: &Hierarchies, base: &str, container: &str) -> Self {
        let below: PathBuf = [base, container].iter().collect();
        let group = |root: &Root| Group::below(root, &below).ok().flatten();
        let version2 = hierarchies.version2.as_ref();
        let mut found = Self::none();
        found.owned = false;
        found.version2 = version2.and_then(|hierarchy| group(&hierarchy.root));
        for hierarchy in &hierarchies.version1 {
            let Some(group) = group(&hierarchy.root) else { continue };
            if hierarchy.has_freezer() {
                found.freezer1 = Some(found.version1.len());
            }
            found.version1.push(group);
        }
        found
    }

    /// The directory with the limits: that of version 2, else the first of version 1.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.groups().next().map(|group| group.path.as_path())
    }

    fn groups(&self) -> impl Iterator<Item = &Group> {
        self.version2.iter().chain(&self.version1)
    }

    /// The groups with a freezer.
    fn freezers(&self) -> impl Iterator<Item = (Freezer, &Group)> {
        let version2 = self.version2.iter().map(|group| (Freezer::Version2, group));
        let version1 = self.freezer1.and_then(|index| self.version1.get(index));
        version2.chain(version1.map(|group| (Freezer::Version1, group)))
    }

    /// Opens the files that PID 1 needs to join.
    ///
    /// # Errors
    /// If a group no longer exists.
    pub fn joining_payload(&self) -> Result<Joining> {
        let mut joining = Joining::default();
        if let Some(group) = &self.version2 {
            let payload = group.child(PAYLOAD)?.context("the container's cgroup has vanished")?;
            joining.version2(payload, self.fresh)?;
        }
        for (index, group) in self.version1.iter().enumerate() {
            let payload = if self.payloads.contains(&index) { group.child(PAYLOAD)? } else { None };
            joining.version1(payload.as_ref().unwrap_or(group))?;
        }
        Ok(joining)
    }

    /// Whether all processes are frozen, by either version.
    #[must_use]
    pub fn frozen(&self) -> bool {
        self.freezers().any(|(freezer, group)| freezer.holds(group))
    }

    /// Calls `watch` with each file that the kernel modifies when a process freezes or thaws by version 2: inotify(7)
    /// reports it. Version 1 reports nothing. The paths are valid during the call.
    pub fn each_report_of_freezing(&self, mut watch: impl FnMut(&Path)) {
        let Some(group) = &self.version2 else { return };
        let payload = group.child(PAYLOAD).ok().flatten();
        for group in [Some(group.as_fd()), payload.as_ref().map(AsFd::as_fd)].into_iter().flatten() {
            watch(Path::new(&format!("/proc/self/fd/{}/cgroup.events", group.as_raw_fd())));
        }
    }

    /// Freezes every process, and returns once all have stopped.
    ///
    /// # Errors
    /// If the kernel has no freezer, or a process does not stop; then all are thawed.
    pub fn freeze(&self) -> Result<()> {
        ensure!(self.directory().is_some(), "it has no control groups; see 'ds check'");
        let begun = self.freezers().find(|(freezer, group)| freezer.freeze(group).is_ok());
        let Some((freezer, group)) = begun else {
            bail!("kernel has no freezer: neither cgroup v2 of 5.2 nor the freezer of v1; see 'ds check'");
        };
        if until(FREEZING, || freezer.is_frozen(group)) {
            return Ok(());
        }
        freezer.thaw(group)?;
        bail!("its processes did not freeze within {} s; they keep running", FREEZING.as_secs())
    }

    /// Thaws a container as a whole, in both versions; groups that are frozen further down stay frozen.
    ///
    /// # Errors
    /// If something else keeps it frozen.
    pub fn resume(&self) -> Result<()> {
        self.freezers().try_for_each(|(freezer, group)| freezer.thaw(group))?;
        if until(FREEZING, || !self.frozen()) {
            return Ok(());
        }
        let path = self.directory().unwrap_or(Path::new(""));
        bail!("a parent group of {} is frozen", path.display())
    }

    /// Thaws every level, so that every process can handle a signal.
    pub fn thaw(&self) {
        let deadline = Instant::now() + ROUND;
        self.freezers().for_each(|(freezer, group)| freezer.thaw_all(group, deadline));
    }

    /// Kills every process in the groups, in any namespace. A frozen process ends after it is thawed; a process that
    /// freezes others is killed before that.
    pub fn kill(&self) {
        let deadline = Instant::now() + ROUND;
        let (groups, freezers): (Vec<_>, Vec<_>) = (self.groups().collect(), self.freezers().collect());
        kill::kill(&groups, &freezers, deadline);
        freezers.iter().for_each(|(freezer, group)| freezer.thaw_all(group, deadline));
    }

    /// Removes the groups once they are empty.
    ///
    /// # Errors
    /// The first group that cannot be removed; the others are removed anyway.
    pub fn remove(&mut self) -> Result<()> {
        self.owned = false;
        let groups: Vec<&Group> = self.groups().collect();
        // The last container also removes the common directory.
        let bases: Vec<Group> = groups.iter().filter_map(|group| group.above()).collect();
        let removed = remove::remove(&groups, Instant::now() + EMPTYING, || self.kill());
        for base in bases {
            let _ = base.remove();
        }
        removed
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.owned {
            self.kill();
            if let Err(error) = self.remove() {
                log::warn!("{error:#}");
            }
        }
    }
}

/// Our directory in each hierarchy that has it.
fn bases(hierarchies: &Hierarchies, base: &str) -> impl Iterator<Item = Group> {
    let version2 = hierarchies.version2.iter().map(|hierarchy| &hierarchy.root);
    let version1 = hierarchies.version1.iter().map(|hierarchy| &hierarchy.root);
    version2.chain(version1).filter_map(move |root| Group::below(root, Path::new(base)).ok().flatten())
}

/// The names of all groups below our directory, in any hierarchy.
#[must_use]
pub fn names(hierarchies: &Hierarchies, base: &str) -> BTreeSet<String> {
    let names = bases(hierarchies, base).flat_map(|base| group::children(&base).unwrap_or_default());
    names.filter_map(|name| name.into_string().ok()).collect()
}

/// Removes the groups of a container whose monitor was killed.
pub fn sweep(hierarchies: &Hierarchies, base: &str, container: &str) {
    let mut left = Cgroup::existing(hierarchies, base, container);
    if left.directory().is_some() {
        left.give_back_first_process();
        left.kill();
        if let Err(error) = left.remove() {
            log::warn!("{error:#}");
        }
    }
}

/// Removes our directory from each hierarchy in which it has no groups: a monitor that was killed while it created them
/// can leave it.
pub fn sweep_bases(hierarchies: &Hierarchies, base: &str) {
    for base in bases(hierarchies, base) {
        let _ = base.remove();
    }
}

fn write_list(group: &Group, rules: &[Rule]) -> Result<()> {
    fault::point("devices")?;
    devices::list(group, rules)
}

/// A missing hierarchy is an error if it is needed, and otherwise a warning.
fn required<T>(
    created: Result<T>,
    needed: bool,
    hierarchy: &str,
    warnings: &mut Vec<String>,
) -> Result<Option<T>> {
    match created {
        Err(error) if !needed => {
            warnings.push(format!("no cgroup in {hierarchy}: {error:#}"));
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// Waits until a condition is true; `false` after the timeout.
fn until(time: Duration, holds: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + time;
    let mut wait = Duration::from_millis(1);
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        sleep(wait);
        wait = (wait * 2).min(Duration::from_millis(50));
    }
    true
}
