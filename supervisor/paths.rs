//! Every path of ours on disk, in one place.
//!
//! | | Android | elsewhere | `$DS_ROOT` set |
//! |---|---|---|---|
//! | data | /data/adb/droidspaces | /var/lib/droidspaces | $DS_ROOT/data |
//! | run (tmpfs) | /dev/droidspaces | /run/droidspaces | $DS_ROOT/run |
//!
//! Nothing below a container's root file system is named here: that is `rootfs::root`'s business.

use std::collections::BTreeSet;
use std::env;
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::config::value::Name;

/// Name of the record of seeding in the directory of a container.
pub const SEED_LEDGER: &str = "seed.json";

/// Where the data and the run directory are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Configuration, root file systems, logs; survives a reboot.
    pub data: PathBuf,
    /// Sockets and locks; on a tmpfs, gone at reboot.
    pub run: PathBuf,
    /// Name of our directory in every cgroup hierarchy; its own for each `$DS_ROOT`.
    pub cgroup: String,
}

impl Paths {
    /// The paths of this machine, or those below `$DS_ROOT`.
    #[must_use]
    pub fn from_environment() -> Self {
        match env::var_os("DS_ROOT").filter(|value| !value.is_empty()) {
            Some(root) => Self::below(Path::new(&root)),
            None if crate::platform::is_android() => Self::new("/data/adb/droidspaces", "/dev/droidspaces"),
            None => Self::new("/var/lib/droidspaces", "/run/droidspaces"),
        }
    }

    /// Data and run directory below one directory, as tests use them.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        // FNV-1a: short, stable, and two roots need only differ.
        let digest =
            root.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        Self { data: root.join("data"), run: root.join("run"), cgroup: format!("droidspaces-{digest:016x}") }
    }

    fn new(data: &str, run: &str) -> Self {
        Self { data: data.into(), run: run.into(), cgroup: "droidspaces".into() }
    }

    /// Creates the directories that everything else relies on, mode 0700.
    ///
    /// # Errors
    /// When one cannot be made, for example because the medium is read-only.
    pub fn create(&self) -> Result<()> {
        for directory in [&self.data, &self.containers(), &self.run, &self.run_containers()] {
            create_private(directory).with_context(|| format!("create {}", directory.display()))?;
        }
        Ok(())
    }

    /// `supervisor.ini`.
    #[must_use]
    pub fn supervisor_ini(&self) -> PathBuf {
        self.data.join("supervisor.ini")
    }

    /// Log of the supervisor and of monitors.
    #[must_use]
    pub fn supervisor_log(&self) -> PathBuf {
        self.data.join("log/supervisor.log")
    }

    /// Directory of what was downloaded.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.data.join("cache")
    }

    /// Directory of all containers.
    #[must_use]
    pub fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    /// Directory of one container.
    #[must_use]
    pub fn container(&self, name: &Name) -> PathBuf {
        self.containers().join(name.as_str())
    }

    /// Configuration of one container.
    #[must_use]
    pub fn container_ini(&self, name: &Name) -> PathBuf {
        self.container(name).join("container.ini")
    }

    /// What seeding has changed in the root file system of one container.
    #[must_use]
    pub fn seed_ledger(&self, name: &Name) -> PathBuf {
        self.container(name).join(SEED_LEDGER)
    }

    /// Console log of one container.
    #[must_use]
    pub fn console_log(&self, name: &Name) -> PathBuf {
        self.container(name).join("log/console.log")
    }

    /// Directory of the records of jobs that go on without their client.
    #[must_use]
    pub fn jobs(&self) -> PathBuf {
        self.run.join("jobs")
    }

    /// Directory of the sockets of terminals that programs look at.
    #[must_use]
    pub fn terminals(&self) -> PathBuf {
        self.run.join("terminals")
    }

    /// Directory of the server of `ds web`.
    #[must_use]
    pub fn web(&self) -> PathBuf {
        self.run.join("web")
    }

    /// Socket of the supervisor.
    #[must_use]
    pub fn supervisor_socket(&self) -> PathBuf {
        self.run.join("supervisor.sock")
    }

    /// Held by the one supervisor for as long as it lives.
    #[must_use]
    pub fn supervisor_lock(&self) -> PathBuf {
        self.run.join("supervisor.lock")
    }

    /// Names the boot of the machine in which containers were started by themselves.
    #[must_use]
    pub fn autostarted(&self) -> PathBuf {
        self.run.join("autostarted")
    }

    /// Who waits for something of the machine before it starts by itself.
    #[must_use]
    pub fn waiting(&self) -> PathBuf {
        self.run.join("waiting")
    }

    /// What networks of ours remember: subnets and addresses.
    #[must_use]
    pub fn networks(&self) -> PathBuf {
        self.data.join("network")
    }

    /// Which containers are in networks of ours now, and what was changed on the host for them.
    #[must_use]
    pub fn network_members(&self) -> PathBuf {
        self.run.join("network")
    }

    /// Who relies on what was changed on the host.
    #[must_use]
    pub fn changes(&self) -> PathBuf {
        self.run.join("changes")
    }

    /// Where shared storage is mounted for containers to follow.
    #[must_use]
    pub fn storage(&self) -> PathBuf {
        self.run.join("storage")
    }

    /// What the boot-loop guard remembers of a container.
    #[must_use]
    pub fn boot_attempts(&self, name: &Name) -> PathBuf {
        self.container(name).join("boot-attempts")
    }

    /// The directory of the flashable module, written when its turn comes in a boot of the machine.
    #[must_use]
    pub fn module(&self) -> PathBuf {
        self.run.join("module")
    }

    /// Held by a client while it starts a supervisor.
    #[must_use]
    pub fn launch_lock(&self) -> PathBuf {
        self.run.join("launch.lock")
    }

    /// Where version 2 control groups are mounted for ourselves when the host has not.
    #[must_use]
    pub fn own_cgroup2(&self) -> PathBuf {
        self.run.join("cgroup2")
    }

    /// Where hierarchies of version 1 are mounted for ourselves that are not to be seen on the host.
    #[must_use]
    pub fn own_cgroup1(&self) -> PathBuf {
        self.run.join("cgroup1")
    }

    /// Run directories of all containers.
    #[must_use]
    pub fn run_containers(&self) -> PathBuf {
        self.run.join("containers")
    }

    /// Run directory of one container: `control`, `lock`, `last-exit`, `notify`.
    #[must_use]
    pub fn run_container(&self, name: &Name) -> PathBuf {
        self.run_containers().join(name.as_str())
    }

    /// Control socket of a container's monitor; it answers exactly while the monitor lives.
    #[must_use]
    pub fn control(&self, name: &Name) -> PathBuf {
        self.run_container(name).join("control")
    }

    /// Held by a verb while it sets up, changes or deletes a container.
    #[must_use]
    pub fn lock(&self, name: &Name) -> PathBuf {
        self.run_container(name).join("lock")
    }

    /// Held by a long job as long as it has the container in its hands.
    #[must_use]
    pub fn job(&self, name: &Name) -> PathBuf {
        self.run_container(name).join("job")
    }

    /// The root file system of a container's own, if it is a directory.
    #[must_use]
    pub fn own_directory(&self, name: &Name) -> PathBuf {
        self.container(name).join("rootfs")
    }

    /// The root file system of a container's own, if it is an image.
    #[must_use]
    pub fn own_image(&self, name: &Name) -> PathBuf {
        self.container(name).join("rootfs.img")
    }

    /// Where a container's init system tells that it is up.
    #[must_use]
    pub fn notify(&self, name: &Name) -> PathBuf {
        self.run_container(name).join("notify")
    }

    /// How the container ended last.
    #[must_use]
    pub fn last_exit(&self, name: &Name) -> PathBuf {
        self.run_container(name).join("last-exit")
    }
}

/// A directory for root alone, with its parents; an existing one is left as it is.
///
/// # Errors
/// What mkdir(2) answers.
pub fn create_private(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    std::fs::set_permissions(directory, Permissions::from_mode(0o700))
}

/// The container names among the entries of a directory.
#[must_use]
pub fn names_in(directory: &Path) -> BTreeSet<Name> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
