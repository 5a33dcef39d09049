//! Creates the groups of a container. Owns the order in which they are created and controllers are enabled.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;

use super::group::{Group, PAYLOAD};
use crate::host::cgroup::{Root, Version1, Version2};

/// The number of attempts if the common directory is removed concurrently, with the last group of another container.
const ATTEMPTS: u32 = 10;

/// The groups of one container in one hierarchy.
#[derive(Debug)]
pub(super) struct Made {
    /// The directory with the limits.
    pub(super) group: Group,
    /// The namespace root has just been created: no process was ever killed in it.
    pub(super) fresh: bool,
}

/// Creates the groups of version 2, with all controllers.
///
/// # Errors
/// If a system call fails; a controller that cannot be enabled is a warning.
pub(super) fn version2(
    hierarchy: &Version2,
    base: &str,
    container: &str,
    warnings: &mut Vec<String>,
) -> Result<Made> {
    let group = directory(&hierarchy.root, base, container)?;
    let (_, fresh) = group.make(PAYLOAD)?;
    // They can only be enabled here if they are enabled above, as they are since the first container.
    let all: Vec<String> = hierarchy.controllers.iter().map(|name| format!("+{name}")).collect();
    if all.is_empty() || group.write("cgroup.subtree_control", &all.join(" ")).is_ok() {
        return Ok(Made { group, fresh });
    }
    let (top, base) = levels_above(&hierarchy.root, base)?;
    for level in [&top, &base, &group] {
        let passed = level.read("cgroup.subtree_control").unwrap_or_default();
        for controller in &hierarchy.controllers {
            if passed.split_whitespace().any(|name| name == controller) {
                continue;
            }
            if let Err(error) = level.write("cgroup.subtree_control", &format!("+{controller}")) {
                warnings.push(format!("controller {controller} is not delegated: {error:#}"));
            }
        }
    }
    Ok(Made { group, fresh })
}

/// Creates the groups of version 2, without controllers.
///
/// # Errors
/// If a system call fails.
pub(super) fn bare2(hierarchy: &Version2, base: &str, container: &str) -> Result<Made> {
    let group = directory(&hierarchy.root, base, container)?;
    let (_, fresh) = group.make(PAYLOAD)?;
    Ok(Made { group, fresh })
}

/// Creates the group of a version 1 hierarchy with the limits.
///
/// # Errors
/// If a system call fails.
pub(super) fn version1(hierarchy: &Version1, base: &str, container: &str) -> Result<Group> {
    let group = directory(&hierarchy.root, base, container)?;
    if hierarchy.has("cpuset") {
        let (top, base) = levels_above(&hierarchy.root, base)?;
        equip(hierarchy, &top, &[&base, &group])?;
    }
    Ok(group)
}

/// Creates the namespace root below the group of a version 1 hierarchy.
///
/// # Errors
/// If a system call fails.
pub(super) fn payload1(hierarchy: &Version1, group: &Group) -> Result<()> {
    let (payload, _) = group.make(PAYLOAD)?;
    equip(hierarchy, group, &[&payload])
}

/// Initialises a cpuset: a new one is empty and accepts no process until it has processors and memory nodes. Groups
/// created below have them from the beginning, because a change makes the kernel look through all cpusets.
fn equip(hierarchy: &Version1, above: &Group, levels: &[&Group]) -> Result<()> {
    if hierarchy.has("cpuset") {
        let prefix = if hierarchy.noprefix { "" } else { "cpuset." };
        for file in ["cpus", "mems"].map(|file| format!("{prefix}{file}")) {
            let value = above.read(&file).unwrap_or_default();
            // The last level cannot have more than those above it.
            if levels.last().is_some_and(|level| level.read(&file).as_ref() == Some(&value)) {
                continue;
            }
            for level in levels {
                level.write(&file, value.trim_end())?;
                let _ = level.write("cgroup.clone_children", "1");
            }
        }
    }
    Ok(())
}

/// The root of a hierarchy and the directory that all containers share.
fn levels_above(root: &Root, base: &str) -> Result<(Group, Group)> {
    let top = Group::top(root)?;
    let base = top.child(base)?.with_context(|| format!("cgroup {base} has vanished"))?;
    Ok((top, base))
}

/// Opens or creates the directory of a container. Usually, another container has created the common directory.
fn directory(root: &Root, base: &str, container: &str) -> Result<Group> {
    let path: PathBuf = [base, container].iter().collect();
    let shown = || format!("create cgroup {}", root.path.join(&path).display());
    for _ in 0..ATTEMPTS {
        match root.make(&path) {
            Ok(()) | Err(Errno::EEXIST) => {
                if let Some(group) = Group::below(root, &path)? {
                    return Ok(group);
                }
            }
            Err(Errno::ENOENT) => match root.make(Path::new(base)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno).with_context(shown),
            },
            Err(errno) => return Err(errno).with_context(shown),
        }
    }
    bail!("{}: other processes keep removing it", shown());
}
