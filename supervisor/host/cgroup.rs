//! The control group hierarchies and their mount points: cgroups(7).
//!
//! Owns their detection. A mount that is hidden by a later one is ignored, since its path leads to another file system
//! or hierarchy. Each hierarchy is kept open from its detection on, so that a later mount cannot hide it. Mounts
//! hierarchies only in the supervisor's own mount namespace.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::mkdir;

use crate::call;
use crate::mount::info::{self, MountInfo};
use crate::mount::namespace::enter_private_namespace;

/// The root of a hierarchy: where it is mounted, and open if possible. Only the path is its identity.
#[derive(Debug, Clone)]
pub struct Root {
    /// Where it is mounted.
    pub path: PathBuf,
    open: Option<Rc<OwnedFd>>,
}

impl PartialEq for Root {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for Root {}

impl Root {
    /// The one at a path, not open.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), open: None }
    }

    /// Opens a directory for listing, relative to the root.
    ///
    /// # Errors
    /// If openat(2) fails.
    pub fn open(&self, relative: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match &self.open {
            Some(root) => openat(root, relative, flags, Mode::empty()),
            None => open(&self.path.join(relative), flags, Mode::empty()),
        }
    }

    /// Creates a directory, relative to the root.
    ///
    /// # Errors
    /// If mkdirat(2) fails.
    pub fn make(&self, relative: &Path) -> Result<(), Errno> {
        let mode = Mode::from_bits_truncate(0o755);
        match &self.open {
            Some(root) => mkdirat(root, relative, mode),
            None => mkdir(&self.path.join(relative), mode),
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.open.as_deref().map(AsFd::as_fd)
    }
}

/// One version 1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version1 {
    /// Controllers in the kernel's order, such as `cpu`, `cpuacct`; empty for a named hierarchy.
    pub controllers: Vec<String>,
    /// Name of a hierarchy without controllers, such as `systemd`.
    pub name: Option<String>,
    /// Mounted with `noprefix`: file names lack the controller's name.
    pub noprefix: bool,
    /// Its root.
    pub root: Root,
}

impl Version1 {
    /// Whether it has a controller.
    #[must_use]
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }

    /// Whether it can freeze processes.
    #[must_use]
    pub fn has_freezer(&self) -> bool {
        self.has("freezer")
    }

    /// Mount option and conventional directory name: `cpu,cpuacct`, or the name.
    #[must_use]
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.controllers.join(","))
    }
}

/// The version 2 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version2 {
    /// Controllers that are not in use by a version 1 hierarchy.
    pub controllers: Vec<String>,
    /// Its root.
    pub root: Root,
}

/// All hierarchies of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hierarchies {
    /// Version 1, in the order of the mounts.
    pub version1: Vec<Version1>,
    /// Version 2, if it is mounted.
    pub version2: Option<Version2>,
    /// Whether the kernel supports version 2, mounted or not.
    pub knows_version2: bool,
}

impl Hierarchies {
    /// Reads the mounts of this process.
    ///
    /// # Errors
    /// If /proc is not mounted.
    pub fn probe() -> Result<Self> {
        let mut found = Self::from_mounts(&info::read("self")?, visible_root);
        let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        found.knows_version2 = filesystems.lines().any(|line| line.ends_with("\tcgroup2"));
        if let Some(version2) = &mut found.version2 {
            let controllers = std::fs::read_to_string(version2.root.path.join("cgroup.controllers"));
            let controllers = controllers.unwrap_or_default();
            version2.controllers = controllers.split_whitespace().map(str::to_owned).collect();
        }
        Ok(found)
    }

    /// Mounts every existing hierarchy that is not visible, for this process and its children: version 2 if it is not
    /// mounted, and version 1 hierarchies that are hidden or mounted only in another namespace. A container needs a
    /// group in each of them; otherwise it could mount one and see the machine's groups.
    ///
    /// The host does not see these mounts: they are in a separate mount namespace, which still receives the host's
    /// later mounts and unmounts (mount_namespaces(7), "slave"). Hierarchies that cannot be mounted are returned and
    /// skipped.
    #[must_use]
    pub fn complete(&mut self, place2: &Path, place1: &Path) -> Vec<anyhow::Error> {
        let mut missing: Vec<(PathBuf, &str, String)> = Vec::new();
        if self.version2.is_none() && self.knows_version2 {
            missing.push((place2.to_owned(), "cgroup2", String::new()));
        }
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        for (label, data) in self.unseen(&own) {
            missing.push((place1.join(label), "cgroup", data));
        }
        if missing.is_empty() {
            return Vec::new();
        }
        if let Err(error) = enter_private_namespace() {
            return vec![error.into()];
        }
        let mounted = missing.iter().map(|(place, kind, data)| mount_at(place, kind, data));
        let mut failures: Vec<_> = mounted.filter_map(Result::err).collect();
        match Self::probe() {
            Ok(found) => *self = found,
            Err(error) => failures.push(error),
        }
        failures
    }

    /// The version 1 hierarchies in the text of proc_pid_cgroup(5) that are not mounted: a directory name and the mount
    /// options for each.
    fn unseen(&self, own: &str) -> Vec<(String, String)> {
        let mut unseen = Vec::new();
        for line in own.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(number), Some(what)) = (fields.next(), fields.next()) else { continue };
            if number == "0" || what.is_empty() {
                continue;
            }
            let name = what.split(',').find_map(|word| word.strip_prefix("name="));
            let controllers: BTreeSet<&str> = what.split(',').filter(|word| !word.contains('=')).collect();
            let is_seen = self.version1.iter().any(|hierarchy| {
                let theirs: BTreeSet<&str> = hierarchy.controllers.iter().map(String::as_str).collect();
                if controllers.is_empty() { hierarchy.name.as_deref() == name } else { theirs == controllers }
            });
            if !is_seen {
                let none = if controllers.is_empty() { "none," } else { "" };
                let label = what.replace("name=", "").replace('/', "_");
                unseen.push((label, format!("{none}{what}")));
            }
        }
        unseen
    }

    /// The open roots of all hierarchies.
    pub fn roots(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let version2 = self.version2.iter().map(|hierarchy| &hierarchy.root);
        let version1 = self.version1.iter().map(|hierarchy| &hierarchy.root);
        version2.chain(version1).filter_map(Root::descriptor)
    }

    /// The hierarchies among the mounts; `visible` opens the root of a mount, or returns `None` if it is hidden.
    fn from_mounts(mounts: &[MountInfo], visible: impl Fn(&MountInfo) -> Option<Root>) -> Self {
        let mut found = Self::default();
        for mount in mounts.iter().filter(|mount| mount.root.as_os_str() == "/") {
            match mount.kind.as_str() {
                "cgroup2" if found.version2.is_none() => {
                    found.version2 = visible(mount).map(|root| Version2 { controllers: Vec::new(), root });
                }
                "cgroup" => {
                    let hierarchy = version1(mount);
                    if found.version1.iter().any(|other| other.label() == hierarchy.label()) {
                        continue;
                    }
                    found.version1.extend(visible(mount).map(|root| Version1 { root, ..hierarchy }));
                }
                _ => {}
            }
        }
        found
    }

    /// The version 1 hierarchy that has a controller.
    #[must_use]
    pub fn version1_with(&self, controller: &str) -> Option<&Version1> {
        self.version1.iter().find(|hierarchy| hierarchy.has(controller))
    }

    /// Whether version 2 has a controller.
    #[must_use]
    pub fn version2_has(&self, controller: &str) -> bool {
        self.version2
            .as_ref()
            .is_some_and(|hierarchy| hierarchy.controllers.iter().any(|name| name == controller))
    }
}

/// Opens the root of a mount, unless a later mount hides it: then the path leads to another mount.
fn visible_root(mount: &MountInfo) -> Option<Root> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let root = open(&mount.target, flags, Mode::empty()).ok()?;
    // proc_pid_fdinfo(5), since 3.15.
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", root.as_raw_fd())).ok()?;
    let id = about.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
    (id.trim().parse() == Ok(mount.id)).then(|| Root { open: Some(Rc::new(root)), ..Root::at(&mount.target) })
}

fn mount_at(place: &Path, kind: &str, data: &str) -> Result<()> {
    std::fs::create_dir_all(place).with_context(|| format!("create {}", place.display()))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let mounted = mount(Some(kind), place, Some(kind), flags, Some(data));
    call!(mounted, "mount({kind}, {}, {data:?})", place.display())?;
    Ok(())
}

fn version1(mount: &MountInfo) -> Version1 {
    const OPTIONS: [&str; 8] =
        ["rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods", "none"];
    let mut hierarchy = Version1 {
        controllers: Vec::new(),
        name: None,
        noprefix: mount.super_options.iter().any(|option| option == "noprefix"),
        root: Root::at(&mount.target),
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
        let found = Hierarchies::from_mounts(&mounts, |mount| Some(Root::at(&mount.target)));
        assert_eq!(
            found.version2.as_ref().map(|v2| v2.root.path.as_path()),
            Some("/sys/fs/cgroup/unified".as_ref())
        );
        let labels: Vec<String> = found.version1.iter().map(Version1::label).collect();
        assert_eq!(labels, ["systemd", "cpu,cpuacct", "cpuset"]);
        assert!(found.version1[2].noprefix);
        assert_eq!(found.version1_with("cpuacct").map(Version1::label).as_deref(), Some("cpu,cpuacct"));
    }

    #[test]
    fn a_hierarchy_that_a_later_mount_hides_is_none() {
        let mounts = info::parse(
            b"31 29 0:27 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
              32 29 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
              33 29 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
              34 29 0:28 / /dev/cpuset rw - cgroup cgroup rw,cpuset\n",
        );
        let found =
            Hierarchies::from_mounts(&mounts, |mount| (mount.id > 32).then(|| Root::at(&mount.target)));
        assert_eq!(found.version2.as_ref().map(|v2| v2.root.path.as_path()), Some("/sys/fs/cgroup".as_ref()));
        let mounted: Vec<&Path> =
            found.version1.iter().map(|hierarchy| hierarchy.root.path.as_path()).collect();
        assert_eq!(mounted, [Path::new("/dev/cpuset")]);
        let own = "5:freezer:/\n4:name=systemd:/init\n3:cpuset:/\n1:cpuacct,cpu:/a:b\n0::/\n";
        let unseen = found.unseen(own);
        let unseen: Vec<_> = unseen.iter().map(|(label, data)| (label.as_str(), data.as_str())).collect();
        assert_eq!(
            unseen,
            [("freezer", "freezer"), ("systemd", "none,name=systemd"), ("cpuacct,cpu", "cpuacct,cpu")]
        );
    }
}
