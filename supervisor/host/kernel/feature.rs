//! One feature of the kernel, and what its probe may look at.

use crate::host::Host;

/// One feature.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    /// What it is called.
    pub name: &'static str,
    /// Without it no container with an init system runs.
    pub required: bool,
    /// The kernel version that brought it; empty for what is not the kernel's.
    pub since: &'static str,
    /// Kernel options to set, with blanks between them; empty where none helps.
    pub option: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// What happens without it.
    pub without: &'static str,
    /// The trial.
    pub(super) probe: fn(&Ground<'_>) -> bool,
}

/// What probes look at.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    pub(super) host: &'a Host,
    /// /proc/filesystems, proc_filesystems(5).
    pub(super) filesystems: String,
    /// /proc/misc: the miscellaneous devices.
    pub(super) devices: String,
    /// Modules that the kernel can have loaded on demand.
    pub(super) modules: String,
}

impl Ground<'_> {
    pub(super) fn new(host: &Host) -> Ground<'_> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let modules = format!("/lib/modules/{}/modules", host.release);
        Ground {
            host,
            filesystems: read("/proc/filesystems"),
            devices: read("/proc/misc"),
            modules: read(&format!("{modules}.builtin")) + &read(&format!("{modules}.dep")),
        }
    }

    pub(super) fn has_module(&self, name: &str) -> bool {
        let file = format!("/{name}.ko");
        self.modules.lines().any(|line| {
            let path = line.split(':').next().unwrap_or_default();
            // Perhaps compressed: .ko.xz, .ko.zst.
            path.rfind(&file).is_some_and(|at| !path[at + 1..].contains('/'))
        })
    }

    pub(super) fn has_filesystem(&self, name: &str) -> bool {
        self.filesystems.split_whitespace().any(|word| word == name) || self.has_module(name)
    }

    pub(super) fn has_device(&self, name: &str, module: &str) -> bool {
        self.devices.split_whitespace().any(|word| word == name) || self.has_module(module)
    }

    pub(super) fn has_controller(&self, name: &str) -> bool {
        let cgroups = &self.host.cgroups;
        cgroups.version2_has(name) || cgroups.version1_with(name).is_some()
    }
}
