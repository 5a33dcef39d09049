//! Builds kernels like those that phones are sold with, from Debian's sources.
//!
//! Owns the list of versions and the build, whose result is an ELF file (see `kernel` for the reason).
//! `tests/vm/stock.config` lists the options that are on and those that must be off; all others are off. The phone's other
//! parts are links to those of `phone`. See Documentation/admin-guide/README.rst and Documentation/kbuild/kconfig.rst of
//! the kernel.

use super::system::only;
use crate::fixture::{self, Mirror};
use crate::packages::{self, Verb};
use crate::process;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

/// Must change when [`Kernel::make`] produces another result from the same configuration.
const VERSION: u32 = 1;

/// One version.
#[derive(Debug)]
pub struct Kernel {
    /// As users name it.
    version: &'static str,
    /// The folder of its phone.
    pub folder: &'static str,
    /// The release of Debian with its sources.
    suite: &'static str,
    /// The package of the sources, which is also their folder.
    package: &'static str,
    /// Lines of the configuration that this version does not know.
    unknown: &'static [&'static str],
}

/// The first one is the default.
const KERNELS: [Kernel; 2] = [
    // The version of phones of 2023.
    Kernel {
        version: "6.1",
        folder: "phone-stock",
        suite: "bookworm",
        package: "linux-source-6.1",
        unknown: &[],
    },
    // The first generic kernel image, of phones of 2021.
    Kernel {
        version: "5.10",
        folder: "phone-stock-5-10",
        suite: "bullseye",
        package: "linux-source-5.10",
        unknown: &["CONFIG_DEBUG_INFO_NONE=y", "CONFIG_RANDOM_TRUST_CPU=y"],
    },
];

/// Not unpacked, of the folder of the sources: most of them are for other processors and for devices that the machine does
/// not have. Makefiles and Kconfig files are unpacked. An asterisk also matches slashes.
const LEFT_OUT: &[&str] = &[
    "Documentation/*/*",
    "arch/[abchlmnoprs]*.[chS]",
    "drivers/gpu/*.[ch]",
    "drivers/infiniband/*.[ch]",
    "drivers/media/*.[ch]",
    "drivers/net/ethernet/*.[ch]",
    "drivers/net/wireless/*.[ch]",
    "drivers/scsi/*.c",
    "drivers/staging/*.[ch]",
    "sound/*.[ch]",
    "tools/perf/*",
    "tools/testing/*",
];

/// Not unpacked, wherever they are.
const DEVICE_TREES: &[&str] = &["*.dts", "*.dtsi"];

/// The parts that this phone shares with one that boots Debian's kernel.
const SHARED: &[&str] = &["busybox", "system"];

/// Looks up a kernel by its version.
///
/// # Errors
/// If there is none.
pub fn find(version: Option<&str>) -> Result<&'static Kernel> {
    let Some(version) = version else { return Ok(&KERNELS[0]) };
    KERNELS.iter().find(|kernel| kernel.version == version).with_context(|| {
        let known: Vec<_> = KERNELS.iter().map(|kernel| kernel.version).collect();
        format!("no stock kernel {version}; use one of {}", known.join(", "))
    })
}

impl Kernel {
    /// Everything that the result depends on.
    pub fn stamp(&self, config: &str) -> String {
        let Self { suite, package, .. } = self;
        format!("stock kernel {VERSION}\n{suite} {package} {:?} {SHARED:?}\n{config}", self.left_out())
    }

    /// The patterns of files that are not unpacked.
    fn left_out(&self) -> Vec<String> {
        let below = LEFT_OUT.iter().map(|pattern| format!("{}/{pattern}", self.package));
        below.chain(DEVICE_TREES.iter().map(ToString::to_string)).collect()
    }

    /// Makes `kernel`, and links to the parts in `phone`, a folder beside `folder`. `folder` does not exist yet.
    ///
    /// # Errors
    /// If the packages cannot be downloaded, the sources have other options, or the compilation fails.
    pub fn make(&self, config: &Path, phone: &str, folder: &Path) -> Result<()> {
        packages::ensure(Verb::Kernel)?;
        fs::create_dir_all(folder)?;
        let work = folder.join("work");
        let sources = self.unpack(&work)?;
        let kernel = self.compile(&sources, config, &work.join("built"))?;
        let mut command = Command::new("objcopy");
        process::run_quietly(command.arg("--strip-all").arg(&kernel).arg(folder.join("kernel")))?;
        for name in SHARED {
            symlink(Path::new("..").join(phone).join(name), folder.join(name))?;
        }
        // The kernel has everything built in, and no modules.
        fs::create_dir(folder.join("early"))?;
        fixture::remove(&work)
    }

    /// Unpacks the sources of the package below `work`.
    fn unpack(&self, work: &Path) -> Result<PathBuf> {
        let packages = work.join("packages");
        fs::create_dir_all(work)?;
        let mirror = Mirror::of_this_machine();
        let mut command = fixture::mmdebstrap(&mirror);
        command.args(["--variant=extract", &format!("--include={}", self.package), self.suite]);
        process::run_quietly(command.arg(&packages).args(&mirror.uri))?;
        let archive = only(&packages.join("usr/src"), self.package)?;
        let mut command = process::nice("tar");
        command.arg("-C").arg(work).arg("-xf").arg(archive);
        let excluded = self.left_out().into_iter().map(|pattern| format!("--exclude={pattern}"));
        process::run_quietly(command.args(excluded))?;
        only(work, self.package)
    }

    /// Configures and compiles; returns the path of the kernel as an ELF file.
    fn compile(&self, sources: &Path, config: &Path, output: &Path) -> Result<PathBuf> {
        let make = || {
            let mut command = process::nice("make");
            command.arg("-C").arg(sources).arg("ARCH=x86_64").arg(format!("O={}", output.display()));
            command
        };
        let mut command = make();
        command.arg("allnoconfig").env("KCONFIG_ALLCONFIG", config);
        process::run_quietly(&mut command)?;
        let wanted = fs::read_to_string(config)?;
        let found = fs::read_to_string(output.join(".config"))?;
        let mut differences = differences(&wanted, &found);
        differences.retain(|line| !self.unknown.contains(line));
        if !differences.is_empty() {
            bail!("the kernel's configuration differs from {}: {}", config.display(), differences.join(", "));
        }
        let jobs = thread::available_parallelism().map_or(1, usize::from);
        process::run_quietly(make().arg(format!("-j{jobs}")).arg("vmlinux"))?;
        Ok(output.join("vmlinux"))
    }
}

/// The lines of `wanted` that `found` contradicts: Kconfig silently drops an option whose dependencies are not met, and
/// enables an option that another one selects.
fn differences<'text>(wanted: &'text str, found: &str) -> Vec<&'text str> {
    let has = |line: &str| found.lines().any(|other| other == line);
    let holds = |line: &&str| match line.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" is not set"))
    {
        Some(option) => !found.lines().any(|other| other.split('=').next() == Some(option)),
        None => line.starts_with('#') || line.is_empty() || has(line),
    };
    wanted.lines().filter(|line| !holds(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::{differences, find};

    #[test]
    fn kernels_are_found_by_version() {
        assert_eq!(find(None).unwrap().folder, "phone-stock");
        assert_eq!(find(Some("5.10")).unwrap().folder, "phone-stock-5-10");
        assert_eq!(find(Some("4.4")).unwrap_err().to_string(), "no stock kernel 4.4; use one of 6.1, 5.10");
    }

    #[test]
    fn options_that_kconfig_dropped_or_added_are_found() {
        let wanted =
            "# A comment.\n\nCONFIG_A=y\n# CONFIG_B is not set\n# CONFIG_C is not set\nCONFIG_D=16\n";
        assert!(
            differences(wanted, "CONFIG_A=y\nCONFIG_D=16\nCONFIG_BB=y\n# CONFIG_C is not set\n").is_empty()
        );
        assert_eq!(
            differences(wanted, "# CONFIG_A is not set\nCONFIG_B=m\nCONFIG_D=1\n"),
            ["CONFIG_A=y", "# CONFIG_B is not set", "CONFIG_D=16"]
        );
    }
}
