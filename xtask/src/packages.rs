//! The distribution's packages that the project needs: their list, and the installation of missing ones.
//!
//! Owns the list and the calls of apt-get(8) and dpkg-query(1). No other module installs packages. On a machine without
//! apt, it only checks for the programs and reports the missing ones.

use crate::{process, terminal};
use anyhow::{Context, Result, bail};
use std::env::{self, consts::ARCH};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A command of xtask that needs packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Building `ds` or the probe.
    Build,
    /// Building root file systems.
    Fixtures,
    /// Virtual machines: their content and the emulator.
    Machines,
    /// Compiling the kernel of one of them.
    Kernel,
    /// Running tests: programs for comparison.
    Tests,
    /// Root file systems of another architecture.
    Emulation,
    /// Comparing with other programs.
    Bench,
    /// Building `ds` without rustup's target for musl.
    CompileForMusl,
    /// Linking for the processor with this Debian name; `own` is this machine's.
    LinkFor(&'static str),
    /// Building the page.
    Page,
    /// Testing the page.
    Browser,
    /// Testing the module's scripts.
    Module,
}

/// One package of the list.
#[derive(Debug)]
struct Package {
    /// Its name in Debian.
    name: &'static str,
    /// A program of the package, which shows on other distributions that it is installed; empty if it has none.
    program: &'static str,
    /// Its purpose.
    why: &'static str,
    /// The commands that need it.
    needed_by: Verb,
}

const fn package(name: &'static str, program: &'static str, needed_by: Verb, why: &'static str) -> Package {
    Package { name, program, why, needed_by }
}

/// All dependencies except Rust.
const PACKAGES: &[Package] = &[
    package("gcc", "cc", Verb::Build, "links ds"),
    package("libc6-dev", "", Verb::Build, "the static C library in ds"),
    package("mmdebstrap", "mmdebstrap", Verb::Fixtures, "creates root file systems"),
    package("debian-archive-keyring", "", Verb::Fixtures, "verifies their packages"),
    package("e2fsprogs", "mke2fs", Verb::Fixtures, "creates and inspects images of the tests"),
    package("dpkg", "dpkg-deb", Verb::Fixtures, "unpacks single packages"),
    package("util-linux", "unshare", Verb::Fixtures, "creates mount namespaces"),
    package("tar", "tar", Verb::Tests, "reads and writes archives of the tests"),
    package("libarchive-tools", "bsdtar", Verb::Tests, "writes archives in another format"),
    package("iproute2", "ip", Verb::Tests, "makes networks"),
    package("iptables", "iptables", Verb::Tests, "its rules must not change in tests"),
    package("nftables", "nft", Verb::Tests, "lists rules"),
    package("tayga", "tayga", Verb::Tests, "translates between IPv4 and IPv6"),
    package("openssh-client", "ssh", Verb::Tests, "logs in"),
    package("acl", "setfacl", Verb::Tests, "gives files access control lists"),
    package("fdisk", "sfdisk", Verb::Tests, "makes partitions"),
    package("gzip", "gzip", Verb::Tests, "compresses them"),
    package("xz-utils", "xz", Verb::Tests, "compresses them"),
    package("zstd", "zstd", Verb::Tests, "compresses them"),
    package("e2fsprogs", "mke2fs", Verb::Tests, "makes images"),
    package("squashfs-tools", "mksquashfs", Verb::Tests, "makes images"),
    package("qemu-system-x86", "qemu-system-x86_64", Verb::Machines, "virtual machines"),
    package("qemu-system-arm", "qemu-system-aarch64", Verb::Machines, "virtual machines of phones"),
    package("mmdebstrap", "mmdebstrap", Verb::Machines, "downloads their kernel and tools"),
    package("debian-archive-keyring", "", Verb::Machines, "verifies the downloads"),
    package("kmod", "depmod", Verb::Machines, "resolves dependencies of kernel modules"),
    package("xz-utils", "xz", Verb::Machines, "unpacks kernels"),
    package("zstd", "zstd", Verb::Machines, "unpacks kernels"),
    package("e2fsprogs", "mke2fs", Verb::Machines, "creates their disks"),
    package("checkpolicy", "checkpolicy", Verb::Machines, "compiles their SELinux policy"),
    package("util-linux", "setpriv", Verb::Machines, "ends them with the test"),
    package("gcc", "cc", Verb::Kernel, "compiles a kernel"),
    package("libc6-dev", "", Verb::Kernel, "for the tools that build it"),
    package("libelf-dev", "", Verb::Kernel, "for one of them"),
    package("binutils", "objcopy", Verb::Kernel, "links and strips it"),
    package("make", "make", Verb::Kernel, "builds it"),
    package("flex", "flex", Verb::Kernel, "reads its options"),
    package("bison", "bison", Verb::Kernel, "reads its options"),
    package("bc", "bc", Verb::Kernel, "computes its constants"),
    package("xz-utils", "xz", Verb::Kernel, "unpacks its sources"),
    package("tar", "tar", Verb::Kernel, "unpacks its sources"),
    package("qemu-user-static", "qemu-aarch64-static", Verb::Emulation, "runs programs of phones"),
    package("arch-test", "arch-test", Verb::Emulation, "tells mmdebstrap which programs run here"),
    package("systemd-container", "systemd-nspawn", Verb::Bench, "rival: systemd-nspawn"),
    package("lxc", "lxc-start", Verb::Bench, "rival: LXC"),
    package("bubblewrap", "bwrap", Verb::Bench, "rival: bubblewrap"),
    package("crun", "crun", Verb::Bench, "rival: crun"),
    package("util-linux", "nsenter", Verb::Bench, "rival: nsenter"),
    package("tar", "tar", Verb::Bench, "rival: tar"),
    package("zstd", "zstd", Verb::Bench, "rival: zstd"),
    package("xz-utils", "xz", Verb::Bench, "rival: xz"),
    package("openssl", "openssl", Verb::Bench, "certifies a web server"),
    package("python3", "python3", Verb::Bench, "serves a file over TLS"),
    package("e2fsprogs", "e2fsck", Verb::Bench, "rival: e2fsck; makes images"),
    package("strace", "strace", Verb::Bench, "counts system calls of idle processes"),
    package("rustc-web", "", Verb::CompileForMusl, "compiles ds for phones"),
    package("rust-web-src", "", Verb::CompileForMusl, "the source of the standard library for musl"),
    package("gcc", "cc", Verb::LinkFor("own"), "links ds"),
    package("musl-dev", "", Verb::LinkFor("own"), "the C library in ds"),
    package("gcc-aarch64-linux-gnu", "aarch64-linux-gnu-gcc", Verb::LinkFor("arm64"), "links ds"),
    package("musl-dev:arm64", "", Verb::LinkFor("arm64"), "the C library in ds"),
    package("qemu-user-static", "qemu-aarch64-static", Verb::LinkFor("arm64"), "runs the built program"),
    package("gcc-arm-linux-gnueabihf", "arm-linux-gnueabihf-gcc", Verb::LinkFor("armhf"), "links ds"),
    package("musl-dev:armhf", "", Verb::LinkFor("armhf"), "the C library in ds"),
    package("qemu-user-static", "qemu-arm-static", Verb::LinkFor("armhf"), "runs the built program"),
    package("gcc-x86-64-linux-gnu", "x86_64-linux-gnu-gcc", Verb::LinkFor("amd64"), "links ds"),
    package("musl-dev:amd64", "", Verb::LinkFor("amd64"), "the C library in ds"),
    package("qemu-user-static", "qemu-x86_64-static", Verb::LinkFor("amd64"), "runs the built program"),
    package("nodejs", "node", Verb::Page, "builds the page"),
    package("npm", "npm", Verb::Page, "downloads its dependencies"),
    package("chromium", "chromium", Verb::Browser, "shows the page to the tests"),
    package("busybox-static", "", Verb::Module, "the shell of root managers"),
    package("mksh", "mksh", Verb::Module, "the shell of Android"),
    package("toybox", "toybox", Verb::Module, "the programs of Android"),
    package("shellcheck", "shellcheck", Verb::Module, "reads the module's scripts"),
];

/// Held while dpkg is asked or called: threads that build different parts need the same packages.
static DATABASE: Mutex<()> = Mutex::new(());

fn lock() -> MutexGuard<'static, ()> {
    DATABASE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Installs the missing packages for `verb`.
///
/// # Errors
/// One line: missing root privileges, a distribution without apt, or the error of apt-get.
pub fn ensure(verb: Verb) -> Result<()> {
    let _lock = lock();
    let needed: Vec<_> = PACKAGES.iter().filter(|package| package.needed_by == verb).collect();
    let has_apt = find_program("apt-get") && find_program("dpkg-query");
    let missing: Vec<_> = needed.into_iter().filter(|package| !is_installed(package, has_apt)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    if !has_apt {
        bail!(
            "missing: {}; there is no apt-get here, so install them with your own package manager",
            names.join(" ")
        );
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "missing packages: {}; run as root, or first: apt-get install {}",
            names.join(" "),
            names.join(" ")
        );
    }
    terminal::line("installing from the distribution's packages:");
    for package in &missing {
        terminal::line(format_args!("  {:<24} {}", package.name, package.why));
    }
    install(&names)
}

/// Whether a package is installed according to dpkg; without dpkg, whether its program is in the search path.
fn is_installed(package: &Package, has_apt: bool) -> bool {
    if !has_apt {
        return package.program.is_empty() || find_program(package.program);
    }
    // One line for each installed architecture of the package.
    let format = "--showformat=${Package} ${Package}:${Architecture} ${Architecture} ${db:Status-Status}\n";
    let output = Command::new("dpkg-query")
        .args(["--show", format, package.name])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    output.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).lines().any(|line| fits(line, package.name))
    })
}

/// Whether a line of dpkg-query reports the package as installed: with `:ARCHITECTURE` for that architecture, without
/// it for this machine's.
fn fits(line: &str, wanted: &str) -> bool {
    let own = match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let [name, qualified, architecture, "installed"] = line.split(' ').collect::<Vec<_>>()[..] else {
        return false;
    };
    qualified == wanted || name == wanted && [own, "all"].contains(&architecture)
}

/// Missing or outdated package lists make the first attempt fail; they are then downloaded.
fn install(names: &[&str]) -> Result<()> {
    let install = || {
        let mut command = apt_get();
        command.args(["install", "--yes", "--no-install-recommends"]).args(names);
        process::run_quietly(&mut command)
    };
    if install().is_ok() {
        return Ok(());
    }
    terminal::line("downloading the package lists");
    // A list that cannot be downloaded may be irrelevant here.
    let updated = process::run_quietly(apt_get().arg("update"));
    let installed = install().map(|_| ()).with_context(|| format!("cannot install {}", names.join(" ")));
    if installed.is_err() {
        updated?;
    }
    installed
}

/// Permits dpkg(1) to install packages of another architecture, if it has a Debian name.
///
/// # Errors
/// The error of dpkg.
pub fn allow_architecture(name: &str) -> Result<()> {
    let _lock = lock();
    if !find_program("dpkg") {
        return Ok(());
    }
    let own = process::read(Command::new("dpkg").arg("--print-architecture"))?;
    let others = process::read(Command::new("dpkg").arg("--print-foreign-architectures"))?;
    if own.lines().chain(others.lines()).any(|known| known == name) {
        return Ok(());
    }
    terminal::line(format_args!("enabling packages for {name} in dpkg"));
    process::run_quietly(Command::new("dpkg").args(["--add-architecture", name]))?;
    Ok(())
}

fn apt_get() -> Command {
    let mut command = process::nice("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["--quiet", "--option", "DPkg::Lock::Timeout=300"]);
    command
}

/// Whether a program of this name is in the search path.
pub fn find_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([Path::new("/usr/sbin").into(), Path::new("/sbin").into()])
        .any(|folder| folder.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::{ARCH, PACKAGES, find_program, fits};

    #[test]
    fn a_package_for_another_architecture_is_not_the_one_for_this_machine() {
        let foreign = "musl-dev musl-dev:s390x s390x installed";
        assert!(fits(foreign, "musl-dev:s390x") && !fits(foreign, "musl-dev"));
        assert!(fits("keys keys:all all installed", "keys"));
        assert!(!fits("keys keys:all all config-files", "keys"));
        if ARCH == "x86_64" {
            assert!(fits("musl-dev musl-dev:amd64 amd64 installed", "musl-dev"));
        }
    }

    #[test]
    fn every_package_says_why_once_for_each_command() {
        for (index, package) in PACKAGES.iter().enumerate() {
            assert!(!package.why.is_empty(), "{}", package.name);
            let twice = PACKAGES[..index]
                .iter()
                .any(|other| other.name == package.name && other.needed_by == package.needed_by);
            assert!(!twice, "{} is listed twice", package.name);
        }
    }

    #[test]
    fn programs_are_found_on_the_search_path() {
        assert!(find_program("sh"));
        assert!(!find_program("no-such-program-here"));
    }
}
