//! The version of control groups that a container sees. Owns that choice; `cgroup` creates the groups.

use crate::config::Config;
use crate::config::value::CgroupLayout;
use crate::host::Host;
use crate::rootfs::guest::Guest;

/// The version of control groups that the container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// None: the kernel has no usable control groups.
    None,
    /// One directory for each hierarchy.
    Version1,
    /// The unified hierarchy.
    Version2,
}

/// Version 2 if possible, because it can be delegated safely. systemd before 233 supports only version 1, and systemd
/// from 258 on supports only version 2.
#[must_use]
pub fn layout(config: &Config, host: &Host, guest: &Guest, warnings: &mut Vec<String>) -> Layout {
    let has_version2 = host.cgroups.version2.is_some();
    let has_version1 = !host.cgroups.version1.is_empty();
    let (oldest, newest) = match guest.systemd_version {
        Some(version) => (version < 233, version >= 258),
        None => (false, false),
    };
    let chosen = match config.container.cgroup {
        CgroupLayout::V1 if newest => {
            warnings.push("this systemd does not support cgroup v1; using v2 despite cgroup = v1".into());
            Layout::Version2
        }
        CgroupLayout::V1 => Layout::Version1,
        CgroupLayout::V2 => Layout::Version2,
        CgroupLayout::Auto if oldest && has_version1 => Layout::Version1,
        CgroupLayout::Auto if has_version2 => Layout::Version2,
        CgroupLayout::Auto => Layout::Version1,
    };
    match chosen {
        Layout::Version2 if !has_version2 => {
            warnings.push(
                "kernel has no cgroup v2 (CONFIG_CGROUPS): the container gets no control groups".into(),
            );
            Layout::None
        }
        Layout::Version1 if !has_version1 => {
            warnings.push("no cgroup v1 hierarchy is mounted: the container gets no control groups".into());
            Layout::None
        }
        chosen => chosen,
    }
}
