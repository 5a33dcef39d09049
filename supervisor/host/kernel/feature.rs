//! One feature of the kernel, and the input of its probe.

use crate::host::Host;

/// One feature.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// Required by every container with an init system.
    pub required: bool,
    /// The first kernel version with it; empty if it is not part of the kernel.
    pub since: &'static str,
    /// Kernel options to set, separated by blanks; may be empty.
    pub option: &'static str,
    /// Its purpose.
    pub purpose: &'static str,
    /// The behaviour without it.
    pub without: &'static str,
    /// The probe.
    pub(super) probe: fn(&Ground<'_>) -> bool,
}

/// The input of the probes.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    pub(super) host: &'a Host,
    /// /proc/filesystems, proc_filesystems(5).
    pub(super) filesystems: String,
    /// /proc/misc: the miscellaneous devices.
    pub(super) devices: String,
    /// Modules that the kernel can load on demand.
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
