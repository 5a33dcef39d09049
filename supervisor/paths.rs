//! All paths of ds on disk. Owns these paths; creates only the top directories.
//!
//! | | Android | elsewhere | `$DS_ROOT` set |
//! |---|---|---|---|
//! | data | /data/adb/droidspaces | /var/lib/droidspaces | $DS_ROOT/data |
//! | run (tmpfs) | /dev/droidspaces | /run/droidspaces | $DS_ROOT/run |
//!
//! Paths inside a container's root file system are not defined here; `rootfs::root` resolves them.

use std::collections::BTreeSet;
use std::env;
use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf, absolute};
use std::sync::LazyLock;

use anyhow::{Context, Result};

use crate::config::value::Name;

/// Name of the record of seeding in the directory of a container.
pub const SEED_LEDGER: &str = "seed.json";

/// `$DS_ROOT` as an absolute path; `None` if it is unset or empty. Computed once, because a supervisor changes its working
/// directory.
#[must_use]
pub fn own_root() -> Option<&'static Path> {
    static ROOT: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let root = PathBuf::from(env::var_os("DS_ROOT").filter(|root| !root.is_empty())?);
        // Fails where the working directory has been deleted: nothing can be created below it.
        Some(absolute(&root).unwrap_or(root))
    });
    ROOT.as_deref()
}

/// The data and the run directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Configuration, root file systems, logs; survives a reboot.
    pub data: PathBuf,
    /// Sockets and locks; on a tmpfs, lost at a reboot.
    pub run: PathBuf,
    /// Name of ds's directory in every cgroup hierarchy; different for each `$DS_ROOT`.
    pub cgroup: String,
}

impl Paths {
    /// The paths of this machine, or those in `$DS_ROOT`.
    #[must_use]
    pub fn from_environment() -> Self {
        match own_root() {
            Some(root) => Self::below(root),
            None if crate::platform::is_android() => Self::new("/data/adb/droidspaces", "/dev/droidspaces"),
            None => Self::new("/var/lib/droidspaces", "/run/droidspaces"),
        }
    }

    /// The data and run directory below one directory, as tests use them.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        // FNV-1a: short, stable, and sufficient to distinguish roots.
        let digest =
            root.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        Self { data: root.join("data"), run: root.join("run"), cgroup: format!("droidspaces-{digest:016x}") }
    }

    fn new(data: &str, run: &str) -> Self {
        Self { data: data.into(), run: run.into(), cgroup: "droidspaces".into() }
    }

    /// Creates the top directories with mode 0700.
    ///
    /// # Errors
    /// If one cannot be created, for example on a read-only file system.
    pub fn create(&self) -> Result<()> {
        for directory in [&self.data, &self.containers(), &self.run, &self.run_containers()] {
            create_private(directory)?;
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

    /// Directory of the download cache.
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

    /// The record of seeding of one container.
    #[must_use]
    pub fn seed_ledger(&self, name: &Name) -> PathBuf {
        self.container(name).join(SEED_LEDGER)
    }

    /// Console log of one container.
    #[must_use]
    pub fn console_log(&self, name: &Name) -> PathBuf {
        self.container(name).join("log/console.log")
    }

    /// Directory of the records of jobs that continue without their client.
    #[must_use]
    pub fn jobs(&self) -> PathBuf {
        self.run.join("jobs")
    }

    /// Directory of the sockets of terminals of `ds rpc`.
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

    /// Locked by the supervisor while it runs.
    #[must_use]
    pub fn supervisor_lock(&self) -> PathBuf {
        self.run.join("supervisor.lock")
    }

    /// The boot of the machine in which autostart was performed.
    #[must_use]
    pub fn autostarted(&self) -> PathBuf {
        self.run.join("autostarted")
    }

    /// The containers whose autostart waits for a condition.
    #[must_use]
    pub fn waiting(&self) -> PathBuf {
        self.run.join("waiting")
    }

    /// The records of networks: subnets and addresses.
    #[must_use]
    pub fn networks(&self) -> PathBuf {
        self.data.join("network")
    }

    /// The containers that are currently in networks, and the changes of the host for them.
    #[must_use]
    pub fn network_members(&self) -> PathBuf {
        self.run.join("network")
    }

    /// The record of changes on the host for containers.
    #[must_use]
    pub fn changes(&self) -> PathBuf {
        self.run.join("changes")
    }

    /// The container whose firmware the kernel loads, and its path.
    #[must_use]
    pub fn firmware(&self) -> PathBuf {
        self.run.join("firmware")
    }

    /// The shared mounts for shared storage.
    #[must_use]
    pub fn storage(&self) -> PathBuf {
        self.run.join("storage")
    }

    /// The boot-loop guard's record of a container.
    #[must_use]
    pub fn boot_attempts(&self, name: &Name) -> PathBuf {
        self.container(name).join("boot-attempts")
    }

    /// The directory of the flashable module, written at each boot of the machine.
    #[must_use]
    pub fn module(&self) -> PathBuf {
        self.run.join("module")
    }

    /// Locked by a client while it launches a supervisor.
    #[must_use]
    pub fn launch_lock(&self) -> PathBuf {
        self.run.join("launch.lock")
    }

    /// The private mount point of cgroup version 2, if the host has not mounted it.
    #[must_use]
    pub fn own_cgroup2(&self) -> PathBuf {
        self.run.join("cgroup2")
    }

    /// The private mount points of version 1 hierarchies that are not visible on the host.
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

    /// Control socket of a container's monitor; it answers while the monitor lives.
    #[must_use]
    pub fn control(&self, name: &Name) -> PathBuf {
        self.run_container(name).join("control")
    }

    /// Locked while a command creates, changes or deletes a container.
    #[must_use]
    pub fn lock(&self, name: &Name) -> PathBuf {
        self.run_container(name).join("lock")
    }

    /// Locked while a long job has reserved the container.
    #[must_use]
    pub fn job(&self, name: &Name) -> PathBuf {
        self.run_container(name).join("job")
    }

    /// A container's own root file system as a directory.
    #[must_use]
    pub fn own_directory(&self, name: &Name) -> PathBuf {
        self.container(name).join("rootfs")
    }

    /// A container's own root file system as an image.
    #[must_use]
    pub fn own_image(&self, name: &Name) -> PathBuf {
        self.container(name).join("rootfs.img")
    }

    /// The socket for readiness notifications of a container's init system.
    #[must_use]
    pub fn notify(&self, name: &Name) -> PathBuf {
        self.run_container(name).join("notify")
    }

    /// The record of the last exit.
    #[must_use]
    pub fn last_exit(&self, name: &Name) -> PathBuf {
        self.run_container(name).join("last-exit")
    }
}

/// Creates a directory for root alone, with its parents; an existing one is unchanged.
///
/// # Errors
/// If mkdir(2) fails.
pub fn create_private(directory: &Path) -> Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let create = || {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        std::fs::set_permissions(directory, Permissions::from_mode(0o700))
    };
    create().with_context(|| format!("create {}", directory.display()))
}

/// The names of containers among the entries of a directory.
#[must_use]
pub fn names_in(directory: &Path) -> BTreeSet<Name> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
