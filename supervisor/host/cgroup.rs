//! Which control group hierarchies are mounted and where: cgroups(7).

use std::path::{Path, PathBuf};

use anyhow::Result;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::mount::info::{self, MountInfo};
use crate::{call, paths};

/// One version 1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version1 {
    /// Controllers in the kernel's order, such as `cpu`, `cpuacct`; none for a named hierarchy.
    pub controllers: Vec<String>,
    /// Name of a hierarchy without controllers, such as `systemd`.
    pub name: Option<String>,
    /// Mounted with `noprefix`: file names lack the controller's name.
    pub noprefix: bool,
    /// Where its root is mounted.
    pub mounted: PathBuf,
}

impl Version1 {
    /// Mount option and customary directory name: `cpu,cpuacct`, or the name.
    #[must_use]
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.controllers.join(","))
    }
}

/// The version 2 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version2 {
    /// Where its root is mounted.
    pub mounted: PathBuf,
    /// Controllers that are not taken by a version 1 hierarchy.
    pub controllers: Vec<String>,
}

impl Version2 {
    fn at(mounted: PathBuf) -> Self {
        let controllers = std::fs::read_to_string(mounted.join("cgroup.controllers")).unwrap_or_default();
        Self { mounted, controllers: controllers.split_whitespace().map(str::to_owned).collect() }
    }
}

/// All hierarchies of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hierarchies {
    /// Version 1, in the order of the mounts.
    pub version1: Vec<Version1>,
    /// Version 2, when it is mounted somewhere.
    pub version2: Option<Version2>,
    /// The kernel knows version 2, mounted or not.
    pub knows_version2: bool,
}

impl Hierarchies {
    /// Reads the mounts of this process.
    ///
    /// # Errors
    /// When /proc is not there.
    pub fn probe() -> Result<Self> {
        let mut found = Self::from_mounts(&info::read("self")?);
        let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        found.knows_version2 = filesystems.lines().any(|line| line.ends_with("\tcgroup2"));
        found.version2 = found.version2.map(|hierarchy| Version2::at(hierarchy.mounted));
        Ok(found)
    }

    /// Mounts version 2 for this process and the ones it forks, where the kernel knows it and nobody has mounted it.
    /// The host sees nothing of it: the mount is in a mount namespace of our own, into which the host's later mounts
    /// and unmounts still come (mount_namespaces(7), "slave").
    ///
    /// # Errors
    /// When there is no mount namespace to be had, or no place.
    pub fn mount_version2(&mut self, place: &Path) -> Result<()> {
        if self.version2.is_some() || !self.knows_version2 {
            return Ok(());
        }
        call!(unshare(CloneFlags::CLONE_NEWNS), "unshare(CLONE_NEWNS)")?;
        let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
        call!(mount(None::<&str>, "/", None::<&str>, slave, None::<&str>), "mount(/, slave)")?;
        paths::create_private(place)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let kind = Some("cgroup2");
        call!(mount(kind, place, kind, flags, None::<&str>), "mount(cgroup2, {})", place.display())?;
        self.version2 = Some(Version2::at(place.to_owned()));
        Ok(())
    }

    fn from_mounts(mounts: &[MountInfo]) -> Self {
        let mut found = Self::default();
        for mount in mounts.iter().filter(|mount| mount.root.as_os_str() == "/") {
            match mount.kind.as_str() {
                "cgroup2" if found.version2.is_none() => {
                    found.version2 =
                        Some(Version2 { mounted: mount.target.clone(), controllers: Vec::new() });
                }
                "cgroup" => {
                    let hierarchy = version1(mount);
                    if !found.version1.iter().any(|other| other.label() == hierarchy.label()) {
                        found.version1.push(hierarchy);
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// The version 1 hierarchy that has a controller.
    #[must_use]
    pub fn version1_with(&self, controller: &str) -> Option<&Version1> {
        self.version1.iter().find(|hierarchy| hierarchy.controllers.iter().any(|name| name == controller))
    }

    /// Whether version 2 has a controller.
    #[must_use]
    pub fn version2_has(&self, controller: &str) -> bool {
        self.version2
            .as_ref()
            .is_some_and(|hierarchy| hierarchy.controllers.iter().any(|name| name == controller))
    }
}

fn version1(mount: &MountInfo) -> Version1 {
    const OPTIONS: [&str; 8] =
        ["rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods", "none"];
    let mut hierarchy = Version1 {
        controllers: Vec::new(),
        name: None,
        noprefix: mount.super_options.iter().any(|option| option == "noprefix"),
        mounted: mount.target.clone(),
    };
    for option in &mount.super_options {
        if let Some(name) = option.strip_prefix("name=") {
            hierarchy.name = Some(name.to_owned());
        } else if !OPTIONS.contains(&option.as_str()) && !option.contains('=') {
            hierarchy.controllers.push(option.clone());
        }
    }
    hierarchy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_host_is_understood() {
        let mounts = info::parse(
            b"30 29 0:26 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n\
              31 29 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
              32 29 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
              33 29 0:29 / /dev/cpuset rw - cgroup none rw,cpuset,noprefix,release_agent=/sbin/cpuset_release_agent\n\
              34 29 0:28 /sub /elsewhere rw - cgroup cgroup rw,cpu,cpuacct\n",
        );
        let found = Hierarchies::from_mounts(&mounts);
        assert_eq!(
            found.version2.as_ref().map(|v2| v2.mounted.as_path()),
            Some("/sys/fs/cgroup/unified".as_ref())
        );
        let labels: Vec<String> = found.version1.iter().map(Version1::label).collect();
        assert_eq!(labels, ["systemd", "cpu,cpuacct", "cpuset"]);
        assert!(found.version1[2].noprefix);
        assert_eq!(found.version1_with("cpuacct").map(Version1::label).as_deref(), Some("cpu,cpuacct"));
    }
}
