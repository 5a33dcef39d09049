//! Builds a kernel like those that phones are sold with, from Debian's sources.
//!
//! Owns the build, whose result is an ELF file (see `kernel` for the reason). `tests/vm/stock.config` lists the options
//! that are on and those that must be off; all others are off. The phone's other parts are links to those of `phone`. See
//! Documentation/admin-guide/README.rst and Documentation/kbuild/kconfig.rst of the kernel.

use super::system::only;
use crate::fixture::{self, Mirror};
use crate::packages::{self, Verb};
use crate::process;
use anyhow::{Result, bail};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

/// Must change when [`make`] produces another result from the same configuration.
const VERSION: u32 = 1;

/// Its kernel is 6.1, the version of phones of 2023.
const SUITE: &str = "bookworm";
const PACKAGE: &str = "linux-source-6.1";

/// Not unpacked: most of the sources are for other processors and for devices that the machine does not have. Makefiles
/// and Kconfig files are unpacked. An asterisk also matches slashes.
const LEFT_OUT: &[&str] = &[
    "linux-source-6.1/Documentation/*/*",
    "linux-source-6.1/arch/[abchlmnoprs]*.[chS]",
    "linux-source-6.1/drivers/gpu/*.[ch]",
    "linux-source-6.1/drivers/infiniband/*.[ch]",
    "linux-source-6.1/drivers/media/*.[ch]",
    "linux-source-6.1/drivers/net/ethernet/*.[ch]",
    "linux-source-6.1/drivers/net/wireless/*.[ch]",
    "linux-source-6.1/drivers/scsi/*.c",
    "linux-source-6.1/drivers/staging/*.[ch]",
    "linux-source-6.1/sound/*.[ch]",
    "linux-source-6.1/tools/perf/*",
    "linux-source-6.1/tools/testing/*",
    "*.dts",
    "*.dtsi",
];

/// The parts that this phone shares with one that boots Debian's kernel.
const SHARED: &[&str] = &["busybox", "system"];

/// Everything that the result depends on.
pub fn stamp(config: &str) -> String {
    format!("stock kernel {VERSION}\n{SUITE} {PACKAGE} {LEFT_OUT:?} {SHARED:?}\n{config}")
}

/// Makes `kernel`, and links to the parts in `phone`, a folder beside `folder`. `folder` does not exist yet.
///
/// # Errors
/// If the packages cannot be downloaded, the sources have other options, or the compilation fails.
pub fn make(config: &Path, phone: &str, folder: &Path) -> Result<()> {
    packages::ensure(Verb::Kernel)?;
    fs::create_dir_all(folder)?;
    let work = folder.join("work");
    let sources = unpack(&work)?;
    let kernel = compile(&sources, config, &work.join("built"))?;
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
fn unpack(work: &Path) -> Result<PathBuf> {
    let packages = work.join("packages");
    fs::create_dir_all(work)?;
    let mirror = Mirror::of_this_machine();
    let mut command = fixture::mmdebstrap(&mirror);
    command.args(["--variant=extract", &format!("--include={PACKAGE}"), SUITE]).arg(&packages);
    process::run_quietly(command.args(&mirror.uri))?;
    let archive = only(&packages.join("usr/src"), PACKAGE)?;
    let mut command = process::nice("tar");
    command.arg("-C").arg(work).arg("-xf").arg(archive);
    process::run_quietly(command.args(LEFT_OUT.iter().map(|pattern| format!("--exclude={pattern}"))))?;
    only(work, "linux-source-")
}

/// Configures and compiles; returns the path of the kernel as an ELF file.
fn compile(sources: &Path, config: &Path, output: &Path) -> Result<PathBuf> {
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
    let differences = differences(&wanted, &found);
    if !differences.is_empty() {
        bail!("the kernel's configuration differs from {}: {}", config.display(), differences.join(", "));
    }
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    process::run_quietly(make().arg(format!("-j{jobs}")).arg("vmlinux"))?;
    Ok(output.join("vmlinux"))
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
    use super::differences;

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
